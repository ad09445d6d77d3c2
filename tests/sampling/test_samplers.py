"""Samplers: what is drawn, with which probability, and what is refused."""

import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patchaug import Foreground, ForegroundError, Grid, OptionError, Plan, Uniform, Window, WindowError, open_slide
from patchaug.core.resampling import nearest, resized
from patchaug.core.validation import sides
from patchaug.slides.mask_alignment import whole_factors
from patchaug.testing import masks, places, samplers, slides

DRAWS = 40_000 if os.environ.get("HYPOTHESIS_PROFILE") == "long" else 4000
SMALL = st.tuples(st.integers(2, 9), st.integers(2, 9))


def slide_of(mask: np.ndarray, **kwargs):
    """A black slide with a mask."""
    return open_slide(np.zeros((*mask.shape, 3), np.uint8), mask, **kwargs)


def windows(mask: np.ndarray, w: int, h: int):
    """All valid windows of a mask."""
    return [Window(x, y, w, h) for y in range(mask.shape[0] - h + 1) for x in range(mask.shape[1] - w + 1)]


def brute_force_law(
    mask: np.ndarray, w: int, h: int, share: float, weights: dict[int, float], min_fraction: float = 0.0
) -> dict[Window, float]:
    """The design's foreground law, by counting every window; those that do not hold enough are left out."""
    every = windows(mask, w, h)
    counts = {v: [np.count_nonzero(mask[o.y : o.bottom, o.x : o.right] == v) for o in every] for v in weights}
    enough = [k for k in range(len(every)) if sum(c[k] for c in counts.values()) >= min_fraction * w * h - 1e-9]
    present = {v: weight for v, weight in weights.items() if any(counts[v][k] for k in enough)}
    law = {}
    for k in enough:
        foreground = sum(
            weight / sum(present.values()) * counts[v][k] / sum(counts[v][j] for j in enough)
            for v, weight in present.items()
        )
        law[every[k]] = (1 - share) / len(enough) + share * foreground
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


@given(masks(max_side=10, classes=3), st.data(), st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.booleans())
def test_probability_is_the_law(mask: np.ndarray, data: st.DataObject, share: float, weighted: bool) -> None:
    """`Draw.probability` is the brute-force law of the window that was drawn, to 1e-12, and the law sums to 1."""
    mask[data.draw(st.integers(0, mask.shape[0] - 1)), data.draw(st.integers(0, mask.shape[1] - 1))] = 1
    h, w = data.draw(st.integers(1, mask.shape[0])), data.draw(st.integers(1, mask.shape[1]))
    weights = {1: 3.0, 2: 1.0} if weighted else {1: 1.0, 2: 1.0}
    best = max(np.count_nonzero(np.isin(mask[o.y : o.bottom, o.x : o.right], [1, 2])) for o in windows(mask, w, h))
    min_fraction = data.draw(st.sampled_from([0.0, best / (w * h), best // 2 / (w * h)]))
    law = brute_force_law(mask, w, h, share, weights, min_fraction)
    assert sum(law.values()) == pytest.approx(1, abs=1e-12)
    sampler = Foreground(
        (h, w), per_slide=50, foreground=share, classes=weights if weighted else None, min_fraction=min_fraction
    )
    plan = Plan([slide_of(mask)], sampler, seed=data.draw(st.integers(0, 2**32 - 1)))
    for draw in plan:
        assert draw.probability == pytest.approx(law[draw.window], abs=1e-12)
    # And the law of every window there is, not only of those drawn: it sums to 1 over them.
    mixture = plan.distributions[0]
    total = sum(
        (1 - share) * mixture.uniform.probability(o.x, o.y)
        + sum(
            mixture.foreground * wt * part.probability(o.x, o.y)
            for wt, part in zip(mixture.weights, mixture.classes, strict=True)
        )
        for o in law
    )
    assert total == pytest.approx(1, abs=1e-12)


CORNER = np.zeros((9, 7), np.uint8)
CORNER[8, 6] = 1
THREE = np.zeros((7, 9), np.uint8)
THREE[0, :] = 1
THREE[6, 8] = 2
SQUARE = np.zeros((8, 8), np.uint8)
SQUARE[2:5, 3:6] = 1
CORNERS = np.zeros((7, 5), np.uint8)
CORNERS[[0, 0, 6, 6], [0, 4, 0, 4]] = [1, 2, 2, 1]
ODD = np.zeros((11, 13), np.uint8)
ODD[1::2, ::3] = 1
ODD[10] = 2


@pytest.mark.parametrize(
    "mask",
    [CORNER, THREE, SQUARE, CORNERS, ODD, np.ones((6, 6), np.uint8)],
    ids=["corner", "three", "square", "corners", "odd", "full"],
)
@pytest.mark.parametrize("size", [(1, 1), (3, 2), (4, 4), "slide"])
@pytest.mark.parametrize(("share", "min_fraction"), [(0.5, 0.0), (1.0, 0.0), (0.5, 0.06)])
def test_drawn_frequencies_fit_the_law(mask: np.ndarray, size, share: float, min_fraction: float) -> None:
    """Chi-square of many draws: no pile-up at the border, no row left out."""
    h, w = mask.shape if size == "slide" else size
    if min_fraction and size == "slide":
        min_fraction = 1 / mask.size
    law = brute_force_law(mask, w, h, share, {1: 1.0, 2: 1.0}, min_fraction)
    sampler = Foreground((h, w), per_slide=DRAWS, foreground=share, min_fraction=min_fraction)
    plan = Plan([slide_of(mask)], sampler, seed=5, shuffle=False)
    assert frequencies_fit([draw.window for draw in plan], law)


@given(slides(min_side=2, max_side=30).flatmap(lambda slide: st.tuples(st.just(slide), samplers(slide))), st.data())
def test_windows_lie_inside_and_show_one_place(drawn: tuple, data: st.DataObject) -> None:
    """For any slide, sampler, seed and index: inside its level, of the size asked for, image and mask of one place."""
    slide, sampler = drawn
    plan = Plan([slide], sampler, seed=data.draw(st.integers(0, 2**32 - 1)))
    draw = plan[data.draw(st.integers(0, 3 * len(plan) - 1))]
    assert sampler.mpp or draw.window.level == sampler.level
    width, height = slide.level_dimensions[draw.window.level]
    assert draw.window.inside(width, height) and 0 < draw.probability <= 1
    assert sampler.mpp or sides(sampler.size) == (draw.window.height, draw.window.width)
    patch, resampled = slide.read(draw.window), plan.read(draw)
    height, width = sides(sampler.size)
    assert (resampled.image == resized(patch.image, height, width)).all()
    assert (resampled.mask == nearest(patch.mask, height, width)).all()
    x0, y0 = places(patch.image)
    factor = next(f for f in (1, 2, 5) if slide.dimensions[0] // f == slide.level_dimensions[draw.window.level][0])
    assert (x0[0, 0], y0[0, 0]) == (draw.window.x * factor + factor // 2, draw.window.y * factor + factor // 2)
    whole = slide.mask.read(Window(0, 0, *slide.mask.level_dimensions[0]))
    per = 1 if whole.shape[::-1] == slide.dimensions else whole_factors(slide.dimensions, whole.shape[::-1])[0]
    if draw.window.level == 0:
        ys, xs = (np.minimum(at // per, side - 1) for at, side in zip((y0, x0), whole.shape, strict=True))
        assert (patch.mask == whole[ys, xs]).all()


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
    only = Plan([slide], Foreground(3, foreground=1.0, per_slide=200, classes=["nucleus"]), seed=0)
    assert all((slide.read(d.window).mask == 1).any() for d in only)
    gland = {"foreground": 1.0, "per_slide": 5, "classes": {"gland": 2.0}}
    with pytest.raises(ForegroundError, match=r"kidney: no pixel of the classes asked for.*empty"):
        Plan([slide], Foreground(3, **gland))
    assert Plan([slide], Foreground(3, **gland, empty="uniform"))[0].probability == 1 / 36
    # THREE has gland, class 2, in its last corner.
    assert Plan([slide, slide_of(THREE, codes=codes, name="liver")], Foreground(3, **gland, empty="skip")).counts == (
        0,
        5,
    )


def test_the_void_is_no_foreground() -> None:
    """By default all labels count but 0 and `ignore_index`."""
    mask = SQUARE.copy()
    mask[0, :] = 255
    plan = Plan([slide_of(mask, ignore_index=255)], Foreground(1, foreground=1.0, per_slide=300))
    assert all(mask[d.window.y, d.window.x] == 1 for d in plan)


def test_a_slide_without_mask_is_drawn_for_its_tissue() -> None:
    """The one class that can be found; none, or classes by number, is an error that names the slide and the cure."""
    bare = open_slide(np.full((90, 90, 3), 200, np.uint8), name="bare")
    with pytest.raises(ForegroundError, match=r"bare: no mask, and no tissue at level 0.*empty"):
        Plan([bare], Foreground(3))
    assert len(Plan([bare], Foreground(3, empty="uniform", per_slide=4))) == 4
    assert len(Plan([bare], Foreground(3, foreground=0.0, per_slide=4))) == 4
    stained = np.full((90, 90, 3), 230, np.uint8)
    stained[70:, 60:] = (200, 90, 160)
    slide = open_slide(stained, name="stained")
    for draw in Plan([slide], Foreground(5, foreground=1.0, per_slide=200)):
        assert draw.window.right > 60 and draw.window.bottom > 70 and draw.probability > 0
    with pytest.raises(ForegroundError, match=r"stained: it has no mask, so it has no classes \[2\]"):
        Plan([slide], Foreground(5, classes=[2]))


def test_an_impossible_min_fraction_names_slide_and_largest_fraction() -> None:
    """When the plan is made, not when something is drawn; a slide without the class still goes by `empty`."""
    slide = slide_of(SQUARE, name="kidney")
    with pytest.raises(ForegroundError, match=r"kidney: no window of 4 x 4 px.*min_fraction 0.6.*fraction is 0.5625;"):
        Plan([slide], Foreground(4, min_fraction=0.6, empty="skip"))
    assert len(Plan([slide], Foreground(4, min_fraction=0.5625, per_slide=3))) == 3
    empty = slide_of(np.zeros((8, 8), np.uint8), name="none")
    both = Plan([slide, empty], Foreground(4, min_fraction=0.1, per_slide=3, empty="skip"))
    assert both.counts == (3, 0)
    with pytest.raises(ForegroundError, match="none: no pixel of the classes asked for"):
        Plan([slide, empty], Foreground(4, min_fraction=0.1))


def test_a_class_that_no_window_holds_enough_of_counts_as_absent() -> None:
    """One pixel of class 2, alone in its corner: with min_fraction only class 1 is left, and has all the weight."""
    mask = np.zeros((12, 12), np.uint8)
    mask[:4, :4], mask[11, 11] = 1, 2
    law = brute_force_law(mask, 3, 3, 1.0, {1: 1.0, 2: 5.0}, 0.5)
    sampler = Foreground(3, foreground=1.0, classes={1: 1, 2: 5}, min_fraction=0.5, per_slide=99)
    for draw in Plan([slide_of(mask)], sampler):
        assert draw.probability == pytest.approx(law[draw.window], abs=1e-12)


def test_classes_that_no_slide_has() -> None:
    """A number or a name: one error each."""
    slide = slide_of(SQUARE, name="kidney", codes=["background", "nucleus"])
    with pytest.raises(ForegroundError, match=r"kidney: no pixel of the classes asked for \(\[7\]\)"):
        Plan([slide], Foreground(3, classes=[7]))
    with pytest.raises(OptionError, match="kidney: there is no class 'gland'; codes are background, nucleus"):
        Plan([slide], Foreground(3, classes=["gland"]))
    with pytest.raises(OptionError, match=r"no slide is left: .*empty"):
        Plan([slide], Foreground(3, classes=[7], empty="skip"))


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Uniform(0), "size must be at least 1 px, got 0"),
        (lambda: Uniform("512"), "size must be an integer or"),
        (lambda: Uniform((1, 2, 3)), "size must be an integer or"),
        (lambda: Uniform(3, per_slide=0), "per_slide must be in 1.."),
        (lambda: Uniform(3, level=-1), "level must be in 0.."),
        (lambda: Uniform(3, per_slide=True), "per_slide must be in"),
        (lambda: Foreground(3, foreground=1.5), "foreground must be a probability, 0 to 1, got 1.5"),
        (lambda: Foreground(3, foreground=float("nan")), "foreground must be a probability"),
        (lambda: Foreground(3, classes="nucleus"), "list of class numbers or names"),
        (lambda: Foreground(3, classes={1: -1}), "weight of class 1 must be a number, 0 or more, got -1"),
        (lambda: Foreground(3, classes={1: float("nan")}), "weight of class 1"),
        (lambda: Foreground(3, classes={1: 0}), "at least one class a weight above 0"),
        (
            lambda: Foreground(3, min_fraction=1.5),
            "min_fraction must be a share of the window's pixels, 0 to 1, got 1.5",
        ),
        (lambda: Foreground(3, min_fraction=float("nan")), "min_fraction must be"),
        (lambda: Foreground(3, classes={1: "1"}), "weight of class 1"),
        (lambda: Uniform(3, per_slide="mass"), 'per_slide must be a number, "area", "tissue" or "foreground", got'),
        (lambda: Uniform(3, per_slide="area"), "say how many windows, as windows=1000"),
        (lambda: Uniform(3, per_slide="area", windows=0), "windows must be in 1.."),
        (lambda: Foreground(3, per_slide=2, windows=9), "windows=9 is shared out with per_slide="),
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
    assert repr(Foreground(512, foreground=0.5)) == (
        "Foreground(size=512, per_slide=1, windows=None, foreground=0.5, classes=None, min_fraction=0.0, "
        "min_valid=0.0, inside=1.0, empty='raise', balance='slide', level=0, mpp=None)"
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
