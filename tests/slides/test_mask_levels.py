"""Labels at any level are those of level 0 under the pixel's centre: an averaged pyramid invents no class."""

from pathlib import Path

import numpy as np
import pytest

from patchaug import Foreground, Plan, Window, open_slide
from patchaug.core.resampling import area_mean
from patchaug.testing import coordinate_image, write_pyramid

SIZE, FACTORS = 256, (1, 4, 16)


@pytest.fixture
def mask() -> np.ndarray:
    """Classes 0 to 4 in squares of 20 px, so that no level cuts them whole."""
    at = np.arange(SIZE) // 20
    return ((at[:, None] * 3 + at) % 5).astype(np.uint8)


def averaged(mask: np.ndarray) -> list[np.ndarray]:
    """A pyramid as an image program makes it."""
    return [area_mean(mask[..., None], factor)[..., 0] for factor in FACTORS]


def under_centres(mask: np.ndarray) -> list[np.ndarray]:
    return [mask[factor // 2 :: factor, factor // 2 :: factor] for factor in FACTORS]


@pytest.mark.parametrize("make", [averaged, under_centres, lambda mask: [mask[::f, ::f] for f in FACTORS]])
@pytest.mark.parametrize("indexed", [False, True])
def test_each_level_holds_the_labels_of_level_0(tmp_path: Path, mask, make, indexed: bool) -> None:
    """Whatever the mask's own levels hold, and whether its labels were indexed before or not."""
    write_pyramid(tmp_path / "image.tiff", [coordinate_image(SIZE // f, SIZE // f, f) for f in FACTORS])
    write_pyramid(tmp_path / "mask.tiff", make(mask), tile=16)
    slide = open_slide(tmp_path / "image.tiff", tmp_path / "mask.tiff", codes=list("abcde"))
    for level, expected in enumerate(under_centres(mask)):
        side = SIZE // FACTORS[level]
        if indexed:
            labels = slide.labels(level)
            counts = dict(zip(*np.unique(expected, return_counts=True), strict=True))
            assert {value: labels.pixels(value) for value in labels.runs} == counts
        assert (slide.read(Window(0, 0, side, side, level)).mask == expected).all()
        assert (slide.read(Window(3, 2, 9, 11, level)).mask == expected[2:13, 3:12]).all()


def test_foreground_draws_at_a_coarse_level_hold_their_class(tmp_path: Path, mask) -> None:
    """A class that only the average knows is not drawn."""
    binary = (mask == 1).astype(np.uint8) * 2
    write_pyramid(tmp_path / "image.tiff", [coordinate_image(SIZE // f, SIZE // f, f) for f in FACTORS])
    write_pyramid(tmp_path / "mask.tiff", averaged(binary), tile=16)
    codes = {"ground": 0, "tumour": 2}
    slide = open_slide(tmp_path / "image.tiff", tmp_path / "mask.tiff", codes=codes)
    plan = Plan([slide], Foreground(8, per_slide=20, foreground=1.0, level=1))
    for draw in plan:
        patch = plan.read(draw)
        assert set(np.unique(patch.mask)) <= {0, 1} and (patch.mask == 1).any()
