"""`Points`: windows around the points of a table, and their labels."""

from __future__ import annotations

import json
import pickle
from fractions import Fraction
from math import floor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchaug import OptionError, Plan, Points, WindowError, open_slide, split_region
from patchaug.core.windows import Window
from patchaug.errors import MissingError, PatchaugError, ReadError
from patchaug.readers import ArrayRaster

SLIDE = open_slide(np.zeros((60, 80, 3), np.uint8), name="liver.tiff")


@given(
    st.lists(st.tuples(st.floats(-5, 85), st.floats(-5, 65), st.sampled_from(["a", None])), min_size=1, max_size=9),
    st.integers(1, 20), st.integers(1, 20), st.sampled_from(["raise", "shift", "skip"]), st.integers(0, 6),
)  # fmt: skip
def test_each_point_is_the_centre_of_its_window(points: list, h: int, w: int, beyond: str, halo: int) -> None:
    """To half a pixel, each once in an epoch, with its label; windows beyond are refused, moved or left out."""
    fits = [
        halo <= floor(Fraction(x) + Fraction(1 - w, 2)) <= 80 - w - halo
        and halo <= floor(Fraction(y) + Fraction(1 - h, 2)) <= 60 - h - halo
        for x, y, _ in points
    ]
    sampler = Points((h, w), points, beyond=beyond)  # type: ignore[arg-type]
    if (beyond == "raise" and not all(fits)) or (beyond == "skip" and not any(fits)):
        with pytest.raises(WindowError, match="leave"):
            Plan([SLIDE], sampler, halo=halo)
        return
    plan = Plan([SLIDE], sampler, halo=halo, shuffle=False)
    kept = [point for point, fit in zip(points, fits, strict=True) if fit or beyond == "shift"]
    assert len(plan) == len(kept)
    for draw, (x, y, label), fit in zip(plan, kept, fits if beyond == "shift" else [True] * len(kept), strict=True):
        one = draw.window
        assert halo <= one.x <= 80 - w - halo and halo <= one.y <= 60 - h - halo
        if fit:
            assert abs(one.x + w / 2 - x) <= 0.5 + 1e-9 and abs(one.y + h / 2 - y) <= 0.5 + 1e-9
        assert sampler.label_of(plan, draw) == label and draw.probability == 1
    mixed = Plan([SLIDE], sampler, halo=halo)
    for epoch in range(2):
        numbers = [mixed[epoch * len(mixed) + place].draw for place in range(len(mixed))]
        assert sorted(numbers) == list(range(len(mixed)))


def test_csv_and_geojson_say_the_same(tmp_path: Path) -> None:
    """Also with other columns, a byte order mark, spaces, QuPath's classes and points of several slides."""
    table, features = tmp_path / "points.csv", tmp_path / "points.geojson"
    table.write_text(
        "\ufeffscore, X ,Y,label,slide\n1,20,30.5,mitosis,liver\n2,41,12,other,liver.tiff\n3,9,9,,kidney\n"
    )
    rows = [(20, 30.5, "mitosis", "liver"), (41, 12, "other", "liver.tiff"), (9, 9, None, "kidney")]
    features.write_text(json.dumps({"type": "FeatureCollection", "features": [
        {"type": "Feature", "geometry": {"type": "Point", "coordinates": [x, y]},
         "properties": {"slide": slide} | ({} if label is None else {"classification": {"name": label}})}
        for x, y, label, slide in rows
    ]}))  # fmt: skip
    samplers = [Points(8, source) for source in (table, features, json.loads(features.read_text()), rows)]
    assert samplers[0] == samplers[1] == samplers[2] == samplers[3]
    kidney = open_slide(np.zeros((30, 30, 3), np.uint8), name="kidney")
    plan = Plan([SLIDE, kidney], samplers[0], shuffle=False)
    assert [(draw.slide, samplers[0].label_of(plan, draw)) for draw in plan] == [
        (0, "mitosis"),
        (0, "other"),
        (1, None),
    ]
    assert list(pickle.loads(pickle.dumps(plan))) == list(plan)
    with pytest.raises(WindowError, match="lung: the table has no point of this slide; it names kidney, liver"):
        Plan([open_slide(np.zeros((30, 30, 3), np.uint8), name="lung")], samplers[0])


def test_points_count_pixels_of_level_0() -> None:
    """Read at another level, or resampled, the window shows the same place."""
    slide = open_slide(ArrayRaster([np.zeros((60, 80, 3), np.uint8), np.zeros((30, 40, 3), np.uint8)], mpp=(0.5, 0.5)))
    assert next(iter(Plan([slide], Points(6, [(40, 20)], level=1)))).window == Window(17, 7, 6, 6, level=1)
    assert next(iter(Plan([slide], Points(6, [(40, 20)], mpp=1.0)))).window == Window(17, 7, 6, 6, level=1)


def test_points_lie_in_regions_and_parts() -> None:
    """Those of the other part, or outside of the region, are left out."""
    points = [(x, y) for x in range(5, 80, 10) for y in range(5, 60, 10)]
    train, valid = split_region(SLIDE, 0.4, seed=1, guard=0)
    both = [{draw.window for draw in Plan([part], Points(4, points, beyond="skip"))} for part in (train, valid)]
    assert both[0] and both[1] and not both[0] & both[1]
    painted = np.zeros((60, 80), np.uint8)
    painted[:30] = 1
    slide = open_slide(np.zeros((60, 80, 3), np.uint8), region=painted)
    assert {draw.window.y for draw in Plan([slide], Points(4, points, beyond="skip"))} == {3, 13, 23}
    with pytest.raises(WindowError, match='24 of 48 points leave what may be read.*beyond="skip" leaves them out'):
        Plan([slide], Points(4, points, beyond="shift"))


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("a,b\n1,2\n", "must name the columns x and y .* it has no x and no y: 'a', 'b'"),
        ("x,y\n1,\n", "line 2: y must be a number of pixels of level 0, got ''"),
        ("x,y\n1\n", "line 2: y must be a number"),
        ("x,y\nnan,2\n", "line 2: x must be a number"),
        ("x,y,slide\n1,2,\n", "line 2: the column slide is empty"),
        ("", "must name the columns"),
        ("x,y\n", "there is no point; give one at least"),
    ],
)
def test_bad_tables_are_errors(tmp_path: Path, text: str, error: str) -> None:
    """They name file and line."""
    (tmp_path / "p.csv").write_text(text)
    with pytest.raises(PatchaugError, match=f"p.csv.*{error}"):
        Points(8, tmp_path / "p.csv")


@pytest.mark.parametrize(
    ("source", "error", "text"),
    [
        ("nowhere.csv", MissingError, "there is no file nowhere.csv"),
        (5, OptionError, "points must be a file"),
        ([5], OptionError, r"points\[0\] must be \(x, y\)"),
        ([(1,)], OptionError, r"points\[0\] must be"),
        ([("a", 2)], ReadError, r"points\[0\]: x must be a number"),
        ([], OptionError, "there is no point"),
        ({"type": "FeatureCollection"}, ReadError, "a FeatureCollection of points is expected"),
        ({"features": [{"geometry": {"type": "Polygon", "coordinates": []}}]}, ReadError, "feature 0 is a Polygon"),
        ({"features": [5]}, ReadError, "feature 0 is a feature without geometry"),
        ({"features": [{"geometry": {"type": "Point", "coordinates": 3}}]}, ReadError, r"must be \[x, y\]"),
    ],
)
def test_other_sources_are_errors(source: object, error: type[Exception], text: str) -> None:
    """In one line."""
    with pytest.raises(error, match=text):
        Points(8, source)
