"""Counts of pixels in a row of windows, from the runs of a class, against brute force."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchaug.sampling import window_counts
from patchaug.slides import index_mask, label_runs
from patchaug.slides.labels import Labels
from patchaug.testing import masks


@given(
    masks(max_side=20),
    st.sampled_from([(256, 64), (4, 2), (5, 3), (1, 1)]),
    st.sampled_from([0.0, 4.0, 100.0]),
    st.data(),
)
def test_part_of_a_row_of_windows(mask: np.ndarray, sides: tuple[int, int], limit: float, data: st.DataObject) -> None:
    """Any windows of a row that lie side by side, over any strips, whether runs are kept or not."""
    height, width = mask.shape
    w, h = data.draw(st.integers(1, width)), data.draw(st.integers(1, height))
    y, first = data.draw(st.integers(0, height - h)), data.draw(st.integers(0, width - w))
    starts = range(first, data.draw(st.integers(first, width - w)) + 1)
    windows = np.lib.stride_tricks.sliding_window_view(mask, (h, w))[y, starts.start : starts.stop]
    with pytest.MonkeyPatch.context() as patch:
        for module in (index_mask, label_runs, window_counts):
            for name, side in zip(("STRIP", "BLOCK"), sides, strict=True):
                patch.setattr(module, name, side, raising=False)

        def read(x: int, y: int, w: int, h: int) -> np.ndarray:
            return mask[y : y + h, x : x + w]

        runs = index_mask.index_mask(width, height, [mask], read, limit)
        labels = Labels(width, height, None, None, runs)
        for value in runs:
            found = window_counts.row_counts(labels, value, y, w, h, starts)
            assert found.dtype == np.int64
            assert found.tolist() == (windows == value).sum(axis=(1, 2)).tolist()
