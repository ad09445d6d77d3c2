"""What is counted in windows: cut objects, classes and coverage, against brute force on the whole mask."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from patchaug import Foreground, Plan, Uniform, Window, open_slide
from patchaug.advise.balance import measure_balance
from patchaug.advise.coverage import expected_share_seen, grid_windows, random_windows
from patchaug.advise.cut_objects import count_cut, cut_share
from patchaug.advise.interval import Interval, jackknife_error, mean_interval, ratio_interval
from patchaug.advise.label_windows import draw_labels, read_labels
from patchaug.advise.pace import measure_pace

MASKS = arrays(np.uint8, st.tuples(st.integers(3, 24), st.integers(3, 24)), elements=st.integers(0, 2))


def objects_of(mask: Any, number: int) -> list[set[tuple[int, int]]]:
    """Connected sets of pixels of a class, by walking from pixel to pixel."""
    left = {(int(y), int(x)) for y, x in np.argwhere(mask == number)}
    found = []
    while left:
        one, new = set(), {left.pop()}
        while new:
            one |= new
            new = {
                (y + dy, x + dx) for y, x in new for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0))
            } & left  # fmt: skip
            left -= new
        found.append(one)
    return found


@given(MASKS, st.data())
def test_objects_are_whole_if_all_their_pixels_lie_in_the_window(mask: Any, data: st.DataObject) -> None:
    """Cut pieces are the components in the window that are not a whole object of the slide."""
    height, width = mask.shape
    w, h = data.draw(st.integers(1, width)), data.draw(st.integers(1, height))
    x, y = data.draw(st.integers(0, width - w)), data.draw(st.integers(0, height - h))
    slide = open_slide(np.zeros((height, width, 3), np.uint8), mask)
    window = read_labels(slide, Window(x, y, w, h))
    assert np.array_equal(window.labels, mask[y : y + h, x : x + w])
    inside = {(row, column) for row in range(y, y + h) for column in range(x, x + w)}
    for number in (1, 2):
        whole = sum(one <= inside for one in objects_of(mask, number))
        pieces = len(objects_of(mask[y : y + h, x : x + w], number))
        assert count_cut(window, number) == (pieces - whole, whole)


def test_shares_of_cut_objects_follow_the_law() -> None:
    """A square of 4 px in uniform windows of 16 px: probabilities by enumeration of all windows."""
    mask = np.zeros((64, 64), np.uint8)
    mask[30:34, 30:34] = 1
    slide = open_slide(np.zeros((64, 64, 3), np.uint8), mask)
    every = [read_labels(slide, Window(x, y, 16, 16)) for x in range(49) for y in range(49)]
    # 13 x 13 of the 19 x 19 windows that touch it hold it whole.
    assert cut_share(every, [1])[1].value == pytest.approx(1 - 13**2 / 19**2, abs=1e-12)
    drawn = cut_share(draw_labels(Plan([slide], Uniform(16, per_slide=2000), seed=3), 2000), [1, 2])
    assert drawn[1].low < 1 - 13**2 / 19**2 < drawn[1].high and math.isnan(drawn[2].value)


def test_balance_is_that_of_the_distribution() -> None:
    """Shares by enumeration, with their interval; batches that lack a class."""
    rng = np.random.default_rng(0)
    mask = (rng.random((40, 50)) < 0.3).astype(np.uint8)
    mask[:20] = 0
    mask[0, 0] = 9
    slide = open_slide(np.zeros((40, 50, 3), np.uint8), mask, ignore_index=9)
    windows = draw_labels(Plan([slide], Uniform(8, per_slide=3000), seed=1), 3000)
    every = [mask[y : y + 8, x : x + 8] for y in range(33) for x in range(43)]
    share = sum(int((one == 1).sum()) for one in every) / sum(int((one != 9).sum()) for one in every)
    found = measure_balance(windows, 2, batch=4)
    assert found.foreground.low < share < found.foreground.high
    assert found.shares[0].value + found.shares[1].value == pytest.approx(1)
    without = float(np.mean([not (one == 1).any() for one in every])) ** 4
    assert found.without[1] == pytest.approx(without, abs=0.02)
    deviation = float(np.std([(one == 1).mean() for one in every])) / 2
    assert found.deviations[1] == pytest.approx(deviation, rel=0.05)
    assert measure_balance(windows[:1], 2, 4).deviations[1] != 0  # not known, rather than none


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 12), st.integers(0, 12), st.integers(0, 40))
@settings(deadline=None)
def test_the_share_seen_is_that_of_all_windows(h: int, w: int, down: int, across: int, windows: int) -> None:
    """1 - (1 - p)^n for each pixel, with p counted over all windows."""
    height, width = h + down, w + across
    counts = np.zeros((height, width))
    for y in range(down + 1):
        for x in range(across + 1):
            counts[y : y + h, x : x + w] += 1
    expected = float((1 - (1 - counts / ((down + 1) * (across + 1))) ** windows).mean())
    slide = open_slide(np.zeros((height, width, 3), np.uint8))
    domain = Uniform((h, w)).distribution(slide).domain
    assert expected_share_seen(domain, windows) == pytest.approx(expected, abs=1e-12)


def test_windows_that_an_epoch_needs() -> None:
    """The grid's number; and the smallest number of random windows that see 95 %."""
    slides = [open_slide(np.zeros((90, 130, 3), np.uint8), name=name) for name in "ab"]
    assert grid_windows(slides, 32, 0, None) == 2 * 3 * 5
    needed = random_windows(slides[:1], 32, 0, None)
    domain = Uniform(32).distribution(slides[0]).domain
    assert expected_share_seen(domain, needed) >= 0.95 > expected_share_seen(domain, needed - 1)


@pytest.mark.parametrize("seed", range(3))
def test_intervals_hold_the_truth_nineteen_times_of_twenty(seed: int) -> None:
    """Means and ratios of independent units, and the jackknife beside the linearization."""
    rng = np.random.default_rng(seed)
    hits, runs = [0, 0], 300
    for _ in range(runs):
        wholes = rng.integers(1, 50, 40)
        parts = rng.binomial(wholes, 0.3)
        mean, ratio = mean_interval(wholes.tolist()), ratio_interval(parts, wholes)
        hits[0] += mean.low <= 25 <= mean.high
        hits[1] += ratio.low <= 0.3 <= ratio.high
    assert all(0.9 < hit / runs < 0.985 for hit in hits)
    error = jackknife_error(lambda sums: float(sums[0] / sums[1]), np.stack([parts, wholes], 1).astype(float))
    assert error == pytest.approx((ratio.high - ratio.value) / 1.96, rel=0.05)


def test_one_unit_has_no_interval() -> None:
    """Nothing is made up; NaN becomes None in JSON."""
    assert math.isnan(ratio_interval([1], [2]).low) and ratio_interval([1], [2]).value == 0.5
    assert Interval(1.0).as_report() == [1.0, None, None] and str(Interval(1.0)) == "1"
    assert math.isnan(ratio_interval([0], [0]).value)


def test_pace_counts_what_it_reads() -> None:
    """Windows across epochs; at least one."""
    mask = np.zeros((80, 80), np.uint8)
    mask[30:50, 30:50] = 1
    plan = Plan([open_slide(np.zeros((80, 80, 3), np.uint8), mask)], Foreground(16, per_slide=2))
    calls: list[int] = []
    pace = measure_pace(plan, 0.02, draw_seconds=0.01, on_read=lambda: calls.append(1))
    assert pace.pixels == 256 * len(pace.seconds) and len(calls) == len(pace.seconds) >= 1
    assert pace.reads.value == pytest.approx(len(pace.seconds) / sum(pace.seconds)) and pace.draws > 0
