"""The page of a slide, as a file: its pictures are the slide, its numbers the plan's."""

import base64
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from patchaug import Foreground, FrameError, Grid, MissingError, OptionError, Plan, Uniform, open_slide
from patchaug.core.palette import class_colour
from patchaug.viz.web_page import page_data, write_page
from patchaug.viz.web_page.images import TILE, class_map_png, heat_map_png, pyramid


def decoded(url: str) -> np.ndarray:
    """The pixels of a data URL."""
    head, data = url.split(",")
    assert re.fullmatch(r"data:image/(png|jpeg);base64", head)
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


@pytest.mark.parametrize("shape", [(700, 1300, 3), (513, 512, 3), (40, 60), (600, 100, 4)])
def test_the_pyramid_is_the_picture(shape: tuple[int, ...]) -> None:
    """Each level's pictures, put together, are the image at half the size of the level before, to JPEG's few greys."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    grey = (rows // 6 + columns // 7).clip(0, 255).astype(np.uint8)
    image = grey if len(shape) == 2 else np.repeat(grey[..., None], shape[2], axis=2)
    levels = pyramid(image)
    assert [level["factor"] for level in levels] == [2**k for k in range(len(levels))]
    for level in levels:
        f, tiles = level["factor"], [decoded(url) for url in level["tiles"]]
        whole = np.vstack([np.hstack(tiles[k : k + level["columns"]]) for k in range(0, len(tiles), level["columns"])])
        assert whole.shape[:2] == (-(-shape[0] // f), -(-shape[1] // f))
        middles = (np.minimum(np.arange(0, n, f) + f // 2, n - 1) for n in grey.shape)
        assert np.abs(whole[..., 0].astype(int) - grey[np.ix_(*middles)]).max() <= 4
    assert max(whole.shape[:2]) <= TILE


def test_a_class_map_has_the_classes_colours() -> None:
    """0 is clear, `ignore_index` grey."""
    mask = np.array([[0, 1, 2], [7, 255, 0]], np.int64)
    picture = decoded(class_map_png(mask, 255))
    assert (picture[..., 3] == np.where(mask == 0, 0, 255)).all()
    for value in (1, 2, 7, 255):
        assert tuple(picture[mask == value][0][:3]) == class_colour(value, 255)
    assert class_colour(255, 255) == (153, 153, 153)
    assert len({class_colour(value, None) for value in range(1, 19)}) == 18


def test_a_heat_map_rises() -> None:
    """From dark to light with the numbers; all nothing is dark."""
    light = decoded(heat_map_png(np.arange(50).reshape(5, 10))).astype(int).sum(-1).ravel()
    assert (np.diff(light) > 0).all()
    assert (decoded(heat_map_png(np.zeros((2, 2)))) == decoded(heat_map_png(np.arange(50).reshape(5, 10)))[0, 0]).all()


@given(st.integers(8, 700), st.integers(8, 700), st.integers(1, 8), st.sampled_from([Uniform, Grid]), st.integers(0, 9))
def test_times_drawn_are_counted_at_the_centres(width: int, height: int, side: int, sampler: type, seed: int) -> None:
    """Each cell's number is that of the windows that hold its centre, by a count of its own."""
    plan = Plan([open_slide(np.zeros((height, width, 1), np.uint8))], sampler(side), seed=seed)
    if len(plan) > 500:
        return
    data = page_data(plan, 0, 2, 64)
    windows = [plan.ordered(False)[k].window for k in range(2 * len(plan))]
    assert [[x, y] for epoch in data["epochs"] for x, y, _ in epoch["windows"]] == [[w.x, w.y] for w in windows]
    shape = decoded(data["density"]["image"]).shape[:2]
    xs, ys = ((np.arange(n) + 0.5) * length / n for n, length in zip(shape[::-1], (width, height), strict=True))
    counts = sum(
        (((ys >= w.y) & (ys < w.bottom))[:, None] & ((xs >= w.x) & (xs < w.right))[None]).astype(int) for w in windows
    )
    assert data["density"]["most"] == counts.max()
    assert (decoded(data["density"]["image"]) == decoded(heat_map_png(counts))).all()


def test_slides_of_a_plan_have_pages_of_their_own(tmp_path: Path) -> None:
    """The windows are those of the slide asked for, with their probabilities; skipped slides have none."""
    slides = [
        open_slide(np.zeros((60, 80, 3), np.uint8), np.full((60, 80), n, np.uint8), name=f"s{n}") for n in (1, 0, 2)
    ]
    plan = Plan(slides, Foreground(16, per_slide=3, foreground=0.5, empty="skip"), seed=5)
    wanted = {(d.epoch, d.slide, d.draw): d for d in (plan[k] for k in range(2 * len(plan)))}
    for number, (name, count) in enumerate((("s1", 3), ("s0", 0), ("s2", 3))):
        text = write_page(plan, tmp_path / "a.html", slide=number, epochs=2).read_text()
        data = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)[1])
        assert data["name"] == name
        for epoch, one in enumerate(data["epochs"]):
            assert len(one["windows"]) == count
            for draw, (x, y, probability) in enumerate(one["windows"]):
                right = wanted[epoch, number, draw]
                assert (x, y) == (right.window.x, right.window.y)
                assert probability == pytest.approx(right.probability, rel=1e-3)


def test_the_file_names_nothing_outside_and_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No address, no part left; a failure leaves the page of before."""
    plan = Plan([open_slide(np.zeros((60, 80, 3), np.uint8), name="</script><!--/*DATA*/")], Uniform(16))
    path = write_page(plan, tmp_path / "a.html")
    text = path.read_text()
    assert not re.search(r"https?:|//[a-z]|@import|url\(", re.sub(r"base64,[A-Za-z0-9+/=]*", "", text))
    assert text.count("</script>") == 2
    assert [file.name for file in tmp_path.iterdir()] == ["a.html"]

    def full(source: Path, target: Path) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="disk full"):
        write_page(plan, path, epochs=1)
    assert [file.name for file in tmp_path.iterdir()] == ["a.html"]
    assert path.read_text() == text


def test_what_cannot_be_shown_is_said(tmp_path: Path) -> None:
    """No folder, no such slide, too many windows."""
    plan = Plan([open_slide(np.zeros((60, 80, 3), np.uint8))], Uniform(16, per_slide=60_000))
    with pytest.raises(MissingError, match="there is no folder .*nowhere to save the page in; make it first"):
        write_page(plan, tmp_path / "nowhere" / "a.html")
    with pytest.raises(OptionError, match="slide must be"):
        write_page(plan, tmp_path / "a.html", slide=1)
    with pytest.raises(OptionError, match=r"epochs=2 of 60000 windows exceed the limit of a page \(100000\)"):
        write_page(plan, tmp_path / "a.html", epochs=2)


def test_layers_of_files_are_the_maps(tmp_path):
    """Classes of a file that opens as a mask, and a probability for each class but the first, at any level."""
    from patchaug.viz.web_page.layers import layers_of_files, small_mask

    image = np.zeros((300, 500, 3), np.uint8)
    mask = np.zeros((300, 500), np.uint8)
    mask[100:, 200:] = 2
    slide = open_slide(image, mask, name="a", codes=["x", "y", "z"], ignore_index=255)
    tifffile.imwrite(tmp_path / "p.ome.tif", mask[::2, ::2], tile=(64, 64))
    maps = np.stack([np.full((150, 250), value, np.uint8) for value in (25, 51, 102)])
    tifffile.imwrite(tmp_path / "q.ome.tif", maps, tile=(64, 64), photometric="minisblack", metadata={"axes": "CYX"})
    classes, *probabilities = layers_of_files(slide, tmp_path / "p.ome.tif", tmp_path / "q.ome.tif")
    assert [one["name"] for one in classes["classes"]] == ["z"]
    assert [one["name"] for one in probabilities] == ["probability of y", "probability of z"]
    assert probabilities[0]["image"] != probabilities[1]["image"] and probabilities[0]["ramp"]
    assert np.array_equal(small_mask(slide, 100), mask[2::5, 2::5])
    tifffile.imwrite(tmp_path / "r.ome.tif", maps[:, :100], tile=(64, 64), photometric="minisblack")
    with pytest.raises(FrameError, match="another shape than a"):
        layers_of_files(slide, None, tmp_path / "r.ome.tif")
