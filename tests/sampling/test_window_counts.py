"""Counts of pixels in a row of windows, and weights of blocks, from the runs of a class, against brute force."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchaug.sampling import window_counts
from patchaug.slides import index_mask, label_runs, labels
from patchaug.slides.labels import Labels
from patchaug.testing import masks

SIDES = st.sampled_from([(256, 64), (4, 2), (5, 3), (1, 1)])
LIMITS = st.sampled_from([0.0, 4.0, 100.0])


@contextmanager
def indexed(
    mask: np.ndarray, sides: tuple[int, int], limit: float, rest: int | None = None
) -> Iterator[dict[int, label_runs.RunLengthIndex]]:
    """Index all classes of a mask in small blocks, so that it has many."""

    def read(x: int, y: int, w: int, h: int) -> np.ndarray:
        return mask[y : y + h, x : x + w]

    with pytest.MonkeyPatch.context() as patch:
        for module in (index_mask, label_runs, labels, window_counts):
            for name, side in zip(("STRIP", "BLOCK"), sides, strict=True):
                patch.setattr(module, name, side, raising=False)
        yield index_mask.index_mask(mask.shape[1], mask.shape[0], [mask], read, limit, rest)


@given(masks(max_side=20), SIDES, LIMITS, st.data())
def test_part_of_a_row_of_windows(mask: np.ndarray, sides: tuple[int, int], limit: float, data: st.DataObject) -> None:
    """Any windows of a row that lie side by side, over any strips, whether runs are kept or not."""
    height, width = mask.shape
    w, h = data.draw(st.integers(1, width)), data.draw(st.integers(1, height))
    y, first = data.draw(st.integers(0, height - h)), data.draw(st.integers(0, width - w))
    starts = range(first, data.draw(st.integers(first, width - w)) + 1)
    windows = np.lib.stride_tricks.sliding_window_view(mask, (h, w))[y, starts.start : starts.stop]
    with indexed(mask, sides, limit) as runs:
        of_all = Labels(width, height, None, None, runs)
        for value in runs:
            found = window_counts.row_counts(of_all, value, y, w, h, starts)
            assert found.dtype == np.int64
            assert found.tolist() == (windows == value).sum(axis=(1, 2)).tolist()


@given(masks(max_side=20), SIDES, LIMITS, st.data())
def test_weights_of_blocks(mask: np.ndarray, sides: tuple[int, int], limit: float, data: st.DataObject) -> None:
    """Blocks inside, whose weights are one number, and those at a border; runs kept or not, some at a time."""
    across, down = (
        np.array(data.draw(st.lists(st.sampled_from([0, 1, 7, 7, 7, 7]), min_size=side, max_size=side)))
        for side in mask.shape[::-1]
    )
    columns, lines = (np.concatenate(([0], np.cumsum(one))) for one in (across, down))
    with indexed(mask, sides, limit) as runs, pytest.MonkeyPatch.context() as patch:
        patch.setattr(labels, "_RUNS", data.draw(st.integers(1, 9)))
        for value, one in runs.items():
            of_pixels = (mask == value) * down[:, None] * across
            corners = (one.corner(number) for number in range(len(one.blocks)))
            expected = [of_pixels[y : y + sides[1], x : x + sides[0]].sum() for x, y in corners]
            assert labels.block_weights(one, columns, lines).tolist() == expected


@given(
    st.lists(st.tuples(st.integers(0, 59), st.integers(0, 63), st.integers(1, 3)), max_size=40),
    st.sampled_from([0.3, 0.5, 0.8, 1.2, 100.0]),
    st.integers(2, 4),
)
def test_pieces_that_are_searched_together(points: list[tuple[int, int, int]], limit: float, pieces: int) -> None:
    """The index is the same, also which runs are not kept, however many pieces are searched at once."""
    mask = np.zeros((60, 64), np.uint8)
    for row, column, value in points:
        mask[row, column : column + value] = value
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(index_mask, "_PIECE", 64 * 4)
        found = []
        for together in (1, pieces):
            patch.setattr(index_mask, "_TOGETHER", together)
            with indexed(mask, (8, 2), limit, rest=0) as runs:
                names = ("blocks", "amounts", "firsts", "rows", "starts", "lasts")
                found.append([(value, *(getattr(one, name).tolist() for name in names)) for value, one in runs.items()])
    assert found[0] == found[1]
