"""The overlay: the map's colours over the slide at the same place, of bounded size, with its legend."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from patchaug import open_slide
from patchaug.core.palette import class_colour
from patchaug.errors import OptionError
from patchaug.predict.map_frame import MapFrame
from patchaug.predict.writers.overlay import OverlayWriter
from patchaug.predict.writers.overlay_legend import bar_length, with_legend
from patchaug.predict.writers.slide_picture import picture_of
from patchaug.readers import ArrayRaster

from .maps import CODES, class_maps, cuts, frame_of, fresh_folder, write_map

COLOURS = np.array([(0, 0, 0), *(class_colour(n, None) for n in (1, 2, 3))], float)


@given(classes=class_maps(), data=st.data(), opacity=st.sampled_from([0, 0.5, 1]), grey=st.integers(0, 255))
def test_small_maps_are_painted_pixel_by_pixel(classes, data, opacity, grey):
    """Colours over the slide, background left as it is."""
    image = np.full((*classes.shape, 3), grey, np.uint8)
    slide = open_slide(image, name="a")
    path = write_map(
        "png", fresh_folder() / "a.png", frame_of(classes), classes, data.draw(cuts(len(classes))), image=slide,
        opacity=opacity,
    )  # fmt: skip
    height, width = classes.shape
    found = np.asarray(Image.open(path))[:height, :width].astype(float)
    strength = opacity * (classes > 0)[..., None]
    np.testing.assert_allclose(found, grey * (1 - strength) + COLOURS[classes] * strength, atol=0.51)


@given(st.integers(17, 90), st.integers(17, 90), st.integers(16, 40), st.integers(0, 9))
@settings(max_examples=25)
def test_large_maps_are_mixed(height, width, size, seed):
    """Each pixel of the picture is the mean of samples that lie evenly under it: all of them up to factor 4."""
    classes = np.random.default_rng(seed).integers(0, 4, (height, width)).astype(np.uint8)
    path = write_map("png", fresh_folder() / "a.png", frame_of(classes), classes, [0, height], size=size)
    factor = -(-max(height, width) // size)
    painted = np.where(classes[..., None] > 0, COLOURS[classes], 255.0)
    rows, columns = height // factor, width // factor  # whole squares
    if factor <= 4:
        squares = painted[: rows * factor, : columns * factor].reshape(rows, factor, columns, factor, 3).mean((1, 3))
        np.testing.assert_allclose(np.asarray(Image.open(path))[:rows, :columns], squares, atol=0.51)
    assert np.asarray(Image.open(path)).shape[1] == 480


@pytest.mark.parametrize("levels", [1, 3])
@pytest.mark.parametrize("box", [(0, 0, 400, 300), (100, 60, 300, 260), (37, 11, 333, 222)])
def test_the_picture_shows_the_rectangle(levels, box):
    """A ramp stays the ramp of its places, whichever level is read."""
    y, x = np.mgrid[:300, :400]
    image = np.stack([x * 255 / 400, y * 255 / 300, 0 * x], axis=2).round().astype(np.uint8)
    raster = ArrayRaster(image)
    pyramid = [image[:: 2**k, :: 2**k] for k in range(levels)]
    raster.level_dimensions = tuple((one.shape[1], one.shape[0]) for one in pyramid)
    raster.level_downsamples = tuple(2.0**k for k in range(levels))

    def read(window):
        level = pyramid[window.level]
        return level[window.y : window.bottom, window.x : window.right]

    raster.read = read
    left, top, right, bottom = box
    width, height = (right - left) // 10, (bottom - top) // 10
    found = picture_of(open_slide(raster, name="a"), box, width, height).astype(float)
    step_x, step_y = (right - left) / width, (bottom - top) / height
    np.testing.assert_allclose(
        found[..., 0], np.tile((left + (np.arange(width) + 0.5) * step_x) * 255 / 400, (height, 1)), atol=3
    )
    np.testing.assert_allclose(found[:, 0, 1], (top + (np.arange(height) + 0.5) * step_y) * 255 / 300, atol=3)


def test_a_part_lies_over_its_place(tmp_path):
    """At a level, and of a slide of 16 bits with one channel."""
    y, x = np.mgrid[:200, :300]
    slide = open_slide((x + 300 * y).astype(np.uint16)[..., None], name="a")
    frame = replace(
        MapFrame.of_size(slide, CODES, 150, 100), width=40, height=30, l0_x=100.0, l0_y=60.0, whole=(150, 100)
    )
    path = write_map("png", tmp_path / "a.png", frame, np.zeros((30, 40), np.uint8), [0, 30], image=slide)
    shown = np.asarray(Image.open(path))[:30, :40].astype(int)
    assert (np.diff(shown[:, 20, 0]) >= 0).all() and shown[-1, 0, 0] - shown[0, 0, 0] > 200


def test_the_legend_names_all_classes(tmp_path):
    """A box in the colour of each class; background is an empty box; not predicted is grey."""
    classes = np.array([[0, 1, 2, 3, 9]], np.uint8).repeat(20, 0)
    path = write_map("png", tmp_path / "a.png", frame_of(classes, mpp=(1.0, 1.0)), classes, [0, 20], ignore=9)
    legend = np.asarray(Image.open(path))[20:].reshape(-1, 3)
    for colour in [*COLOURS[1:].astype(int), (110, 110, 110)]:
        assert (legend == colour).all(1).sum() > 100


def test_long_names_and_many_classes_stay_inside():
    """The legend gets as many lines as it needs."""
    picture = np.zeros((50, 700, 3), np.uint8)
    few = with_legend(picture, "a" * 500, [("b" * 300, (1, 2, 3), False, 5)], 0.25, "um")
    many = with_legend(picture, "\udc80\n", [(f"class {n}", (1, 2, 3), False, 5) for n in range(90)], 0.25, "px")
    assert few.shape[1] == many.shape[1] == 700 and many.shape[0] > 2 * few.shape[0]
    assert (few[50:, -3:] == 255).all()


@given(st.floats(1e-3, 1e9))
def test_bars_are_round_numbers(extent):
    """1, 2 or 5 times a power of ten, from a tenth to a quarter of the extent."""
    length = bar_length(extent)
    assert f"{length:.6e}"[0] in "125" and extent / 10.001 <= length <= extent / 3.999


def test_wrong_options_are_refused():
    """Size and opacity."""
    for options, text in [({"size": 3}, "16 to 16384"), ({"opacity": 2}, "0 to 1"), ({"background": 9}, "one of")]:
        with pytest.raises(OptionError, match=text):
            OverlayWriter("a", frame_of(np.zeros((2, 2))), **options)
