"""Tissue on slides without a mask."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patchaug import Foreground, ForegroundError, Plan, Slide, Uniform, Window, open_slide
from patchaug.readers import ArrayRaster
from patchaug.slides.tissue import TISSUE, tissue_labels, tissue_mask

GLASS, STAIN = (236, 233, 235), (188, 84, 150)


def stained(height: int, width: int, window: Window) -> np.ndarray:
    """A slide of glass with one rectangle of tissue."""
    image = np.full((height, width, 3), GLASS, np.uint8)
    image[window.y : window.bottom, window.x : window.right] = STAIN
    return image


@settings(max_examples=15)
@given(st.integers(1025, 2500), st.integers(900, 2300), st.integers(0, 2**32 - 1))
def test_windows_are_drawn_where_the_tissue_is(width: int, height: int, seed: int) -> None:
    """On slides whose size is no multiple of anything: every pixel drawn is tissue, or beside it on the thumbnail."""
    rng = np.random.default_rng(seed)
    w, h = int(rng.integers(30, width // 2)), int(rng.integers(30, height // 2))
    place = Window(int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1)), w, h)
    image = stained(height, width, place)
    slide = Slide(ArrayRaster([image, image[::4, ::4][: height // 4, : width // 4]]), name="s")
    factor = -(-max(width, height) // 1024)
    for level, downsample in ((0, 1), (1, 4)):
        edge = 2 * factor + downsample
        for draw in Plan([slide], Foreground(1, foreground=1.0, per_slide=60, level=level), seed=seed):
            x0, y0 = draw.window.x * downsample, draw.window.y * downsample
            assert place.x - edge <= x0 <= place.right + edge and place.y - edge <= y0 <= place.bottom + edge
        pixels = tissue_labels(slide, level).pixels(TISSUE) * downsample**2
        assert abs(pixels - w * h) <= 2 * edge * (w + h + 2 * edge)


def test_glass_alone_has_no_tissue() -> None:
    """One saturation throughout: nothing is made up."""
    assert not tissue_mask(np.full((20, 20, 3), GLASS, np.uint8)).any()


@pytest.mark.parametrize(("channels", "dtype"), [(1, "u1"), (6, "u2"), (2, "f4")])
def test_other_channels_than_three_are_refused(channels: int, dtype: str) -> None:
    """Tissue is found by its colour; both cures of the error work."""
    slide = open_slide(np.zeros((50, 50, channels), dtype), np.ones((50, 50), np.uint8), name="a")
    alone = slide.without_mask()
    with pytest.raises(
        ForegroundError, match=f"a: tissue is found by its colour, and .* {channels} channels.*mask, or"
    ):
        Plan([alone], Foreground(5))
    assert len(Plan([slide], Foreground(5, per_slide=3))) == 3
    assert len(Plan([alone], Foreground(5, per_slide=3, foreground=0))) == 3
    assert len(Plan([alone], Uniform(5, per_slide="area", windows=4))) == 4


@pytest.mark.parametrize("dtype", ["u2", "i2", "f2", "f4"])
def test_deep_colours_have_the_tissue_of_shallow_ones(dtype: str) -> None:
    """Saturation has no scale; below 0 it has no sense."""
    image = stained(100, 120, Window(10, 10, 40, 40))
    expected = tissue_labels(open_slide(image), 0)
    deep = image.astype(np.int64) * (100 if dtype != "f2" else 10)
    found = tissue_labels(open_slide(deep.astype(dtype)), 0)
    assert found.pixels(1) == expected.pixels(1) > 0
    if dtype != "u2":
        with pytest.raises(ForegroundError, match="a channel is below 0"):
            tissue_labels(open_slide((deep - 9000).astype(dtype)), 0)


def test_the_index_is_kept_with_the_slide() -> None:
    """Found once, whatever asks for it."""
    slide = open_slide(stained(100, 120, Window(10, 10, 40, 40)))
    assert tissue_labels(slide, 0) is tissue_labels(slide, 0)


def test_real_tissue_is_drawn(data: Path) -> None:
    """CMU-1-Small-Region: pixels drawn for tissue are far more colourful than those of the slide at large."""
    slide = open_slide(data / "slides" / "CMU-1-Small-Region.svs")

    def saturation(share: float) -> float:
        plan = Plan([slide], Foreground(16, foreground=share, per_slide=200), seed=4)
        images = np.stack([plan.read(draw).image for draw in plan]).astype(float)
        return float((1 - images.min(axis=-1) / images.max(axis=-1).clip(1)).mean())

    assert saturation(1.0) > 1.15 * saturation(0.0)
