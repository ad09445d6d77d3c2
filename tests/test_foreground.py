"""The foreground law, against brute force over all windows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from patchaug import ForegroundError
from patchaug.foreground import ClassLaw, Labels, reach

MASKS = hnp.arrays(
    np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12), elements=st.integers(0, 3)
)


def labels_of(mask: np.ndarray, rows: int = 5) -> Labels:
    """Index a mask in bands of a few rows."""
    height, width = mask.shape
    return Labels.from_bands(width, height, (mask[top : top + rows] for top in range(0, height, rows)))


@given(MASKS, st.integers(1, 13))
def test_runs_hold_each_pixel_once(mask: np.ndarray, rows: int) -> None:
    """Painting the runs gives the mask back, however it was cut into bands."""
    painted = np.full(mask.shape, 255, np.uint8)
    labels = labels_of(mask, rows)
    for value, runs in labels.runs.items():
        for row, start, length in zip(runs.rows, runs.starts, runs.lengths, strict=True):
            assert (painted[row, start : start + length] == 255).all()
            painted[row, start : start + length] = value
        assert runs.pixels == np.count_nonzero(mask == value)
        x, y = labels.first(value)
        assert np.argmax(mask == value) == y * mask.shape[1] + x
    assert (painted == mask).all()


@given(MASKS, st.data())
def test_count_is_the_number_of_pixels_in_the_window(mask: np.ndarray, data: st.DataObject) -> None:
    """Against numpy's own count, for any window."""
    x, y = data.draw(st.integers(0, mask.shape[1] - 1)), data.draw(st.integers(0, mask.shape[0] - 1))
    width, height = data.draw(st.integers(1, mask.shape[1] - x)), data.draw(st.integers(1, mask.shape[0] - y))
    for value, runs in labels_of(mask).runs.items():
        assert runs.count(x, y, width, height) == np.count_nonzero(mask[y : y + height, x : x + width] == value)


@given(st.integers(1, 40), st.data())
def test_reach_counts_the_windows_around_a_pixel(length: int, data: st.DataObject) -> None:
    """Against the list of all windows."""
    size = data.draw(st.integers(1, length))
    count = np.zeros(length, int)
    for origin in range(length - size + 1):
        count[origin : origin + size] += 1
    assert (reach(length, size) == count).all()


@given(MASKS, st.data())
def test_every_ticket_is_worth_one_labelled_pixel_of_its_window(mask: np.ndarray, data: st.DataObject) -> None:
    """Exact, with no statistics: over all tickets a window comes up once for each labelled pixel that it holds."""
    height, width = mask.shape
    w, h = data.draw(st.integers(1, width)), data.draw(st.integers(1, height))
    labels = labels_of(mask)
    for value in labels.runs:
        law = ClassLaw.of(labels, value, w, h)
        drawn = np.zeros((height - h + 1, width - w + 1), int)
        for ticket in range(law.total):
            x, y = law.draw(ticket)
            drawn[y, x] += 1
        expected = np.array(
            [
                [np.count_nonzero(mask[y : y + h, x : x + w] == value) for x in range(width - w + 1)]
                for y in range(height - h + 1)
            ]
        )
        assert (drawn == expected).all()
        total = sum(law.probability(x, y) for y, x in np.ndindex(drawn.shape))
        assert total == pytest.approx(1, abs=1e-12)


def test_a_giant_slide_is_drawn_exactly() -> None:
    """200,000 x 150,000 px, one labelled pixel in the last corner: found, without any pixel in memory."""
    width, height = 200_000, 150_000
    corner = np.zeros((1, width), np.uint8)
    corner[0, -1] = 1
    rows = np.array([height - 1], np.int32)
    labels = Labels(
        width, height, {1: type(labels_of(corner).runs[1])(rows, np.array([width - 1], np.int32), np.ones(1, np.int32))}
    )
    law = ClassLaw.of(labels, 1, 512, 512)
    assert law.total == 1 and law.draw(0) == (width - 512, height - 512)


def test_sums_beyond_63_bits_are_refused() -> None:
    """Not wrapped: an error that says so."""
    runs = labels_of(np.ones((1, 1), np.uint8)).runs[1]
    rows = np.arange(60_000, dtype=np.int32)
    full = type(runs)(rows, np.zeros_like(rows), np.full_like(rows, 60_000))
    with pytest.raises(ForegroundError, match="2\\^63"):
        ClassLaw.of(Labels(60_000, 60_000, {1: full}), 1, 59_000, 59_000)


def test_missing_rows_are_an_error() -> None:
    """Bands that do not fill the level would shift every row below."""
    with pytest.raises(ForegroundError, match="3 rows, its level has 4"):
        Labels.from_bands(2, 4, [np.zeros((3, 2), np.uint8)])
