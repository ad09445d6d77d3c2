"""Tables of areas and of objects."""

import csv
import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from shapely.geometry import shape

from .maps import CODES, class_maps, cuts, frame_of, fresh_folder, random_probabilities, write_map


@given(
    classes=class_maps(), data=st.data(), ignore=st.sampled_from([None, 0, 3]), mpp=st.sampled_from([None, (0.5, 0.25)])
)
def test_areas(classes, data, ignore, mpp):
    """Each class has a row, present or not; shares are of what was predicted."""
    path = fresh_folder() / "a.csv"
    write_map("areas.csv", path, frame_of(classes, mpp=mpp), classes, data.draw(cuts(len(classes))), ignore=ignore)
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    predicted = (classes != ignore).sum() if ignore is not None else classes.size
    assert [row["class"] for row in rows] == list(CODES)
    for number, row in enumerate(rows):
        count = 0 if number == ignore else int((classes == number).sum())
        assert int(row["area_px"]) == count and row["slide"] == "case 7"
        assert row["area_um2"] == "" if mpp is None else float(row["area_um2"]) == count * 0.125
        assert abs(float(row["share"]) - count / max(predicted, 1)) < 1e-6


@given(classes=class_maps(), data=st.data(), ignore=st.sampled_from([None, 3]), predicted=st.booleans())
def test_objects(classes, data, ignore, predicted):
    """Each row is a component that scipy finds, with its area, centre and mean probability."""
    path, probabilities = fresh_folder() / "a.csv", random_probabilities(classes)
    frame = frame_of(classes, mpp=(0.5, 0.25), l0_per_pixel=(4.0, 2.0), l0_x=100.0)
    edges = data.draw(cuts(len(classes)))
    write_map("csv", path, frame, classes, edges, probabilities if predicted else None, ignore=ignore)
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["object"]) for row in rows] == list(range(1, len(rows) + 1))
    found = sorted(
        (row["class"], int(row["area_px"]), float(row["area_um2"]), *(float(row[f"centroid_{a}"]) for a in "yx"),
         float(row["mean_probability"] or 0)) for row in rows
    )  # fmt: skip
    wanted = []
    for number in {1, 2, 3} - {ignore}:
        labels, count = ndimage.label(classes == number)
        for one in range(1, count + 1):
            (y, x), area = ndimage.center_of_mass(labels == one), int((labels == one).sum())
            mean = float(probabilities[number][labels == one].mean()) if predicted else 0
            centre = (y + 0.5) * 2, 100 + (x + 0.5) * 4
            wanted.append((CODES[number], area, area * 0.125, *centre, mean))
    assert len(found) == len(wanted)
    for a, b in zip(found, sorted(wanted, key=lambda one: (*one[:3], round(one[3], 2), round(one[4], 2))), strict=True):
        assert a[:2] == b[:2]
        np.testing.assert_allclose(a[2:5], b[2:5], atol=0.0051)
        assert abs(a[5] - b[5]) < 1e-4


def test_objects_stand_in_the_order_of_the_features(tmp_path):
    """So that the n-th row is the n-th polygon."""
    classes = np.random.default_rng(3).integers(0, 4, (60, 50)).astype(np.uint8)
    write_map("csv", tmp_path / "a.csv", frame_of(classes), classes, [0, 60])
    write_map("geojson", tmp_path / "a.geojson", frame_of(classes), classes, [0, 30, 60])
    shapes = [shape(one["geometry"]) for one in json.loads((tmp_path / "a.geojson").read_text())["features"]]
    with (tmp_path / "a.csv").open(encoding="utf-8", newline="") as file:
        rows = [
            (int(row["area_px"]), float(row["centroid_x"]), float(row["centroid_y"])) for row in csv.DictReader(file)
        ]
    np.testing.assert_allclose(rows, [(one.area, one.centroid.x, one.centroid.y) for one in shapes], atol=0.0051)
