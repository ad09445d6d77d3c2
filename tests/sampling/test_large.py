"""Slides beyond 65,535 px an axis and 2^31 px in all: nothing wraps, nothing is allocated."""

import tracemalloc

import numpy as np
import pytest

from patchaug import Foreground, Grid, Plan, Slide, Uniform, Window
from patchaug.readers import ArrayRaster
from patchaug.readers.base import require_inside
from patchaug.sampling.class_component import reach
from patchaug.slides.label_runs import BLOCK, STRIP, RunLengthIndex
from patchaug.slides.labels import Labels

WIDTH, HEIGHT, SIZE = 200_000, 150_000, 512


class Nothing:
    """30,000 megapixels of black that exist only where they are read."""

    name = "nothing"
    level_dimensions = ((WIDTH, HEIGHT),)
    level_downsamples = (1.0,)
    mpp = None

    def read(self, window: Window) -> np.ndarray:
        """Black."""
        require_inside(self.name, self.level_dimensions, window)
        return np.zeros((window.height, window.width, 3), np.uint8)


def last_corner_of_a_coarse_mask() -> tuple[Slide, int]:
    """A mask 50 times as coarse, whose last pixel is labelled: 50 x 50 px of the slide."""
    mask = np.zeros((HEIGHT // 50, WIDTH // 50), np.uint8)
    mask[-1, -1] = 1
    return Slide(Nothing(), ArrayRaster(mask), name="large"), 50


def last_pixel_of_a_fine_mask() -> tuple[Slide, int]:
    """An index as one pass over a mask of the slide's own size leaves it: one labelled pixel, the very last."""
    slide = Slide(Nothing(), Nothing(), name="large")
    number = -(-WIDTH // STRIP) * -(-HEIGHT // BLOCK) - 1
    column, row = (WIDTH - 1) % STRIP, (HEIGHT - 1) % BLOCK
    runs = RunLengthIndex(
        1, WIDTH, HEIGHT, np.array([number], np.int32), np.array([1], np.int32), np.array([0, 1]),
        *(np.array([at], np.uint8) for at in (row, column, column)), lambda *_: np.zeros((1, 1), np.uint8),
    )  # fmt: skip
    slide.label_index("mask", 0, lambda: Labels(WIDTH, HEIGHT, None, None, {1: runs}))
    return slide, 1


@pytest.mark.parametrize("make", [last_corner_of_a_coarse_mask, last_pixel_of_a_fine_mask])
def test_foreground_in_the_last_corner_is_found(make) -> None:
    """Each window holds a labelled pixel, with the probability of the closed form, and in its proportion."""
    slide, side = make()
    tracemalloc.start()
    plan = Plan([slide], Foreground(SIZE, foreground=1.0, per_slide=4000), seed=1, shuffle=False)
    draws = list(plan)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100e6  # a mask of one bit a pixel would take 3,750 MB
    right = np.array([draw.window.right for draw in draws])
    bottom = np.array([draw.window.bottom for draw in draws])
    assert right.max() == WIDTH and bottom.max() == HEIGHT
    inside_x, inside_y = right - (WIDTH - side), bottom - (HEIGHT - side)  # labelled columns and rows in the window
    assert inside_x.min() >= 1 and inside_y.min() >= 1
    across, down = (int(reach(length, SIZE)[-side:].sum()) for length in (WIDTH, HEIGHT))
    for draw, columns, rows in zip(draws, inside_x, inside_y, strict=True):
        assert draw.probability == pytest.approx(int(columns) * int(rows) / (across * down), rel=1e-12)
    # Columns are drawn in proportion to their number: 1 to `side`, so its mean is (2 side + 1) / 3.
    mean, spread = (2 * side + 1) / 3, side / np.sqrt(18 * len(draws))
    assert abs(inside_x.mean() - mean) <= 5 * spread and abs(inside_y.mean() - mean) <= 5 * spread


def test_uniform_windows_reach_everywhere() -> None:
    """Ten by ten regions of a slide of 30,000 Mpx, equally often: no bits are missing in the last ones."""
    slide = Slide(Nothing(), name="large")
    n = 20_000
    windows = [draw.window for draw in Plan([slide], Uniform(SIZE, per_slide=n), seed=2)]
    cells = np.zeros((10, 10))
    for window in windows:
        cells[window.y * 10 // (HEIGHT - SIZE + 1), window.x * 10 // (WIDTH - SIZE + 1)] += 1
    assert ((cells - n / 100) ** 2 / (n / 100)).sum() < 160  # chi-square of 99 degrees: exceeded once in 10,000
    # Low bits too: a float of 24 bits would leave only multiples of 16 beyond 2^24.
    for values in ([w.x for w in windows], [w.y for w in windows], [w.y * WIDTH + w.x for w in windows]):
        counts = np.bincount(np.array(values) % 16, minlength=16)
        assert ((counts - n / 16) ** 2 / (n / 16)).sum() < 48


def test_a_grid_counts_beyond_32_bits() -> None:
    """Windows of one pixel: 3 * 10^10 an epoch, the last one in the last corner."""
    plan = Plan([Slide(Nothing(), name="large")], Grid(1), shuffle=False)
    last = plan[WIDTH * HEIGHT - 1]
    assert (last.window.x, last.window.y, last.epoch) == (WIDTH - 1, HEIGHT - 1, 0)
    assert plan[WIDTH * HEIGHT].epoch == 1
