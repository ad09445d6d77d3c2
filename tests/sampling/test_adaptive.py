"""`Adaptive`: its law by brute force, and a plan that is pure given the losses that it knows."""

from __future__ import annotations

import json
import pickle
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchaug import Adaptive, ImportanceWeights, OptionError, Plan, ReadError, open_slide
from patchaug.core.windows import Window
from patchaug.sampling.splits import sampler_for
from patchaug.slides.slide import Slide
from patchaug.testing import masks

from .test_samplers import frequencies_fit

N = 12  # windows of a slide in an epoch


def slide_of(mask: np.ndarray, name: str = "a") -> Slide:
    """A grey slide with a mask."""
    return open_slide(np.zeros((*mask.shape, 3), np.uint8), mask, name=name)


def loss_at(window: Window) -> float:
    """A loss that rises to the right and below."""
    return 0.25 + window.x / 7 + (window.y // 3) ** 2


def trained(plan: Plan, epochs: int, start: int = 0) -> Plan:
    """Record the losses of some epochs."""
    for epoch in range(start, start + epochs):
        draws = [plan[epoch * len(plan) + place] for place in range(len(plan))]
        plan.adaptation.record(draws, [loss_at(draw.window) for draw in draws])
        plan.adaptation.advance(epoch + 1)
    return plan


def block_law(plan: Plan, mask: np.ndarray, size: tuple[int, int], blocks: int, floor: float, epochs: int) -> dict:
    """The law of the next epoch, from the definition: floats, a loop over windows, and every draw of each epoch."""
    h, w = size
    rows, columns = mask.shape[0] - h + 1, mask.shape[1] - w + 1
    edges = [[k * n // min(n, blocks) for k in range(min(n, blocks) + 1)] for n in (rows, columns)]
    block = {
        Window(x, y, w, h): (np.searchsorted(edges[0], y, "right") - 1, np.searchsorted(edges[1], x, "right") - 1)
        for y in range(rows) for x in range(columns)
    }  # fmt: skip
    sums, counts = dict.fromkeys(set(block.values()), 0.0), dict.fromkeys(set(block.values()), 0.0)
    for epoch in range(epochs):
        for key in sums:
            sums[key], counts[key] = sums[key] / 2, counts[key] / 2
        for place in range(len(plan)):
            window = plan_of_epoch[epoch][place]
            sums[block[window]] += loss_at(window)
            counts[block[window]] += 1
    mean = sum(sums.values()) / sum(counts.values())
    losses = {key: (sums[key] + mean) / (counts[key] + 1) for key in sums}
    whole = sum(losses[block[window]] for window in block)
    return {window: floor / len(block) + (1 - floor) * losses[block[window]] / whole for window in block}


plan_of_epoch: list[list[Window]] = []


@given(masks(max_side=9), st.data(), st.integers(1, 4), st.sampled_from([0.1, 0.5, 1.0]), st.integers(0, 3))
def test_probability_is_the_law_of_blocks(
    mask: np.ndarray, data: st.DataObject, blocks: int, floor: float, epochs: int
) -> None:
    """Sums to 1, keeps the floor, and is the brute-force law but for the rounding of scores to 16 bits."""
    h, w = data.draw(st.integers(1, mask.shape[0])), data.draw(st.integers(1, mask.shape[1]))
    plan = Plan([slide_of(mask)], Adaptive((h, w), per_slide=N, blocks=blocks, floor=floor), seed=5)
    plan_of_epoch.clear()
    for epoch in range(epochs):
        plan_of_epoch.append([plan[epoch * N + place].window for place in range(N)])
        trained(plan, 1, epoch)
    law = plan.adaptation.at(plan.adaptation.epoch, 0)
    every = {
        Window(x, y, w, h): law.probability(x, y)
        for y in range(mask.shape[0] - h + 1) for x in range(mask.shape[1] - w + 1)
    }  # fmt: skip
    assert sum(every.values()) == pytest.approx(1, abs=1e-12)
    assert min(every.values()) >= floor / len(every)
    if epochs:
        expected = block_law(plan, mask, (h, w), blocks, floor, epochs)
        assert all(every[window] == pytest.approx(expected[window], rel=1e-3) for window in every)
    for place in range(N):
        draw = plan[plan.adaptation.epoch * N + place]
        assert draw.probability == pytest.approx(every[draw.window], rel=1e-12)


@given(masks(max_side=9), st.data(), st.integers(1, 5))
def test_every_rank_is_a_window_of_its_block(mask: np.ndarray, data: st.DataObject, blocks: int) -> None:
    """Exact, with no statistics: over all ranks a window comes up as often as its block's score says."""
    h, w = data.draw(st.integers(1, mask.shape[0])), data.draw(st.integers(1, mask.shape[1]))
    part = Adaptive((h, w), blocks=blocks).distribution(slide_of(mask)).classes[0]
    scores = data.draw(st.lists(st.integers(1, 5), min_size=part.scores.size, max_size=part.scores.size))
    part = part.scored(np.array(scores, np.int64))
    drawn: dict[tuple[int, int], int] = {}
    for rank in range(part.total):
        origin = part.draw(rank)
        drawn[origin] = drawn.get(origin, 0) + 1
    windows = [(x, y) for y in range(mask.shape[0] - h + 1) for x in range(mask.shape[1] - w + 1)]
    assert drawn == {(x, y): scores[part.number(x, y)] for x, y in windows}
    assert part.block_probabilities().sum() == pytest.approx(1, abs=1e-12)


def test_frequencies_are_those_of_the_law() -> None:
    """Chi-square over 6,000 draws of one epoch after two epochs of losses, on two slides; planted faults are seen."""
    mask = np.zeros((10, 12), np.uint8)
    plan = Plan(
        [slide_of(mask), slide_of(mask[:8], "b")],
        Adaptive(6, per_slide=6000, blocks=3, floor=0.4),
        seed=2,
        shuffle=False,
    )
    for epoch in range(2):  # record only a few, so that the test is quick
        draws = [plan[epoch * 12000 + place] for place in [*range(40), *range(6000, 6040)]]
        plan.adaptation.record(draws, [loss_at(draw.window) for draw in draws])
        plan.adaptation.advance(epoch + 1)
    drawn = [plan[24000 + place] for place in range(12000)]
    for slide in range(2):
        law = plan.adaptation.at(2, slide)
        columns, rows = (7, 5) if slide == 0 else (7, 3)
        exact = {Window(x, y, 6, 6): law.probability(x, y) for y in range(rows) for x in range(columns)}
        windows = [draw.window for draw in drawn if draw.slide == slide]
        assert frequencies_fit(windows, exact)
        flat = dict.fromkeys(exact, 1 / len(exact))
        no_floor = {window: (p - 0.4 / len(exact)) / 0.6 for window, p in exact.items()}
        assert not frequencies_fit(windows, flat)
        assert not frequencies_fit(windows, no_floor)


def test_class_weights_follow_the_losses() -> None:
    """By hand: each window counts for a class by its pixels, weighed to uniform; the law stays exact."""
    rng = np.random.default_rng(1)
    mask = np.zeros((14, 16), np.uint8)
    mask[1:5, 1:6], mask[9:13, 8:15] = 1, 2
    plan = Plan([slide_of(mask)], Adaptive(5, per_slide=60, adapt="classes", classes={1: 1.0, 2: 3.0}), shuffle=False)
    assert plan.distributions[0].weights == (0.25, 0.75)
    weights = ImportanceWeights(plan)
    sums, counts = np.zeros(2), np.zeros(2)
    for draw in plan:
        loss, cut = float(rng.random()), mask[draw.window.y : draw.window.bottom, draw.window.x : draw.window.right]
        plan.adaptation.record([draw], [loss])
        share = np.array([(cut == 1).mean(), (cut == 2).mean()]) * weights(draw)
        sums, counts = sums + share * loss, counts + share
    plan.adaptation.advance(1)
    mean = (sums + sums.sum() / counts.sum()) / (counts + 1)
    expected = mean * [0.25, 0.75] / (mean * [0.25, 0.75]).sum()
    law = plan.adaptation.at(1, 0)
    assert law.weights == pytest.approx(expected, rel=1e-4) and law.foreground == 0.9
    every = [law.probability(x, y) for y in range(10) for x in range(12)]
    assert sum(every) == pytest.approx(1, abs=1e-12) and min(every) >= 0.1 / 120 * (1 - 1e-12)


def test_windows_follow_from_the_state_alone(tmp_path) -> None:
    """In any order of losses, after a pickle, from a dict, and from JSON; also in the middle of an epoch."""
    slides = [slide_of(np.zeros((20, 24), np.uint8), name) for name in "ab"]
    sampler = Adaptive(7, per_slide=N, blocks=3)
    plan = trained(Plan(slides, sampler, seed=1), 2)
    half = [plan[4 * N + place] for place in range(9)]
    plan.adaptation.record(half, [loss_at(draw.window) for draw in half])
    state = plan.adaptation.state_dict()
    plan.adaptation.save(tmp_path / "state.json")
    others = [Plan(slides, sampler, seed=1) for _ in range(2)]
    others[0].adaptation.load_state_dict(state)
    others[1].adaptation.load(tmp_path / "state.json")
    others += [pickle.loads(pickle.dumps(plan)), plan.ordered(False).ordered(True)]
    now = [plan[index] for index in range(4 * N, 6 * N)]
    for other in others:
        assert [other[index] for index in reversed(range(4 * N, 6 * N))] == now[::-1]
    rest = [plan[index] for index in range(4 * N + 9, 6 * N)]
    for other in [plan, *others[:2]]:
        for draw in reversed(rest) if other is others[0] else rest:
            other.adaptation.record([draw], [loss_at(draw.window)])
        other.adaptation.advance(3)
    following = [[one[index] for index in range(6 * N, 8 * N)] for one in (plan, *others[:2])]
    assert following[0] == following[1] == following[2] != now
    first = [Plan(slides, sampler, seed=1)[index] for index in range(2 * N)]
    assert [plan[index] for index in range(2 * N)] == first
    shown = json.loads((tmp_path / "state.json").read_text())["shown"]
    assert [one["name"] for one in shown] == ["a", "b"] and np.sum(shown[0]["probabilities"]) == pytest.approx(1)


def test_hard_windows_are_drawn_more_and_easy_ones_still() -> None:
    """A corner with a high loss takes most draws; the loss falls, and so does its share; nothing dies out."""
    plan = Plan([slide_of(np.zeros((64, 64), np.uint8))], Adaptive(8, per_slide=200, blocks=4), seed=1)

    def corner(epoch: int) -> float:
        draws = [plan[epoch * 200 + place] for place in range(200)]
        hard = [draw.window.x < 14 and draw.window.y < 14 for draw in draws]
        plan.adaptation.record(draws, [50.0 if one and epoch < 3 else 1.0 for one in hard])
        plan.adaptation.advance(epoch + 1)
        return sum(hard) / 200

    shares = [corner(epoch) for epoch in range(12)]
    assert shares[0] < 0.15 and min(shares[1:3]) > 0.4 and shares[11] < 0.2
    whole = plan.adaptation.probabilities(0)
    assert whole.shape == (4, 4) and whole.sum() == pytest.approx(1) and whole.min() > 0.1 / 17


def test_weights_of_adaptive_windows_are_those_of_uniform_ones() -> None:
    """Importance weights use the law of the epoch: at most 1 / floor."""
    plan = trained(Plan([slide_of(np.zeros((20, 24), np.uint8))], Adaptive(7, per_slide=N, floor=0.25)), 2)
    weights = ImportanceWeights(plan)
    for place in range(2 * N, 3 * N):
        draw = plan[place]
        assert weights(draw) * draw.probability == pytest.approx(1 / (14 * 18), rel=1e-12) and weights(draw) <= 4


def test_what_does_not_fit_is_one_error(tmp_path) -> None:
    """Unknown epochs, states of others, options of other modes, and limits."""
    slides = [slide_of(np.zeros((20, 24), np.uint8))]
    plan = trained(Plan(slides, Adaptive(7, per_slide=N)), 1)
    with pytest.raises(OptionError, match="windows of epoch 2 follow from the losses.*give the windows of epoch 1"):
        plan[2 * N]
    with pytest.raises(OptionError, match="losses of 1 epochs are known, and epoch 0 lies before"):
        plan.adaptation.advance(0)
    for other in (Adaptive(7, per_slide=N, blocks=2), Adaptive(7, per_slide=N, adapt="classes")):
        with pytest.raises(OptionError, match="other slides, blocks or classes"):
            Plan(slides, other).adaptation.load_state_dict(plan.adaptation.state_dict())
    for state in ({}, {"version": 2}, 5):
        with pytest.raises(OptionError, match="a state of adaptive windows holds"):
            plan.adaptation.load_state_dict(state)
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(ReadError, match="cannot be read"):
        plan.adaptation.load(tmp_path / "a.json")
    with pytest.raises(OptionError, match='on_error="resample" reads others'):
        Plan(slides, Adaptive(7), on_error="resample")
    for options, text in (
        ({"floor": 0}, "floor must be above 0"), ({"floor": 1.5}, "floor must be a probability"),
        ({"blocks": 0}, "blocks"), ({"adapt": "slides"}, 'adapt must be "blocks" or "classes"'),
        ({"classes": [1]}, 'classes are for adapt="classes"'), ({"per_slide": "foreground"}, "is for Foreground"),
    ):  # fmt: skip
        with pytest.raises(OptionError, match=text):
            Adaptive(7, **options)
    with pytest.raises(OptionError, match='min_fraction=0.5 is for mode="random".*set min_fraction=0.0'):
        sampler_for(mode="adaptive", size=7, min_fraction=0.5)
    with pytest.raises(OptionError, match="1 draws have 2 losses"):
        plan.adaptation.record([plan[0]], [1.0, 2.0])
    with pytest.warns(UserWarning, match="no loss was recorded in epoch 1"):
        plan.adaptation.advance(2)
    plan.adaptation.record([plan[2 * N]], [float("nan")])
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        plan.adaptation.advance(3)
    assert len(told) == 1


def test_a_region_keeps_its_windows() -> None:
    """A rectangle is cut into blocks of its own; other regions are refused, and blocks of classes take them."""
    image, mask = np.zeros((30, 40, 3), np.uint8), np.zeros((30, 40), np.uint8)
    mask[6:20, 8:30] = 1
    slide = open_slide(image, mask, name="a", region=Window(5, 4, 25, 20))
    plan = trained(Plan([slide], Adaptive(7, per_slide=N, blocks=3)), 2)
    law = plan.adaptation.at(2, 0)
    every = {(x, y): law.probability(x, y) for y in range(4, 18) for x in range(5, 24)}
    assert sum(every.values()) == pytest.approx(1, abs=1e-12)
    assert all((plan[k].window.x, plan[k].window.y) in every for k in range(2 * N, 3 * N))
    other = open_slide(image, mask, name="b", region=mask)
    with pytest.raises(OptionError, match="b: blocks are cut out of a rectangle"):
        Plan([other], Adaptive(7))
    windows = [draw.window for draw in Plan([other], Adaptive(7, adapt="classes", per_slide=N))]
    assert all(mask[one.y : one.bottom, one.x : one.right].all() for one in windows)


def test_totals_are_shared_out_by_area() -> None:
    """As for `Uniform`."""
    slides = [slide_of(np.zeros((20, side), np.uint8), str(side)) for side in (10, 30)]
    plan = Plan(slides, Adaptive(7, per_slide="area", windows=40))
    assert plan.counts == (10, 30) and len(trained(plan, 1)) == 40
