"""Trainings, validation and borders: the same pixels, exact maps between resolutions, choices by the numbers."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch")

from patchaug import Slide, Window, open_slide
from patchaug.advise.candidate import Candidate, candidates_of
from patchaug.advise.edge_error import EdgeError, border_distances, measure_edge_error
from patchaug.advise.measurements import choose_batch
from patchaug.advise.recommendation import choose_for_training, recommend
from patchaug.advise.short_training import (
    Scored,
    Trained,
    difference_interval,
    train_and_score,
    training_deviation,
    units_of,
)
from patchaug.advise.validation import Block, best_labels, choose_blocks, count_block, mean_dice
from patchaug.core.arrays import Array
from patchaug.errors import OptionError, WindowError

CODES = ["background", "object"]


def slide_of(mask: Any, name: str = "a") -> Slide:
    return open_slide(np.zeros((*mask.shape, 3), np.uint8), mask, name=name, codes=CODES, mpp=0.5)


def checkered(height: int, width: int, side: int) -> Array:
    y, x = np.mgrid[:height, :width]
    return ((y // side + x // side) % 2).astype(np.uint8)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 20), st.integers(0, 3))
def test_blocks_share_no_pixel(height: int, width: int, side: int, seed: int) -> None:
    """All of them cover what a grid covers but its last, flush windows."""
    mask = np.zeros((height, width), np.uint8)
    blocks = choose_blocks([slide_of(mask), slide_of(mask, "b")], 0, side, 1e9, seed)
    for number in (0, 1):
        seen = np.zeros((height, width), int)
        for block in blocks:
            w = block.window
            if block.slide == number:
                seen[w.y : w.bottom, w.x : w.right] += 1
        assert seen.max() == 1
        h, w = min(side, height), min(side, width)
        assert seen.sum() == (height // h * h) * (width // w * w)


@pytest.mark.parametrize("seed", range(4))
def test_one_block_at_least_has_foreground(seed: int) -> None:
    """Also where the pixels suffice for one block, and for a slide without any it is no endless search."""
    mask = np.zeros((64, 64), np.uint8)
    mask[50, 50] = 1
    (block,) = choose_blocks([slide_of(mask)], 0, 16, 1, seed)
    assert block.window == Window(48, 48, 16, 16)
    assert len(choose_blocks([slide_of(np.zeros((64, 64), np.uint8))], 0, 16, 1, seed)) == 1


def test_a_perfect_model_reaches_what_its_resolution_allows() -> None:
    """1 at the finest level; squares of two pixels halve exactly; single pixels are lost."""
    for side, mpp, dice in ((1, 0.5, 1.0), (2, 1.0, 1.0), (4, 1.0, 1.0), (4, 2.0, 1.0)):
        slide = slide_of(checkered(64, 64, side))
        block = Block(0, Window(16, 16, 32, 32))
        candidate = Candidate(8, mpp=mpp)
        assert np.array_equal(best_labels(slide, block, candidate), slide.read_mask(block.window)) == (dice == 1.0)
    lost = best_labels(slide_of(checkered(64, 64, 1)), block, Candidate(8, mpp=1.0))
    confusion = count_block(slide_of(checkered(64, 64, 1)), block, lost, 2)
    assert mean_dice(confusion) < 0.8


@given(st.integers(6, 40), st.integers(6, 40), st.integers(2, 12), st.data())
def test_distances_are_those_of_the_windows(height: int, width: int, size: int, data: st.DataObject) -> None:
    """By brute force: each pixel belongs to the window of the grid whose part it is; the slide's edges are none."""
    size = min(size, height, width)
    slide = slide_of(np.zeros((height, width), np.uint8))
    x, y = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    block = Block(0, Window(x, y, width - x, height - y))
    distance, number = border_distances(slide, block, Candidate(size))

    def along(at: int, length: int) -> int:
        origins = sorted({*range(0, length - size + 1, size), length - size})
        cuts = [0, *((a + size + b) // 2 for a, b in zip(origins, origins[1:], strict=False)), length]
        k = next(k for k in range(len(origins)) if cuts[k] <= at < cuts[k + 1])
        before = at - origins[k] if origins[k] else 2**30
        return min(before, origins[k] + size - 1 - at if origins[k] + size < length else 2**30)

    expected = [[min(along(r, height), along(c, width)) for c in range(x, width)] for r in range(y, height)]
    assert np.array_equal(distance, expected)
    assert len(np.unique(number)) <= len(range(0, height, size)) * len(range(0, width, size)) * 4


def test_an_error_of_two_pixels_at_the_border_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted where windows lie side by side, and nowhere else: curve, end, and the share of a whole patch."""
    slide = slide_of(checkered(256, 256, 8))
    candidate, block = Candidate(32), Block(0, Window(32, 32, 128, 128))

    def planted(learn: Any, slide: Slide, block: Block, candidate: Candidate, *, overlap: int, blend: str) -> Array:
        truth = slide.read_mask(block.window)
        near = border_distances(slide, block, candidate)[0] < 2
        return np.where(near & (overlap == 0), 1 - truth, truth)

    monkeypatch.setattr("patchaug.advise.edge_error.predict_block", planted)
    edge = measure_edge_error(None, [slide], [block], candidate)
    assert [one.value for one in edge.curve] == [1, 1, 0, 0, 0, 0, 0, 0]
    assert edge.vanishes == 2
    assert edge.of_patch(32).value == pytest.approx(1 - 28**2 / 32**2)
    assert edge.of_patch(3).value == 1.0
    assert math.isnan(EdgeError(32, np.zeros((0, 8)), np.zeros((0, 8))).of_patch(32).value)


def scored(size: int, *dice: float, units: int = 12, spread: float = 0.0) -> Scored:
    """A candidate whose trainings have some Dice, on blocks that differ by the same amounts for all."""
    one = Scored(Candidate(size), 8, steps=[9] * len(dice), seconds=[1.0] * len(dice))
    for value in dice:
        each = np.clip(value + spread * np.linspace(-1, 1, units), 0, 1) * 1000
        one.counts.append(np.array([[[1000, 1000 - right], [1000 - right, right]] for right in each]))
    return one


def test_pixels_in_common_make_differences_certain() -> None:
    """Blocks that are harder for all candidates widen each Dice, and not their difference."""
    better, worse = scored(64, 0.82, 0.8, spread=0.15), scored(128, 0.7, 0.72, spread=0.15)
    deviation = training_deviation([better, worse])
    assert deviation == pytest.approx(math.sqrt(4 * 0.01**2 / 2))
    found = difference_interval(worse, better, deviation)
    assert found.value == pytest.approx(-0.1) and found.high < 0
    assert difference_interval(worse, better, 0.2).high > 0
    assert math.isnan(training_deviation([scored(64, 0.5)]))


def measured(size: int, promise: float, level: int = 0) -> Any:
    return SimpleNamespace(
        candidate=Candidate(size, level), promise=lambda seconds: promise, batch=4, step=SimpleNamespace(value=0.5),
        cut={}, largest_batch=9, effective_field=0.5, grid=7,
    )  # fmt: skip


def test_the_best_of_each_size_is_trained_first() -> None:
    """Then the best of the others."""
    every = [measured(64, 0.1), measured(64, 0.9, 1), measured(128, 0.5), measured(128, 0.8, 1), measured(256, 0.2)]
    chosen = choose_for_training(every, 4, 1.0)
    assert [(one.candidate.size, one.candidate.level) for one in chosen] == [(64, 1), (128, 1), (256, 0), (128, 0)]


def test_the_recommendation_says_what_the_data_cannot_decide() -> None:
    """Clear, unclear, one seed, few slides, nothing learnt, nothing trained, and no foreground."""
    every = [measured(64, 0.1), measured(128, 0.9)]
    clear = recommend(every, [scored(64, 0.9, 0.91), scored(128, 0.5, 0.51)], valid_slides=9, seconds=1)
    assert clear.measured is every[0] and not clear.undecided and not clear.doubts
    assert clear.sentences[0].startswith("Train on patches of 64 x 64 px at level 0 in batches of 4: ")
    unclear = recommend(every, [scored(64, 0.9, 0.6), scored(128, 0.7, 0.71)], valid_slides=2, seconds=1)
    assert unclear.undecided == ["128 px, level 0"] and "cannot decide between" in unclear.doubts[0]
    assert "2 validation slides cannot show" in unclear.doubts[1]
    once = recommend(every, [scored(64, 0.9), scored(128, 0.1)], valid_slides=9, seconds=1)
    assert not once.undecided and "trained once" in once.doubts[0]
    for trained, text in (
        ([], "No candidate was trained"),
        ([scored(64, 0.01), scored(128, 0.0)], "too short: the best Dice is 0.010"),
    ):
        planned = recommend(every, trained, valid_slides=9, seconds=1)
        assert planned.measured is every[1] and text in planned.doubts[0]
        assert planned.sentences[0].startswith("Start with patches of 128 x 128 px")
    empty = scored(64, 0.5)
    empty.counts = [np.array([[[9, 0], [0, 0]]])]
    assert "No validation pixel" in recommend(every, [empty], valid_slides=1, seconds=1).doubts[0]


def test_units_are_slides_where_there_are_five() -> None:
    """Blocks of one slide are not independent; with fewer slides there is no choice."""
    blocks = [Block(number % 5, Window(0, 0, 1, 1)) for number in range(10)]
    counts = [np.full((2, 2), number) for number in range(10)]
    assert [int(one[0, 0]) for one in units_of(counts, blocks, 5)] == [5, 7, 9, 11, 13]
    assert len(units_of(counts, blocks, 4)) == 10


def test_a_training_is_scored_on_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts of all blocks, steps and seconds are kept."""
    slide = slide_of(checkered(32, 32, 4))
    monkeypatch.setattr(
        "patchaug.advise.short_training.predict_block",
        lambda learn, slide, block, candidate: slide.read_mask(block.window),
    )
    one = Scored(Candidate(16), 4)
    blocks = choose_blocks([slide], 0, 16, 1e9, 0)
    train_and_score(one, lambda *given: Trained(given, 3, given[2]), [slide], blocks, 2, 1.5, 7)
    assert one.each == [1.0] and one.counts[0].sum() == 32 * 32 and one.steps == [3] and one.seconds == [1.5]
    assert one.learn == (Candidate(16), 4, 1.5, 7)


def test_candidates_fit_into_all_slides() -> None:
    """Those that do not are named; mistakes are one error."""
    slides = [slide_of(np.zeros((100, 300), np.uint8)), slide_of(np.zeros((200, 200), np.uint8), "b")]
    found, left_out = candidates_of([128, 64], None, [0.5, 1.0], slides)
    assert found == [Candidate(64, mpp=0.5)]
    assert left_out["128 px, 0.5 µm/px"] == "larger than a"
    for sizes, levels, mpps, error, text in (
        ([256], None, None, OptionError, "a: level 0 has 300 x 100 px.*--sizes up to 100"),
        ([64, 64], None, None, OptionError, "different numbers, got 64,64"),
        ([64], [0], [0.5], OptionError, "keep one"),
        ([64], [3], None, WindowError, "no level 3"),
        ([64], None, [0.1], OptionError, "its finest pixels are"),
    ):
        with pytest.raises(error, match=text):
            candidates_of(sizes, levels, mpps, slides)


@given(st.integers(1, 4096), st.integers(1, 10**6), st.none() | st.integers(1, 512))
def test_a_batch_fits_into_the_memory(size: int, largest: int, given: int | None) -> None:
    """At least one patch, at most what fits, and what is asked for where it fits."""
    batch = choose_batch(size, largest, given)
    assert 1 <= batch <= largest
    assert given is None or batch == min(given, largest)
