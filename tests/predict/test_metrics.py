"""Dice per class, against counting by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from patchaug import FrameError, open_slide
from patchaug.predict import metrics as scores

MAPS = hnp.arrays(np.uint8, (9, 7), elements=st.integers(0, 2))


@given(MAPS, MAPS, st.booleans())
def test_dice_is_twice_the_overlap_over_the_sum(truth: np.ndarray, guess: np.ndarray, ignore_index: bool) -> None:
    """Over two slides at once, in bands, without the pixels of `ignore_index`; None where a class is without_paths."""
    words = {"codes": ["a", "b", "c", "d"], "ignore_index": 2 if ignore_index else None}
    first = open_slide(np.zeros((9, 7, 3), np.uint8), truth, **words)
    second = open_slide(np.zeros((9, 7, 3), np.uint8), guess, **words)
    found = scores.dice_by_class([first, second], [guess, guess], levels=[0, 0])
    t, g = np.concatenate([truth, guess]), np.concatenate([guess, guess])
    keep = t != 2 if ignore_index else np.ones_like(t, bool)
    for number, code in enumerate("abcd"):
        total = np.count_nonzero(t[keep] == number) + np.count_nonzero(g[keep] == number)
        both = np.count_nonzero((t[keep] == number) & (g[keep] == number))
        assert found[code] == (pytest.approx(2 * both / total) if total else None)


def test_bands_do_not_change_the_score(monkeypatch: pytest.MonkeyPatch) -> None:
    """One row at a time, or all."""
    rng = np.random.default_rng(0)
    truth, guess = rng.integers(0, 2, (40, 30), np.uint8), rng.integers(0, 2, (40, 30), np.uint8)
    slide = open_slide(np.zeros((40, 30, 3), np.uint8), truth, codes=["a", "b"])
    whole = scores.dice_by_class([slide], [guess], levels=[0])
    monkeypatch.setattr(scores, "_ROWS", 7)
    assert scores.dice_by_class([slide], [guess], levels=[0]) == whole


def test_a_map_of_another_size_is_refused() -> None:
    """Slide and both sizes."""
    slide = open_slide(np.zeros((9, 7, 3), np.uint8), np.zeros((9, 7), np.uint8), codes=["a"], name="s")
    with pytest.raises(FrameError, match="s: the prediction has 9 x 7 px, level 0 has 7 x 9"):
        scores.dice_by_class([slide], [np.zeros((7, 9), np.uint8)], levels=[0])
