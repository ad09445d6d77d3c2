"""`min_valid`: windows with a least share of valid pixels, exact in law, probability and error."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchaug import (
    Foreground,
    ForegroundError,
    Grid,
    OptionError,
    PatchOptions,
    Plan,
    Uniform,
    WindowError,
    open_slide,
)
from patchaug.core.windows import Window
from patchaug.sampling.distributions import UniformComponent
from tests.sampling.test_samplers import DRAWS, frequencies_fit, windows
from tests.slides.holes import WithHoles

SHARES = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])


def slide_with(valid: np.ndarray, mask: np.ndarray | None = None):
    """A black slide with invalid pixels."""
    image = WithHoles(np.zeros((*valid.shape, 3), np.uint8), valid)
    return open_slide(image, mask, name="kidney", ignore_index=None if mask is None else 255)


def law_of(
    valid: np.ndarray, labels: np.ndarray | None, w: int, h: int, min_valid: float, share: float, min_fraction: float
) -> dict[Window, float] | None:
    """The law by counting every window; None where no window has enough, or none of these a labelled pixel."""

    def count(pixels: np.ndarray, one: Window) -> int:
        return np.count_nonzero(pixels[one.y : one.bottom, one.x : one.right])

    area = w * h
    enough = [one for one in windows(valid, w, h) if count(valid, one) / area >= min_valid]
    if labels is None:
        return dict.fromkeys(enough, 1 / len(enough)) if enough else None
    enough = [one for one in enough if count(np.isin(labels, [1, 2]), one) / area >= min_fraction]
    counts = {value: [count(labels == value, one) for one in enough] for value in (1, 2) if (labels == value).any()}
    counts = {value: each for value, each in counts.items() if sum(each)}
    if not counts and share:
        return None
    return {
        one: (1 - share) / len(enough)
        + (share * sum(each[k] / sum(each) for each in counts.values()) / len(counts) if share else 0)
        for k, one in enumerate(enough)
    } or None


@given(
    st.integers(2, 10), st.integers(2, 10), st.integers(0, 2**32 - 1), SHARES, st.sampled_from([0.0, 0.5, 1.0]),
    st.sampled_from([0.0, 0.2, 0.5]), st.booleans(), st.data(),
)  # fmt: skip
def test_the_probability_is_the_law(
    side_x: int, side_y: int, seed: int, min_valid: float, share: float, min_fraction: float, labelled: bool, data
) -> None:
    """Windows and probabilities are those of brute force, also with `min_fraction`; impossible requests are errors."""
    random = np.random.default_rng(seed)
    valid = random.random((side_y, side_x)) < random.choice([0.3, 0.8, 1.0])
    mask = random.integers(0, 3, valid.shape).astype(np.uint8) if labelled else None
    w, h = data.draw(st.integers(1, side_x)), data.draw(st.integers(1, side_y))
    labels = None if mask is None else np.where(valid, mask, 255)
    sampler = (
        Uniform((h, w), per_slide=20, min_valid=min_valid)
        if mask is None
        else Foreground(
            (h, w), per_slide=20, foreground=share, min_fraction=min_fraction, min_valid=min_valid, empty="skip"
        )
    )
    slide = slide_with(valid, mask)
    if labels is not None and (share or min_fraction) and not np.isin(labels, [1, 2]).any():
        with pytest.raises(OptionError, match="no slide is left"):
            Plan([slide], sampler)
        return
    law = law_of(valid, labels, w, h, min_valid, share, min_fraction)
    if law is None:
        with pytest.raises((WindowError, ForegroundError), match=r"kidney: no window of .* the largest"):
            Plan([slide], sampler)
        return
    assert sum(law.values()) == pytest.approx(1, abs=1e-12)
    plan = Plan([slide], sampler, seed=seed)
    for draw in plan:
        assert draw.probability == pytest.approx(law[draw.window], abs=1e-12)
    again = pickle.loads(pickle.dumps(plan))
    assert [again[index] for index in range(9)] == [plan[index] for index in range(9)]


COLLAR = np.zeros((9, 11), bool)
COLLAR[2:7, 1:9] = True
NOISE = np.random.default_rng(1).random((8, 9)) < 0.7
LABELS = np.random.default_rng(2).integers(0, 3, (9, 11)).astype(np.uint8)


@pytest.mark.parametrize(
    ("valid", "size", "min_valid", "labelled"),
    [
        (COLLAR, (3, 2), 0.5, False), (NOISE, (1, 1), 1.0, False), (NOISE, (4, 4), 0.7, False),
        (COLLAR, (4, 4), 0.9, True), (NOISE, (3, 2), 0.6, True),
    ],
)  # fmt: skip
def test_drawn_frequencies_fit_the_law(valid: np.ndarray, size: tuple, min_valid: float, labelled: bool) -> None:
    """Chi-square of many draws: all windows with enough, and no other."""
    mask = LABELS[: valid.shape[0], : valid.shape[1]] if labelled else None
    labels = None if mask is None else np.where(valid, mask, 255)
    law = law_of(valid, labels, size[1], size[0], min_valid, 0.5, 0.0)
    options = {"per_slide": DRAWS // 2, "min_valid": min_valid}
    sampler = Uniform(size, **options) if mask is None else Foreground(size, foreground=0.5, **options)
    drawn = [draw.window for draw in Plan([slide_with(valid, mask)], sampler, seed=5, shuffle=False)]
    assert frequencies_fit(drawn, law)


def test_impossible_requests_name_slide_and_largest_share() -> None:
    """When the plan is made; the largest share itself works."""
    slide = slide_with(COLLAR, LABELS)
    text = r"kidney: no window of 9 x 4 px at level 0 has min_valid 0.95 of.*largest share is 0.8888888888888888;"
    for sampler in (Uniform((4, 9), min_valid=0.95), Foreground((4, 9), min_valid=0.95)):
        with pytest.raises(WindowError, match=text):
            Plan([slide], sampler)
    assert len(Plan([slide], Uniform((4, 9), min_valid=32 / 36, per_slide=3))) == 3
    with pytest.raises(
        ForegroundError, match=r"with min_valid 0.8 has min_fraction 1.0 of its pixels in .*; ask for less"
    ):
        Plan([slide], Foreground((4, 9), min_valid=0.8, min_fraction=1.0))
    unlabelled = slide_with(COLLAR, np.where(np.indices(COLLAR.shape)[1] < 9, 0, 1).astype(np.uint8))
    with pytest.raises(ForegroundError, match="none of the classes|no pixel of the classes"):
        Plan([unlabelled], Foreground((4, 9), min_valid=0.8))


def test_windows_that_touch_no_label_are_an_error() -> None:
    """The labelled pixels lie where too little is valid."""
    valid = np.zeros((10, 20), bool)
    valid[:, :8] = True
    valid[:, 15] = True
    mask = np.zeros(valid.shape, np.uint8)
    mask[:, 15] = 1
    with pytest.raises(ForegroundError, match=r"px at level 0 with min_valid 0.9 has a pixel in the classes \[1\]"):
        Plan([slide_with(valid, mask)], Foreground(4, min_valid=0.9))


def test_without_invalid_pixels_the_windows_are_those_of_old_runs() -> None:
    """`min_valid` changes nothing where every pixel is valid."""
    mask = np.random.default_rng(0).integers(0, 2, (60, 70)).astype(np.uint8)
    slide = open_slide(np.zeros((60, 70, 3), np.uint8), mask, name="a")
    for sampler in (Uniform, Foreground):
        plain, asked = (Plan([slide], sampler(9, per_slide=40, **more)) for more in ({}, {"min_valid": 1.0}))
        assert list(plain) == list(asked)
        assert isinstance(asked.distributions[0].uniform, UniformComponent)


def test_halos_and_levels_keep_the_share() -> None:
    """Windows stay inside the margins, and the share is that of the window itself."""
    slide = slide_with(COLLAR)
    plan = Plan([slide], Uniform(3, per_slide=200, min_valid=1.0), halo=2)
    seen = {draw.window for draw in plan}
    inside = [one for one in windows(COLLAR, 3, 3) if COLLAR[one.y : one.bottom, one.x : one.right].all()]
    assert seen == {one for one in inside if 2 <= one.x <= 6 and 2 <= one.y <= 4}
    assert all(draw.probability == 1 / len(seen) for draw in plan)


def test_grids_stay_complete() -> None:
    """The option says nothing of grids."""
    options = PatchOptions(3, min_valid=1.0, valid="grid")
    samplers = options.samplers()
    assert samplers.train == Uniform(3, min_valid=1.0) and samplers.valid == Grid(3)
    assert PatchOptions(3, min_valid=0.5, foreground=0.5).samplers().train.min_valid == 0.5
    assert len(Plan([slide_with(COLLAR)], samplers.valid)) == 12


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan"), "much", True])
def test_shares_are_0_to_1(value: object) -> None:
    """Other values are one error."""
    for make in (Uniform, Foreground):
        with pytest.raises(OptionError, match="min_valid must be a share of the window's pixels, 0 to 1, got"):
            make(3, min_valid=value)
    with pytest.raises(OptionError, match="min_valid"):
        PatchOptions(3, min_valid=value)
