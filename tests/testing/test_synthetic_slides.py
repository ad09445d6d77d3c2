"""The demo's slides: reproducible, paired, and no exercise for a threshold."""

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from patchaug import OptionError, Window, open_slide
from patchaug.testing.synthetic_slides import FACTORS, write_slide


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """One slide of 1500 px: no multiple of a tile or a block."""
    return write_slide(tmp_path_factory.mktemp("made"), "a", size=1500, seed=3)


def whole(slide, level: int = 0):
    """All pixels of a level."""
    return slide.read(Window(0, 0, *slide.level_dimensions[level], level))


def test_same_arguments_same_bytes(made: tuple[Path, Path], tmp_path: Path) -> None:
    """And another seed is another slide; nothing but the two files is left."""

    def digests(paths) -> list[str]:
        return [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]

    again = write_slide(tmp_path, "a", size=1500, seed=3)
    other = write_slide(tmp_path, "b", size=1500, seed=4)
    assert digests(made) == digests(again)
    assert not set(digests(made)) & set(digests(other))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tiff", "a_mask.tiff", "b.tiff", "b_mask.tiff"]


def test_levels_belong_together(made: tuple[Path, Path]) -> None:
    """The image's levels are area means of its finest, the mask's the middle pixels; mpp is readable."""
    slide = open_slide(*made)
    assert slide.mask.level_dimensions == slide.level_dimensions == ((1500, 1500), (375, 375), (93, 93))
    assert slide.mpp == pytest.approx((0.5, 0.5))
    finest = whole(slide)
    for level, factor in enumerate(FACTORS):
        image, mask = whole(slide, level)
        height, width = mask.shape
        squares = finest.image[: height * factor, : width * factor].reshape(height, factor, width, factor, 3)
        # Each level is a JPEG of its own, its colours at half resolution: compare the grey values.
        assert np.abs(squares.mean((1, 3, 4)) - image.mean(axis=2)).mean() < 3
        assert (mask == finest.mask[factor // 2 :: factor, factor // 2 :: factor][:height, :width]).all()


def test_blocks_join_without_a_seam(made: tuple[Path, Path]) -> None:
    """Grey values step no more across a block's border than beside it."""
    image = whole(open_slide(*made)).image.astype(int)
    across = np.abs(image[:, 1024] - image[:, 1023]).mean()
    beside = np.abs(image[:, 1040] - image[:, 1039]).mean()
    assert across < 1.5 * beside + 1


def test_nuclei_are_darker_but_no_threshold_finds_them(tmp_path: Path) -> None:
    """A fair exercise: 3 to 6 % nuclei, darker on average, and the best threshold of red stays below Dice 0.8.

    The shares hold from about 3000 px up; a smaller slide has too few glands for a law of averages.
    """
    image, mask = whole(open_slide(*write_slide(tmp_path, "s", size=3000)), 1)
    assert set(np.unique(mask)) == {0, 1} and 0.03 < mask.mean() < 0.06
    red, truth = image[..., 0].astype(int), mask == 1
    tissue = (red < 225) & ~truth
    assert red[truth].mean() < red[tissue].mean() - 40
    scores = [2 * ((red < t) & truth).sum() / ((red < t).sum() + truth.sum()) for t in range(60, 240, 4)]
    assert max(scores) < 0.8


@pytest.mark.parametrize("size", [512, 700])
def test_small_slides(tmp_path: Path, size: int) -> None:
    """Down to 512 px, with nuclei in them; below that it is refused."""
    slide = open_slide(*write_slide(tmp_path, "s", size=size))
    assert slide.dimensions == (size, size) and slide.labels(0).runs[1].pixels > 0


def test_progress_rises_to_one(tmp_path: Path) -> None:
    """Once for each block, as the share of the pixels, also where blocks are cut short."""
    seen: list[float] = []
    write_slide(tmp_path, "s", size=1100, progress=seen.append)
    assert seen == pytest.approx([1024 * 1024 / 1100**2, 1024 / 1100, (1024 * 1100 + 76 * 1024) / 1100**2, 1.0])


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"size": 511}, "size of a synthetic slide must be at least 512 px, got 511"),
        ({"seed": -1}, "seed of a synthetic slide must be 0 or more, got -1"),
        ({"mpp": 0.0}, "mpp of a synthetic slide must be above 0, got 0.0"),
        ({"mpp": float("nan")}, "mpp of a synthetic slide must be above 0, got nan"),
    ],
)
def test_what_cannot_be_made_is_refused(tmp_path: Path, arguments: dict, text: str) -> None:
    """Before anything is written."""
    with pytest.raises(OptionError, match=text):
        write_slide(tmp_path / "new", "t", **arguments)
    assert not (tmp_path / "new").exists()


def test_importing_it_is_cheap() -> None:
    """No writer of files and no picture library before there is something to write."""
    code = (
        "import sys, patchaug.testing.synthetic_slides as _; "
        "print({'tifffile', 'matplotlib', 'scipy', 'torch'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
