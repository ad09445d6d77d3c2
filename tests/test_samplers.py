"""Samplers: what is drawn, with which probability, and what is refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from patchaug import Foreground, ForegroundError, Grid, OptionError, Plan, Uniform, Window, WindowError, open_slide

SMALL = st.tuples(st.integers(2, 9), st.integers(2, 9))


def slide_of(mask: np.ndarray, **kwargs):
    """A black slide with a mask."""
    return open_slide(np.zeros((*mask.shape, 3), np.uint8), mask, **kwargs)


def windows(mask: np.ndarray, w: int, h: int):
    """All valid windows of a mask."""
    return [Window(x, y, w, h) for y in range(mask.shape[0] - h + 1) for x in range(mask.shape[1] - w + 1)]


def brute_force_law(mask: np.ndarray, w: int, h: int, share: float, weights: dict[int, float]) -> dict[Window, float]:
    """The design's foreground law, by counting every window."""
    every = windows(mask, w, h)
    counts = {v: [np.count_nonzero(mask[o.y : o.bottom, o.x : o.right] == v) for o in every] for v in weights}
    present = {v: weight for v, weight in weights.items() if sum(counts[v])}
    law = {}
    for k, window in enumerate(every):
        foreground = sum(wt / sum(present.values()) * counts[v][k] / sum(counts[v]) for v, wt in present.items())
        law[window] = (1 - share) / len(every) + share * foreground
    return law


def frequencies_fit(drawn: list[Window], law: dict[Window, float]) -> bool:
    """Pearson's chi-square against a bound that chance passes once in ten thousand times (normal approximation)."""
    assert set(drawn) <= {w for w, p in law.items() if p > 0}
    keys = [w for w, p in law.items() if p > 0]
    count = dict.fromkeys(keys, 0)
    for w in drawn:
        count[w] += 1
    expected = np.array([law[w] * len(drawn) for w in keys])
    observed = np.array([count[w] for w in keys])
    freedom = max(len(keys) - 1, 1)
    statistic = ((observed - expected) ** 2 / expected).sum()
    # Wilson and Hilferty: the cube root of chi-square over its freedom is nearly normal.
    z = ((statistic / freedom) ** (1 / 3) - (1 - 2 / (9 * freedom))) / np.sqrt(2 / (9 * freedom))
    return len(keys) == 1 or z < 3.9


@given(
    hnp.arrays(np.uint8, SMALL, elements=st.sampled_from([0, 0, 0, 1, 2])),
    st.data(),
    st.sampled_from([0.25, 0.5, 1.0]),
    st.booleans(),
)
def test_probability_is_the_law(mask: np.ndarray, data: st.DataObject, share: float, weighted: bool) -> None:
    """`Draw.probability` is the brute-force law of the window that was drawn, to 1e-12, and the law sums to 1."""
    mask[data.draw(st.integers(0, mask.shape[0] - 1)), data.draw(st.integers(0, mask.shape[1] - 1))] = 1
    h, w = data.draw(st.integers(1, mask.shape[0])), data.draw(st.integers(1, mask.shape[1]))
    weights = {1: 3.0, 2: 1.0} if weighted else {1: 1.0, 2: 1.0}
    law = brute_force_law(mask, w, h, share, weights)
    assert sum(law.values()) == pytest.approx(1, abs=1e-12)
    sampler = Foreground((h, w), per_slide=50, share=share, classes=weights if weighted else None)
    for draw in Plan([slide_of(mask)], sampler, seed=data.draw(st.integers(0, 2**32 - 1))):
        assert draw.probability == pytest.approx(law[draw.window], abs=1e-12)


CORNER = np.zeros((9, 7), np.uint8)
CORNER[8, 6] = 1
THREE = np.zeros((7, 9), np.uint8)
THREE[0, :] = 1
THREE[6, 8] = 2
SQUARE = np.zeros((8, 8), np.uint8)
SQUARE[2:5, 3:6] = 1


@pytest.mark.parametrize(
    "mask", [CORNER, THREE, SQUARE, np.ones((6, 6), np.uint8)], ids=["corner", "three", "square", "full"]
)
@pytest.mark.parametrize("size", [(1, 1), (3, 2), (4, 4), "slide"])
@pytest.mark.parametrize("share", [0.5, 1.0])
def test_drawn_frequencies_fit_the_law(mask: np.ndarray, size, share: float) -> None:
    """Chi-square of 20,000 draws: no pile-up at the border, no row left out."""
    h, w = mask.shape if size == "slide" else size
    law = brute_force_law(mask, w, h, share, {1: 1.0, 2: 1.0})
    plan = Plan([slide_of(mask)], Foreground((h, w), per_slide=20_000, share=share), seed=5, shuffle=False)
    assert frequencies_fit([draw.window for draw in plan], law)


def test_uniform_draws_fit_and_reach_the_last_row() -> None:
    """Five of nine peers never draw the last valid window."""
    mask = np.zeros((10, 11), np.uint8)
    plan = Plan([slide_of(mask)], Uniform(4, per_slide=30_000), seed=1)
    law = dict.fromkeys(windows(mask, 4, 4), 1 / 56)
    drawn = [draw.window for draw in plan]
    assert set(drawn) == set(law) and frequencies_fit(drawn, law)
    assert plan[0].probability == 1 / 56


@settings(max_examples=30)
@given(SMALL, st.data(), st.integers(0, 2**32 - 1))
def test_grids_cover_each_pixel_in_each_epoch(shape: tuple[int, int], data: st.DataObject, seed: int) -> None:
    """Fixed or random offset, any overlap: complete and inside; the windows of an epoch are all different."""
    h, w = data.draw(st.integers(1, shape[0])), data.draw(st.integers(1, shape[1]))
    overlap = data.draw(st.integers(0, min(h, w) - 1))
    offset = data.draw(st.sampled_from(["fixed", "random"]))
    plan = Plan([slide_of(np.zeros(shape, np.uint8))], Grid((h, w), overlap=overlap, offset=offset), seed=seed)
    for epoch in range(3):
        seen = np.zeros(shape, int)
        drawn = [plan[epoch * len(plan) + place] for place in range(len(plan))]
        for draw in drawn:
            assert draw.window.inside(shape[1], shape[0]) and draw.probability == 1
            seen[draw.window.y : draw.window.bottom, draw.window.x : draw.window.right] += 1
        assert (seen > 0).all()
        assert len({draw.window for draw in drawn}) == len(plan)


def test_random_grid_moves_from_epoch_to_epoch() -> None:
    """Ten epochs, ten offsets (of 8 x 8 possible ones or more)."""
    plan = Plan([slide_of(np.zeros((100, 100), np.uint8))], Grid(20, offset="random"), seed=3, shuffle=False)
    epochs = {tuple(plan[e * len(plan) + p].window for p in range(len(plan))) for e in range(10)}
    assert len(epochs) > 5
    fixed = Plan([slide_of(np.zeros((100, 100), np.uint8))], Grid(20), shuffle=False)
    assert [fixed[p].window for p in range(25)] == [fixed[25 + p].window for p in range(25)]


def test_classes_by_name_and_empty_slides() -> None:
    """Names are looked up in codes; a slide without the class is an error, uniform, or skipped, as asked."""
    codes = ["background", "nucleus", "gland"]
    slide = slide_of(SQUARE, codes=codes, name="kidney")
    only = Plan([slide], Foreground(3, share=1.0, per_slide=200, classes=["nucleus"]), seed=0)
    assert all((slide.read(d.window).mask == 1).any() for d in only)
    gland = {"share": 1.0, "per_slide": 5, "classes": {"gland": 2.0}}
    with pytest.raises(ForegroundError, match=r"kidney: no pixel of the classes asked for.*empty"):
        Plan([slide], Foreground(3, **gland))
    assert Plan([slide], Foreground(3, **gland, empty="uniform"))[0].probability == 1 / 36
    # THREE has gland, class 2, in its last corner.
    assert Plan([slide, slide_of(THREE, codes=codes, name="liver")], Foreground(3, **gland, empty="skip")).counts == (
        0,
        5,
    )


def test_the_void_is_no_foreground() -> None:
    """By default all labels count but 0 and the void."""
    mask = SQUARE.copy()
    mask[0, :] = 255
    plan = Plan([slide_of(mask, void=255)], Foreground(1, share=1.0, per_slide=300))
    assert all(mask[d.window.y, d.window.x] == 1 for d in plan)


def test_a_slide_without_mask_has_no_foreground() -> None:
    """Named, with the cure; with share 0 it is drawn like any other."""
    slide = open_slide(np.zeros((9, 9, 3), np.uint8), name="bare")
    with pytest.raises(ForegroundError, match="bare: foreground windows need a mask"):
        Plan([slide], Foreground(3))
    assert len(Plan([slide], Foreground(3, share=0.0, per_slide=4))) == 4


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Uniform(0), "size must be at least 1 px, got 0"),
        (lambda: Uniform("512"), "size must be an integer or"),
        (lambda: Uniform((1, 2, 3)), "size must be an integer or"),
        (lambda: Uniform(3, per_slide=0), "per_slide must be in 1.."),
        (lambda: Uniform(3, level=-1), "level must be in 0.."),
        (lambda: Uniform(3, per_slide=True), "per_slide must be in"),
        (lambda: Foreground(3, share=1.5), "share must be a probability, 0 to 1, got 1.5"),
        (lambda: Foreground(3, share=float("nan")), "share must be a probability"),
        (lambda: Foreground(3, classes="nucleus"), "list of class numbers or names"),
        (lambda: Foreground(3, classes={1: -1}), "weight of class 1 must be a number, 0 or more, got -1"),
        (lambda: Foreground(3, classes={1: float("nan")}), "weight of class 1"),
        (lambda: Foreground(3, classes={1: 0}), "at least one class a weight above 0"),
        (lambda: Foreground(3, empty="none"), 'empty must be "raise", "uniform" or "skip"'),
        (lambda: Grid(4, overlap=4), "overlap must be in 0..3, got 4"),
        (lambda: Grid(4, offset="any"), 'offset must be "fixed" or "random"'),
    ],
)
def test_bad_values_are_refused_at_birth(make, text: str) -> None:
    """What, the value, the limit."""
    with pytest.raises(OptionError, match=text):
        make()


def test_samplers_are_values() -> None:
    """Frozen, printable, comparable."""
    assert Uniform(np.int64(5), per_slide=2) == Uniform(5, per_slide=2) != Uniform(5)
    assert Grid([4, 6]) == Grid((4, 6))
    assert repr(Foreground(512, share=0.5)) == (
        "Foreground(size=512, per_slide=1, share=0.5, classes=None, empty='raise', level=0)"
    )
    with pytest.raises(AttributeError):
        Uniform(5).size = 6


@pytest.mark.parametrize("sampler", [Uniform(10), Foreground((4, 10)), Grid(10)])
def test_a_window_larger_than_the_slide_is_refused(sampler) -> None:
    """Slide, both sizes, cure."""
    with pytest.raises(
        WindowError, match=r"tiny: a window of 10 x \d+ px does not fit into level 0.*8 x 8 px; ask for"
    ):
        Plan([slide_of(SQUARE, name="tiny")], sampler)
    with pytest.raises(WindowError, match="tiny: there is no level 3"):
        Plan([slide_of(SQUARE, name="tiny")], type(sampler)(2, level=3))
