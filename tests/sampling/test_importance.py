"""Importance weights: exact on every window, and means that are those of the slide, over 200 seeds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchaug import Foreground, Grid, ImportanceWeights, OptionError, Plan, Uniform, open_slide
from patchaug.core.windows import Window
from patchaug.sampling.draw import Draw
from patchaug.sampling.importance import Clipping
from patchaug.slides.slide import Slide
from patchaug.testing import masks


def slide_of(mask: np.ndarray, name: str = "a") -> Slide:
    """A grey slide with a mask."""
    return open_slide(np.zeros((*mask.shape, 3), np.uint8), mask, name=name)


def windows(plan: Plan, number: int) -> list[Window]:
    """All windows of a slide, from the definition."""
    domain = plan.distributions[number].domain
    rows, columns = domain.length_y - domain.height + 1, domain.length_x - domain.width + 1
    return [domain.at(x, y) for y in range(rows) for x in range(columns)]


@given(masks(max_side=9, classes=3), st.data(), st.sampled_from([0.0, 0.25, 0.9]))
def test_weights_turn_the_law_into_the_uniform_one(mask: np.ndarray, data: st.DataObject, share: float) -> None:
    """By enumeration on two slides: probability times weight is one over the number of windows, for each window."""
    mask[0, 0] = 1
    h, w = data.draw(st.integers(1, mask.shape[0])), data.draw(st.integers(1, mask.shape[1]))
    slides = [slide_of(mask), slide_of(np.pad(mask, ((0, 3), (1, 0))), "b")]
    plan = Plan(slides, Foreground((h, w), per_slide=3, foreground=share, classes={1: 2.0, 2: 1.0}))
    weights = ImportanceWeights(plan)
    for number in range(2):
        law, all_windows = plan.distributions[number], windows(plan, number)
        for window in all_windows:
            probability = law.probability(window.x, window.y)
            weight = weights(Draw(0, 0, number, 0, window, probability))
            assert probability * weight == pytest.approx(1 / len(all_windows), rel=1e-12)
            assert weight <= 1 / (1 - share) * (1 + 1e-12)


def test_weights_undo_a_balance_over_the_data_set() -> None:
    """Probability of slide and window times weight is the share of the slide over its number of windows."""
    common, rare = np.zeros((9, 12), np.uint8), np.zeros((7, 8), np.uint8)
    common[2:6, 3:9] = 1
    rare[1, 5] = 2
    slides = [slide_of(common), slide_of(rare, "b"), slide_of(np.zeros((6, 9), np.uint8), "c")]
    sampler = Foreground(4, per_slide="area", windows=40, foreground=0.75, balance="dataset", empty="uniform")
    plan = Plan(slides, sampler)
    weights, law, whole = ImportanceWeights(plan), plan._over_slides, 0.0
    for number, share in enumerate(plan.counts):
        all_windows = windows(plan, number)
        for window in all_windows:
            probability = law.probability(number, window.x, window.y)
            weight = weights(Draw(0, 0, number, 0, window, probability))
            assert probability * weight == pytest.approx(share / 40 / len(all_windows), rel=1e-12)
            whole += probability * weight
    assert whole == pytest.approx(1, abs=1e-12)
    assert all(weights(draw) == weights(Draw(0, 0, draw.slide, 0, draw.window, draw.probability)) for draw in plan)


def test_means_over_200_seeds_are_those_of_the_slides() -> None:
    """Weighted: within two standard errors of the brute-force mean over all windows; unweighted and clipped: not.

    Two slides of two sizes with other numbers of windows keep their shares.
    """
    rng = np.random.default_rng(5)
    made = []
    for number, (height, width) in enumerate([(60, 80), (90, 50)]):
        mask = np.zeros((height, width), np.uint8)
        mask[10:22, 14:30] = 1
        made.append((slide_of(mask, str(number)), rng.random((height, width)) + 3 * mask))  # a loss of each pixel
    losses = [np.lib.stride_tricks.sliding_window_view(loss, (16, 16)).mean(axis=(2, 3)) for _, loss in made]
    sampler = Foreground(16, per_slide="area", windows=24, foreground=0.8)
    found: dict[str, list[float]] = {"weighted": [], "plain": [], "clipped": []}
    for seed in range(200):
        plan = Plan([slide for slide, _ in made], sampler, seed=seed, shuffle=False)
        weights, clipped = ImportanceWeights(plan), ImportanceWeights(plan, max_weight=1.5)
        draws = [(losses[d.slide][d.window.y, d.window.x], weights(d), clipped(d)) for d in plan]
        values = np.array(draws)
        found["plain"].append(values[:, 0].mean())
        found["weighted"].append((values[:, 0] * values[:, 1]).mean())
        found["clipped"].append((values[:, 0] * values[:, 2]).mean())
    truth = sum(count * loss.mean() for count, loss in zip(plan.counts, losses, strict=True)) / len(plan)
    off = {name: (np.mean(v) - truth) / (np.std(v, ddof=1) / np.sqrt(200)) for name, v in found.items()}
    assert abs(off["weighted"]) < 2 and abs(off["plain"]) > 10 and off["clipped"] < -3, off


def test_clipping_is_told() -> None:
    """How many windows, and what share of the weight, by the definition; of each epoch."""
    mask = np.zeros((60, 60), np.uint8)
    mask[5:9, 5:9] = 1
    plan = Plan([slide_of(mask)], Foreground(12, per_slide=50, foreground=0.75))
    weights = ImportanceWeights(plan, max_weight=2)
    for epoch in (0, 3):
        whole = np.array([weights.unclipped(plan[epoch * 50 + place]) for place in range(50)])
        above = np.maximum(whole - 2, 0)
        found = weights.clipping(epoch)
        assert found == pytest.approx((50, (whole > 2).sum(), above.sum() / whole.sum(), whole.max()))
        assert [weights(plan[epoch * 50 + place]) for place in range(50)] == np.minimum(whole, 2).tolist()
    assert found.clipped > 0 and ImportanceWeights(plan).clipping().clipped == 0
    assert Clipping.of([], 2.0) == (0, 0, 0.0, 0.0)


def test_grids_and_uniform_windows_weigh_one() -> None:
    """Also slides without foreground that are drawn uniformly, and those that are skipped."""
    bare, mask = np.zeros((30, 40), np.uint8), np.zeros((30, 40), np.uint8)
    mask[3, 4] = 1
    slides = [slide_of(bare), slide_of(mask, "b")]
    for sampler in (Uniform(8, per_slide=9), Grid(8), Foreground(8, per_slide=9, empty="uniform")):
        plan = Plan(slides, sampler)
        weights = ImportanceWeights(plan)
        assert all(weights(draw) == 1 for draw in plan if draw.slide == 0 or not isinstance(sampler, Foreground))
    plan = Plan(slides, Foreground(8, per_slide=9, empty="skip"))
    assert {draw.slide for draw in plan} == {1} and min(ImportanceWeights(plan)(draw) for draw in plan) < 1


def test_restricted_windows_are_uniform_among_those_that_qualify() -> None:
    """With `min_fraction` the mean is that over the windows that hold enough."""
    mask = np.zeros((12, 14), np.uint8)
    mask[2:9, 3:8] = 1
    plan = Plan([slide_of(mask)], Foreground(4, per_slide=200, foreground=0.5, min_fraction=0.25))
    weights = ImportanceWeights(plan)
    enough = np.lib.stride_tricks.sliding_window_view(mask, (4, 4)).sum(axis=(2, 3)) >= 4
    for draw in plan:
        assert draw.probability * weights(draw) == pytest.approx(1 / enough.sum(), rel=1e-12)


def test_what_cannot_be_unbiased_is_refused() -> None:
    """Windows that are never drawn, windows in place of others, and laws that are unknown."""
    mask = np.zeros((30, 40), np.uint8)
    mask[3, 4] = 1
    slides = [slide_of(mask)]
    with pytest.raises(OptionError, match="a: foreground=1 never draws windows without foreground.*set foreground to"):
        ImportanceWeights(Plan(slides, Foreground(8, foreground=1.0)))
    with pytest.raises(OptionError, match='on_error="resample" reads others.*set on_error="raise"'):
        ImportanceWeights(Plan(slides, Foreground(8), on_error="resample"))
    for wrong, text in ((0.5, "at least 1"), (0, "above 0"), (float("nan"), "above 0"), (True, "above 0")):
        with pytest.raises(OptionError, match=f"max_weight must be .*{text}"):
            ImportanceWeights(Plan(slides, Foreground(8)), max_weight=wrong)
