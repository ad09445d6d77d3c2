"""A class map from a grid of windows: every pixel once, from the right window, in bounded memory."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchaug import Grid, OptionError, Plan, Uniform, Window, open_slide
from patchaug.predict.stitch import class_bands, class_map
from patchaug.testing import coordinate_image, coordinate_mask, mask_at, places


@st.composite
def grids(draw: st.DrawFn) -> Plan:
    """A grid of any size and overlap over one coordinate-coded slide."""
    width, height = draw(st.integers(1, 60)), draw(st.integers(1, 60))
    size = draw(st.integers(1, height)), draw(st.integers(1, width))
    slide = open_slide(coordinate_image(width, height))
    return Plan([slide], Grid(size, overlap=draw(st.integers(0, min(size) - 1))), shuffle=False)


def knowing(plan: Plan):
    """The class map of each window, by somebody who sees only the window's pixels."""
    return (mask_at(*places(plan.read(draw).image)) for draw in plan)


@given(grids())
def test_the_map_is_the_mask(plan: Plan) -> None:
    """What each window says of its own pixels, put together, is the mask of the slide."""
    width, height = plan.slides[0].dimensions
    assert (class_map(plan, knowing(plan)) == coordinate_mask(width, height)).all()


@given(grids())
def test_bands_are_the_rows_of_the_slide_once_and_no_higher_than_a_window(plan: Plan) -> None:
    """From the top down, without gaps."""
    width, height = plan.slides[0].dimensions
    at = 0
    for top, band in class_bands(plan, knowing(plan)):
        assert top == at and band.shape[1] == width and 1 <= len(band) <= plan[0].window.height
        at += len(band)
    assert at == height


@given(grids())
def test_overlaps_are_cut_in_half(plan: Plan) -> None:
    """No other window holds a pixel farther from its edge; the slide's own borders are no edges."""
    width, height = plan.slides[0].dimensions
    windows = [draw.window for draw in plan]

    def depth(window: Window) -> np.ndarray:
        """Distance of each pixel of the slide to the window's inner edge, -1 outside; the lesser of both axes."""
        axes = []
        for start, size, length in ((window.y, window.height, height), (window.x, window.width, width)):
            t = np.arange(length)
            left = np.where(start == 0, length, t - start)
            right = np.where(start + size == length, length, start + size - 1 - t)
            axes.append(np.where((t >= start) & (t < start + size), np.minimum(left, right), -1))
        return np.minimum(axes[0][:, None], axes[1][None, :])

    numbers = (np.full((w.height, w.width), k, np.uint16) for k, w in enumerate(windows))
    chosen = class_map(plan, numbers)
    depths = np.stack([depth(w) for w in windows])
    taken = np.take_along_axis(depths, chosen[None].astype(int), 0)[0]
    assert (taken >= 0).all()
    rows, columns = {w.y for w in windows}, {w.x for w in windows}
    if len(rows) == 1 or len(columns) == 1:  # on one axis the law is exact; on two, each axis has it for itself
        assert (taken + 1 >= depths.max(axis=0)).all()


def test_memory_is_a_band_and_the_map(tmp_path) -> None:
    """A slide ten times as high takes no more, when the map is written elsewhere; a new map is all that grows."""

    class Sink:
        """Takes rows, keeps their sum only."""

        def __init__(self, shape: tuple[int, int]) -> None:
            self.shape, self.dtype, self.sum = shape, np.dtype(np.uint8), 0

        def __setitem__(self, rows: slice, band: np.ndarray) -> None:
            self.sum += int(band.sum())

    def peak(height: int, kept: bool) -> int:
        slide = open_slide(np.broadcast_to(np.zeros((1, 1, 3), np.uint8), (height, 2048, 3)))
        plan = Plan([slide], Grid(256), shuffle=False)
        out = None if kept else Sink((height, 2048))
        tracemalloc.start()
        class_map(plan, (np.ones((256, 256), np.uint8) for _ in range(len(plan))), out)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        if out is not None:
            assert out.sum == height * 2048
        return most

    band = 256 * 2048
    assert peak(2048, False) < 1.5 * band and peak(20480, False) < 1.5 * band
    assert 20480 * 2048 < peak(20480, True) < 20480 * 2048 + 1.5 * band
    out = np.memmap(tmp_path / "map", np.uint8, "w+", shape=(300, 400))
    plan = Plan([open_slide(coordinate_image(400, 300))], Grid(64), shuffle=False)
    assert class_map(plan, knowing(plan), out) is out and (out == coordinate_mask(400, 300)).all()


def test_mistakes_are_told() -> None:
    """Plans that are no grid in order, and an `out` that does not fit."""
    slides = [open_slide(np.zeros((64, 64, 3), np.uint8), name=name) for name in "ab"]
    for plan in (
        Plan(slides[:1], Grid(32)),
        Plan(slides, Grid(32), shuffle=False),
        Plan(slides[:1], Grid(32, offset="random"), shuffle=False),
        Plan(slides[:1], Uniform(32), shuffle=False),
    ):
        with pytest.raises(OptionError, match="stitched from one slide's fixed grid, in order; got Plan"):
            next(class_bands(plan, []))
    plan = Plan(slides[:1], Grid(32), shuffle=False)
    with pytest.raises(OptionError, match=r"a: out is of shape \(64, 60\), and level 0 of the slide is of \(64, 64\)"):
        class_map(plan, [], np.zeros((64, 60), np.uint8))
    with pytest.raises(OptionError, match="out is of bool, which cannot hold the class numbers; make it uint8"):
        class_map(plan, [np.zeros((32, 32), np.uint8)] * 4, np.zeros((64, 64), bool))
