"""`balance="dataset"` and `per_slide="foreground"`: laws over several slides, by counting every window of each."""

from __future__ import annotations

import os
import pickle
from contextlib import nullcontext

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchaug import Foreground, ForegroundError, OptionError, PatchOptions, Plan, ReadError, Uniform, open_slide
from patchaug.core.windows import Window
from patchaug.readers import ArrayRaster
from patchaug.sampling.dataset_balance import integer_below
from patchaug.slides.slide import Slide
from patchaug.testing import masks
from tests.sampling.test_samplers import frequencies_fit, windows

DRAWS = 40_000 if os.environ.get("HYPOTHESIS_PROFILE") == "long" else 2000
Key = tuple[int, Window]


def slides_of(several: list[np.ndarray]) -> list[Slide]:
    """Black slides with these masks."""
    black = [np.zeros((*mask.shape, 3), np.uint8) for mask in several]
    return [open_slide(image, mask, name=f"s{k}") for k, (image, mask) in enumerate(zip(black, several, strict=True))]


def law_of(
    several: list[np.ndarray], w: int, h: int, share: float, weights: dict[int, float], least: int = 0
) -> dict[Key, float]:
    """The law by counting every window of every slide: classes first, then pixels over the whole data set."""
    every = [(k, one) for k, mask in enumerate(several) for one in windows(mask, w, h)]

    def count(key: Key, values: list[int]) -> int:
        number, one = key
        return np.count_nonzero(np.isin(several[number][one.y : one.bottom, one.x : one.right], values))

    every = [key for key in every if count(key, list(weights)) >= least]
    counts = {value: [count(key, [value]) for key in every] for value in weights}
    present = {value: weight for value, weight in weights.items() if sum(counts[value])}
    in_slide = {k: sum(number == k for number, _ in every) for k in range(len(several))}
    return {
        key: (1 - share) / len(several) / in_slide[key[0]]
        + share * sum(weight / sum(present.values()) * counts[v][n] / sum(counts[v]) for v, weight in present.items())
        for n, key in enumerate(every)
    }


@given(st.lists(masks(max_side=8, classes=3), min_size=1, max_size=4), st.data(), st.sampled_from([0.25, 0.5, 1.0]))
def test_probability_is_the_law_over_all_slides(several: list, data: st.DataObject, share: float) -> None:
    """`Draw.probability` is the brute-force law to 1e-12, which sums to 1 over all windows of all slides."""
    several[data.draw(st.integers(0, len(several) - 1))][0, 0] = 1
    h, w = (data.draw(st.integers(1, min(mask.shape[axis] for mask in several))) for axis in (0, 1))
    weights = data.draw(st.sampled_from([{1: 3.0, 2: 1.0}, {2: 1.0, 1: 0.5}, {1: 1.0}]))
    law = law_of(several, w, h, share, weights)
    sampler = Foreground((h, w), per_slide=9, foreground=share, classes=weights, balance="dataset")
    plan = Plan(slides_of(several), sampler, seed=data.draw(st.integers(0, 2**32 - 1)))
    for draw in plan:
        assert draw.probability == pytest.approx(law[draw.slide, draw.window], abs=1e-12)
    whole = plan._over_slides
    assert whole is not None
    for (number, one), expected in law.items():
        assert whole.probability(number, one.x, one.y) == pytest.approx(expected, abs=1e-12)
    assert sum(law.values()) == pytest.approx(1, abs=1e-12) == pytest.approx(sum(whole.of_slides), abs=1e-12)
    # Given its slide, a window has the distribution that replaces an unreadable one.
    for number, one in enumerate(plan.distributions):
        each = [one.probability(o.x, o.y) for k, o in law if k == number]
        assert sum(each) == pytest.approx(1, abs=1e-12)


RARE = np.zeros((6, 7), np.uint8)
RARE[5, 6] = 2
FULL = np.ones((4, 9), np.uint8)
EMPTY = np.zeros((5, 5), np.uint8)
MIXED = np.zeros((7, 4), np.uint8)
MIXED[::2] = 1
MIXED[3, 1] = 2


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (4, 4)])
@pytest.mark.parametrize(("share", "weights"), [(0.5, {1: 1.0, 2: 1.0}), (1.0, {1: 1.0, 2: 4.0})])
def test_drawn_frequencies_fit_the_law_over_all_slides(size: tuple, share: float, weights: dict) -> None:
    """Chi-square over slides and windows together; one of the slides has no foreground at all."""
    several = [RARE, FULL, EMPTY, MIXED]
    law = law_of(several, size[1], size[0], share, weights)
    sampler = Foreground(size, per_slide=DRAWS // 4, foreground=share, classes=weights, balance="dataset")
    plan = Plan(slides_of(several), sampler, seed=5)
    drawn: list = [(draw.slide, draw.window) for draw in plan]
    assert frequencies_fit(drawn, law)  # type: ignore[arg-type]


def test_min_fraction_holds_over_all_slides() -> None:
    """Both parts draw windows that hold enough; the class's pixels are counted in those windows alone."""
    several = [FULL, MIXED]
    law = law_of(several, 2, 2, 0.5, {1: 1.0, 2: 1.0}, least=2)
    sampler = Foreground(2, per_slide=DRAWS // 8, min_fraction=0.5, balance="dataset")
    plan = Plan(slides_of(several), sampler, seed=6)
    assert all(draw.probability == pytest.approx(law[draw.slide, draw.window], abs=1e-12) for draw in plan)
    assert frequencies_fit([(draw.slide, draw.window) for draw in plan], law)  # type: ignore[misc, arg-type]


def test_a_draw_depends_on_its_index_alone() -> None:
    """In any order, from a pickled copy, in a later epoch, shuffled or not: the same slide, window and probability."""
    sampler = Foreground(2, per_slide=5, balance="dataset")
    plan = Plan(slides_of([RARE, FULL, EMPTY, MIXED]), sampler, seed=9)
    forwards = [plan[index] for index in range(3 * len(plan))]
    other = pickle.loads(pickle.dumps(plan))
    assert [other[index] for index in reversed(range(3 * len(plan)))] == forwards[::-1]
    plain, n = plan.ordered(False), len(plan)
    assert sorted(map(repr, (plain[n + k] for k in range(n)))) != sorted(map(repr, forwards[:n]))
    contents = [
        {(d.draw, d.slide, d.window) for d in one} for one in (forwards[n : 2 * n], [plain[n + k] for k in range(n)])
    ]
    assert contents[0] == contents[1] and {number for number, _, _ in contents[0]} == set(range(n))


def test_levels_of_other_resolution_weigh_as_the_patches_see_them() -> None:
    """Two slides of one scene, the second stored at twice the resolution: each gets half of the foreground draws."""
    mask = np.zeros((12, 16), np.uint8)
    mask[5:9, 4:9] = 1
    fine = np.kron(mask, np.ones((2, 2), np.uint8))
    pairs = [(mask, 2.0), (fine, 1.0)]
    slides = [open_slide(np.zeros((*one.shape, 3), np.uint8), one, name=f"m{mpp}", mpp=mpp) for one, mpp in pairs]
    plan = Plan(slides, Foreground(4, foreground=1.0, mpp=2.0, balance="dataset"))
    whole = plan._over_slides
    assert whole is not None and [one.domain.width for one in plan.distributions] == [4, 8]
    assert whole.of_slides[0] == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("limit", [1, 7, 2**62, 2**63 + 1, 3 * 2**100])
def test_integers_of_any_size_are_drawn_evenly(limit: int) -> None:
    """Below the limit, and each quarter of the range as often as the others."""
    generator = np.random.default_rng(1)
    drawn = [integer_below(generator, limit) for _ in range(800)]
    assert all(0 <= value < limit for value in drawn)
    if limit > 2**62:
        quarters = np.bincount([4 * value // limit for value in drawn], minlength=4)
        assert abs(quarters - 200).max() < 60


def test_slides_without_the_classes() -> None:
    """Uniform windows by default, none with "skip"; no slide with any of them is an error."""
    slides = slides_of([RARE, EMPTY])
    used = {draw.slide for draw in Plan(slides, Foreground(2, per_slide=50, balance="dataset"))}
    assert used == {0, 1}
    skipping = Plan(slides, Foreground(2, per_slide=50, balance="dataset", empty="skip"))
    assert {draw.slide for draw in skipping} == {0} and len(skipping) == 50
    with pytest.raises(ForegroundError, match="none of the 2 slides has any of the classes"):
        Plan(slides, Foreground(2, classes=[1], balance="dataset"))
    plan = Plan(slides, Foreground(2, per_slide=3, classes=[1], balance="dataset", empty="uniform"))
    assert next(draw.probability for draw in plan.ordered(False)) in (1 / 2 / 30, 1 / 2 / 16)


def test_balance_needs_foreground_draws() -> None:
    """A balance of draws that are never made is refused, wherever it is asked for."""
    for make in (
        lambda: Foreground(2, foreground=0, balance="dataset"),
        lambda: PatchOptions(2, balance="dataset"),
        lambda: Foreground(2, balance="classes"),  # type: ignore[arg-type]
        lambda: Uniform(2, per_slide="foreground", windows=9),
    ):
        with pytest.raises(OptionError, match="balance|takes? Foreground"):
            make()


def test_windows_are_shared_out_by_foreground() -> None:
    """In proportion to the pixels of the classes, at least one each; also where all draws are uniform."""
    one, four = np.zeros((9, 9), np.uint8), np.zeros((9, 9), np.uint8)
    one[0, :4], four[:4, :4], four[8, 8] = 1, 1, 2
    for options in ({"foreground": 0.5}, {"foreground": 0.0}, {"foreground": 0.5, "balance": "dataset"}):
        sampler = Foreground(3, per_slide="foreground", windows=100, classes=[1], **options)  # type: ignore[arg-type]
        assert Plan(slides_of([one, four]), sampler).counts == (20, 80)
    made = PatchOptions(3, per_slide="foreground", windows=9).samplers().train
    assert Plan(slides_of([one, four]), made).counts == (2, 7)


def test_replaced_windows_are_counted_by_their_slide() -> None:
    """`on_error="resample"` reads other windows of the drawn slide, and counts them there."""
    whole, mask = np.zeros((20, 20, 3), np.uint8), np.ones((20, 20), np.uint8)

    class Half(ArrayRaster):
        def read(self, window: Window) -> np.ndarray:
            """Fail in the left columns."""
            if window.x < 6:
                raise ReadError("torn")
            return super().read(window)

    slides = [open_slide(Half(whole), mask, name="half"), open_slide(whole, mask, name="whole")]
    plan = Plan(slides, Foreground(4, per_slide=40, balance="dataset"), on_error="resample")
    total = 0
    for epoch in range(2):
        bad, before = 0, total
        with pytest.warns(UserWarning, match="half: a window was replaced") if epoch == 0 else nullcontext():
            for index in range(epoch * len(plan), (epoch + 1) * len(plan)):
                draw = plan[index]
                bad += draw.slide == 0 and draw.window.x < 6
                plan.read(draw)
        total = plan.replaced["half"]
        assert total - before == bad > 0 and "whole" not in plan.replaced
