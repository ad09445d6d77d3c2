"""Windows by physical size: the level that is read, what is covered, and that no pixel is invented."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchaug import Foreground, Grid, OptionError, Plan, Slide, Uniform, Window, WindowError, open_slide
from patchaug.core.resampling import nearest, resized
from patchaug.readers import ArrayRaster
from patchaug.slides.resolution import region

SIDE = 240


def ramp(factor: int) -> np.ndarray:
    """A level whose pixels hold the level-0 place of their middle: x in red, y in green."""
    at = (np.arange(SIDE // factor) * factor + (factor - 1) / 2).astype(np.uint8)
    pixels = np.zeros((len(at), len(at), 3), np.uint8)
    pixels[..., 0], pixels[..., 1] = at[None, :], at[:, None]
    return pixels


def slide_of(mpp: float | tuple[float, float] | None = 0.25, factors: tuple[int, ...] = (1, 4)) -> Slide:
    """Levels by whole factors; the mask holds the column of level 0."""
    mask = np.tile(np.arange(SIDE, dtype=np.uint8), (SIDE, 1))
    return Slide(ArrayRaster([ramp(f) for f in factors]), ArrayRaster(mask), name="ramp", mpp=mpp)


@given(st.floats(0.25, 2.4), st.integers(1, 20), st.sampled_from([(1,), (1, 4), (1, 2, 3, 8)]))
def test_the_coarsest_level_that_is_fine_enough_is_read(mpp: float, size: int, factors: tuple[int, ...]) -> None:
    """Its pixels are no larger than asked for, but for 1 %, and the window covers size * mpp micrometres."""
    slide = slide_of(factors=factors)
    level, width, height = region(slide, size, 0, mpp)
    own = 0.25 * factors[level]
    assert own <= mpp * 1.01
    assert level == len(factors) - 1 or 0.25 * factors[level + 1] > mpp * 1.01
    assert width == height >= size
    assert abs(width * own - size * mpp) <= max(own / 2, 0.0101 * size * mpp)


@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 150), st.integers(0, 150), st.data())
def test_the_area_mean_is_where_it_should_be(h: int, w: int, x: int, y: int, data: st.DataObject) -> None:
    """The mean of a ramp over a pixel is the ramp at its centre; the nearest pixel of the mask lies under it."""
    slide = slide_of()
    window = Window(x, y, data.draw(st.integers(w, 3 * w)), data.draw(st.integers(h, 3 * h)))
    image, mask = slide.read(window, (h, w))
    assert image.dtype == np.uint8 and image.shape == (h, w, 3) and mask.shape == (h, w)
    centres_x = x + (np.arange(w) + 0.5) * window.width / w
    centres_y = y + (np.arange(h) + 0.5) * window.height / h
    assert np.abs(image[..., 0] - (centres_x - 0.5)[None, :]).max() <= 0.501
    assert np.abs(image[..., 1] - (centres_y - 0.5)[:, None]).max() <= 0.501
    assert (mask == np.floor(centres_x + 1e-9)[None, :]).all()


@given(st.integers(1, 12), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_whole_factors_are_exact(side: int, factor: int, seed: int) -> None:
    """The mean of whole squares, rounded half up; flat pictures stay as they are for any factor."""
    image = np.random.default_rng(seed).integers(0, 256, (side * factor, side * factor, 3), np.uint8)
    sums = image.astype(int).reshape(side, factor, side, factor, 3).sum(axis=(1, 3))
    assert (resized(image, side, side) == (2 * sums + factor**2) // (2 * factor**2)).all()
    flat = np.full((side + 7, side + 3, 3), 201, np.uint8)
    assert (resized(flat, side, side) == 201).all()


@given(st.integers(1, 20), st.integers(1, 20))
def test_class_maps_grow_and_shrink_to_the_pixel_under_the_centre(old: int, new: int) -> None:
    """Each number that comes out was there, and at a whole factor growing is repetition."""
    classes = np.arange(old * old).reshape(old, old)
    out = nearest(classes, new, new)
    at = ((np.arange(new) + 0.5) * old / new + 1e-9).astype(int)
    assert (out == classes[np.ix_(at, at)]).all()
    assert (nearest(classes, 3 * old, 3 * old) == classes.repeat(3, 0).repeat(3, 1)).all()


@pytest.mark.parametrize("sampler", [Uniform(20, mpp=0.7, per_slide=5), Foreground(20, mpp=1.0, per_slide=5)])
def test_patches_have_the_size_and_windows_the_place(sampler) -> None:
    """One size for slides of other resolutions, whichever level each is read at."""
    fine, coarse = slide_of(0.25), slide_of(0.5)
    fine.name, coarse.name = "fine", "coarse"
    plan = Plan([fine, coarse], sampler, seed=3)
    for draw in plan:
        slide = plan.slides[draw.slide]
        patch = plan.read(draw)
        assert patch.image.shape == (20, 20, 3)
        own = slide.mpp[0] * slide.level_downsamples[draw.window.level]
        assert abs(draw.window.width * own - 20 * sampler.mpp) <= own / 2
        first = draw.window.x * slide.level_downsamples[draw.window.level]
        assert abs(int(patch.image[0, 0, 0]) - first) <= sampler.mpp / slide.mpp[0]


@given(st.floats(0.25, 1.2), st.integers(4, 30), st.data())
def test_grids_cover_each_pixel_and_share_no_less_than_asked(mpp: float, size: int, data: st.DataObject) -> None:
    """The overlap counts pixels of the patches."""
    overlap = data.draw(st.integers(0, size - 1))
    slide = slide_of()
    plan = Plan([slide], Grid(size, overlap=overlap, mpp=mpp), shuffle=False)
    windows = [draw.window for draw in plan]
    width, height = slide.level_dimensions[windows[0].level]
    seen = np.zeros((height, width), bool)
    for window in windows:
        seen[window.y : window.bottom, window.x : window.right] = True
    assert seen.all()
    first_row = [window for window in windows if window.y == 0]
    for one, after in zip(first_row, first_row[1:], strict=False):
        assert (one.right - after.x) * size >= overlap * one.width or one.right - after.x == one.width - 1


def test_windows_shared_out_by_area_count_one_resolution() -> None:
    """The same tissue scanned twice as fine gets as many windows."""
    fine, coarse = slide_of(0.25), slide_of(0.5)
    fine.name, coarse.name = "fine", "coarse"
    plan = Plan([fine, coarse], Uniform(10, mpp=0.5, per_slide="area", windows=100))
    assert plan.counts == (20, 80)
    assert Plan([fine, coarse], Uniform(10, per_slide="area", windows=100)).counts == (50, 50)


def test_what_cannot_be_read_in_mpp_is_refused() -> None:
    """Unknown, too fine, too large, said twice: slide, value, limit, cure."""
    with pytest.raises(
        OptionError, match=r"ramp: mpp=0.5 is asked for, and the file does not say.*open_slide\(..., mpp="
    ):
        Plan([slide_of(None)], Uniform(8, mpp=0.5))
    with pytest.raises(OptionError, match=r"ramp: mpp=0.2 is asked for.*0.25 x 0.25 micrometres; ask for that or more"):
        Plan([slide_of()], Uniform(8, mpp=0.2))
    with pytest.raises(
        WindowError, match="ramp: a window of 64 x 64 px does not fit into level 1, which has 60 x 60 px"
    ):
        Plan([slide_of()], Uniform(32, mpp=2.0))
    with pytest.raises(OptionError, match=r"level=1 and mpp=0.5 both say what to read"):
        Uniform(8, level=1, mpp=0.5)
    for bad in (0, -1.0, float("nan"), float("inf"), "1", True):
        with pytest.raises(OptionError, match="mpp must be a number of micrometres per pixel above 0, got"):
            Grid(8, mpp=bad)
        with pytest.raises(OptionError, match="mpp must be a number"):
            open_slide(np.zeros((9, 9, 3), np.uint8), mpp=bad)
    assert open_slide(np.zeros((9, 9, 3), np.uint8), mpp=(0.25, 0.5)).mpp == (0.25, 0.5)
