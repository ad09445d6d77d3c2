"""Windows in a region: laws against brute force over all windows; parts of a slide that never meet."""

from __future__ import annotations

import os
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchaug import Foreground, Grid, OptionError, Plan, Uniform, WindowError, open_slide, split_region
from patchaug.core.windows import Window
from patchaug.errors import ForegroundError
from patchaug.predict.region import region_of as predicted_region_of
from patchaug.readers import ArrayRaster
from patchaug.sampling.adaptive import Adaptive
from patchaug.slides.read_around import bounds_on
from patchaug.slides.slide import Slide
from patchaug.slides.slide_group import SlideGroup
from patchaug.slides.tissue import tissue_labels
from patchaug.testing import masks
from tests.sampling.test_samplers import frequencies_fit, windows
from tests.slides.holes import WithHoles

DRAWS = 20_000 if os.environ.get("HYPOTHESIS_PROFILE") == "long" else 1000
SHARES = st.sampled_from([0.25, 0.5, 0.9, 1.0])


def within(pixels: np.ndarray, one: Window, halo: int = 0) -> int:
    """Pixels that are set in a window and its halo."""
    return np.count_nonzero(pixels[one.y - halo : one.bottom + halo, one.x - halo : one.right + halo])


def law_of(
    region: np.ndarray, w: int, h: int, inside: float, labels: np.ndarray | None = None, share: float = 0.0,
    least: int = 0, valid: np.ndarray | None = None, min_valid: float = 0.0, halo: int = 0,
) -> dict[Window, float]:  # fmt: skip
    """The law by counting every window; empty where no window is left."""
    high, wide = region.shape
    every = [
        one
        for one in windows(region, w, h)
        if min(one.x, one.y, wide - one.right, high - one.bottom) >= halo
        and within(region, one, halo) / ((w + 2 * halo) * (h + 2 * halo)) >= inside
        and (valid is None or within(valid, one) / (w * h) >= min_valid)
        and (labels is None or within(np.isin(labels, [1, 2]), one) >= least)
    ]
    if labels is None or share == 0:
        return dict.fromkeys(every, 1 / len(every)) if every else {}
    counts = {value: [within(labels == value, one) for one in every] for value in (1, 2)}
    counts = {value: each for value, each in counts.items() if sum(each)}
    if not counts:
        return {}
    return {
        one: (1 - share) / len(every) + share * sum(each[k] / sum(each) for each in counts.values()) / len(counts)
        for k, one in enumerate(every)
    }


def require_law(slide: Slide, sampler: Uniform | Foreground, law: dict[Window, float], **options: object) -> None:
    """Each window of the law has its probability, no other one is drawn, and an empty law is an error."""
    if not law:
        with pytest.raises((WindowError, ForegroundError)):
            Plan([slide], sampler, **options)  # type: ignore[arg-type]
        return
    plan = Plan([slide], sampler, **options)  # type: ignore[arg-type]
    for one, expected in law.items():
        assert plan.distributions[0].probability(one.x, one.y) == pytest.approx(expected, abs=1e-12)
    for draw in plan:
        assert draw.probability == pytest.approx(law[draw.window], abs=1e-12)


@st.composite
def scenes(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, int, int]:
    """Labels, a region of the same size, and the sides of a window."""
    labels = draw(masks(max_side=10, classes=3))
    region = np.kron(draw(masks(max_side=5, classes=2)), np.ones((3, 3), np.uint8))
    region = np.resize(region, labels.shape).astype(np.uint8)
    h, w = (draw(st.integers(1, min(side, 4))) for side in labels.shape)
    return labels, region, w, h


@given(scenes(), SHARES, st.integers(0, 1))
def test_windows_of_a_painted_region(scene: tuple, inside: float, halo: int) -> None:
    """Uniform over the windows that have the share inside, halo included."""
    labels, region, w, h = scene
    if min(labels.shape[0] - h, labels.shape[1] - w) < 2 * halo:
        return
    slide = open_slide(np.zeros((*labels.shape, 3), np.uint8), region=region)
    law = law_of(region, w, h, inside, halo=halo)
    require_law(slide, Uniform((h, w), per_slide=20, inside=inside), law, halo=halo)


@given(scenes(), SHARES, st.sampled_from([0.5, 1.0]), st.sampled_from([0.0, 0.5]), st.booleans())
def test_region_with_foreground_min_fraction_and_min_valid(
    scene: tuple, inside: float, share: float, min_fraction: float, holes: bool
) -> None:
    """All restrictions hold at once, in both parts of the mixture."""
    labels, region, w, h = scene
    valid = np.ones(labels.shape, bool)
    if holes:
        valid[::2, ::3] = False
    image = WithHoles(np.zeros((*labels.shape, 3), np.uint8), valid)
    slide = open_slide(image, labels, region=region, ignore_index=255)
    least = int(np.ceil(min_fraction * w * h))
    seen = np.where(valid, labels, 0)
    law = law_of(region, w, h, inside, seen, share, least, valid, 0.5)
    sampler = Foreground(
        (h, w), per_slide=20, foreground=share, min_fraction=min_fraction, min_valid=0.5, inside=inside,
        empty="raise",
    )  # fmt: skip
    require_law(slide, sampler, law)


@given(scenes(), st.data(), SHARES, st.sampled_from([0.0, 0.5]))
def test_windows_of_a_rectangle(scene: tuple, data: st.DataObject, inside: float, share: float) -> None:
    """The same law as of a mask of the rectangle, without an index where windows lie inside whole."""
    labels, _, w, h = scene
    high, wide = labels.shape
    x, y = data.draw(st.integers(0, wide - 1)), data.draw(st.integers(0, high - 1))
    rectangle = Window(x, y, data.draw(st.integers(1, wide - x)), data.draw(st.integers(1, high - y)))
    painted = np.zeros(labels.shape, np.uint8)
    painted[y : rectangle.bottom, x : rectangle.right] = 1
    law = law_of(painted, w, h, inside, labels, share)
    slide = open_slide(np.zeros((*labels.shape, 3), np.uint8), labels, region=rectangle)
    sampler = Foreground((h, w), per_slide=20, foreground=share, inside=inside)
    require_law(slide, sampler, law)
    require_law(slide.without_mask(), Uniform((h, w), per_slide=9, inside=inside), law_of(painted, w, h, inside))


BLOB = np.zeros((12, 14), np.uint8)
BLOB[1:11, 2:9] = 1
BLOB[4:7, 4:6] = 0
BLOB[8:, 6:13] = 1


@pytest.mark.parametrize("region", [BLOB, Window(1, 3, 11, 8)], ids=["mask", "rectangle"])
@pytest.mark.parametrize(("inside", "share"), [(1.0, 0.0), (1.0, 0.5), (0.7, 0.5)])
def test_drawn_frequencies_fit_the_law_in_a_region(region: object, inside: float, share: float) -> None:
    """Chi-square: no pile-up at the border of the region."""
    labels = np.zeros(BLOB.shape, np.uint8)
    labels[::3, ::2], labels[9:, 11:] = 1, 2
    painted = BLOB
    if isinstance(region, Window):
        painted = np.zeros_like(BLOB)
        painted[3:11, 1:12] = 1
    slide = open_slide(np.zeros((*labels.shape, 3), np.uint8), labels, region=region)
    sampler = Foreground((3, 2), per_slide=DRAWS, foreground=share, inside=inside)
    plan = Plan([slide], sampler, seed=8, shuffle=False)
    assert frequencies_fit([draw.window for draw in plan], law_of(painted, 2, 3, inside, labels, share))


def polygon(*rings: list[list[float]]) -> dict:
    """A feature of GeoJSON with these rings, the first one outside."""
    return {"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": list(rings)}}


def test_polygons_with_holes_and_masks_of_another_scale() -> None:
    """The same windows as from the region painted pixel by pixel."""
    outer = [[2, 2], [18, 2], [18, 22], [2, 22], [2, 2]]
    hole = [[6, 6], [12, 6], [12, 14], [6, 14], [6, 6]]
    painted = np.zeros((24, 20), np.uint8)
    painted[2:22, 2:18], painted[6:14, 6:12] = 1, 0
    image, labels = np.zeros((24, 20, 3), np.uint8), np.zeros((12, 10), np.uint8)
    labels[1:, 1:] = 1
    law = law_of(painted, 4, 4, 0.8, np.kron(labels, np.ones((2, 2), np.uint8)), 0.5)
    for region in (
        painted,
        painted[::2, ::2],
        polygon(outer, hole),
        {"type": "FeatureCollection", "features": [polygon(outer, hole)]},
    ):
        slide = open_slide(image, labels, region=region)
        require_law(slide, Foreground(4, per_slide=30, inside=0.8), law)
        other = pickle.loads(pickle.dumps(slide))
        assert list(Plan([other], Uniform(4, per_slide=9))) == list(Plan([slide], Uniform(4, per_slide=9)))


def test_a_rectangle_of_one_level_holds_on_the_others() -> None:
    """Windows of each level lie inside, by places of level 0."""
    levels = [np.zeros((61, 67, 3), np.uint8), np.zeros((31, 34, 3), np.uint8), np.zeros((15, 17, 3), np.uint8)]
    slide = open_slide(ArrayRaster(levels), region=Window(5, 3, 20, 17, level=1))
    for level, (width, height) in enumerate(slide.level_dimensions):
        across, down = 34 / width, 31 / height
        for draw in Plan([slide], Uniform(4, per_slide=60, level=level)):
            one = draw.window
            assert one.x * across >= 5 and one.right * across <= 25 and one.y * down >= 3 and one.bottom * down <= 20
        drawn = {d.window.x for d in Plan([slide], Uniform(4, per_slide=400, level=level))}
        assert min(drawn) == int(np.ceil(5 / across)) and max(drawn) == int(25 / across) - 4


def test_a_grid_covers_a_rectangle_and_keeps_the_windows_inside_a_mask() -> None:
    """Each pixel of a rectangle; of another region the windows of the slide's grid that lie inside."""
    slide = open_slide(np.zeros((30, 40, 3), np.uint8), region=Window(7, 5, 21, 18))
    for offset in ("fixed", "random"):
        covered = np.zeros((30, 40), int)
        for draw in Plan([slide], Grid(8, overlap=2, offset=offset)):  # type: ignore[arg-type]
            covered[draw.window.y : draw.window.bottom, draw.window.x : draw.window.right] += 1
        assert covered[5:23, 7:28].all() and covered.sum() == covered[5:23, 7:28].sum()
    painted = np.zeros((30, 40), np.uint8)
    painted[:20, 9:] = 1
    slide = open_slide(np.zeros((30, 40, 3), np.uint8), region=painted)
    whole = [draw.window for draw in Plan([slide], Grid(8, inside=0.0), shuffle=False)]
    kept = [draw.window for draw in Plan([slide], Grid(8, inside=0.5), shuffle=False)]
    assert kept == [one for one in whole if within(painted, one) >= 32] and 0 < len(kept) < len(whole)
    with pytest.raises(OptionError, match="a random offset needs a rectangle"):
        Plan([slide], Grid(8, offset="random"))
    with pytest.raises(WindowError, match="no window of the grid has inside 1.0 .* the largest share is 0.5"):
        Plan(
            [
                open_slide(
                    np.zeros((30, 40, 3), np.uint8), region=painted[::10, ::10] * 0 + np.eye(3, 4, dtype=np.uint8)
                )
            ],
            Grid(20),
        )


def test_tissue_is_a_region() -> None:
    """Windows on it alone; on a slide with a mask the classes are those of the mask."""
    image = np.full((64, 64, 3), 240, np.uint8)
    image[10:40, 20:60] = (200, 60, 140)
    tissue = (image[..., 1] == 60).astype(np.uint8)
    slide = open_slide(image, np.ones((64, 64), np.uint8), region="tissue")
    for sampler in (Uniform(9, per_slide=50), Foreground(9, per_slide=50)):
        assert all(within(tissue, draw.window) == 81 for draw in Plan([slide], sampler))
    require_law(slide, Uniform(9, per_slide=20), law_of(tissue, 9, 9, 1.0))


@pytest.mark.parametrize(
    ("region", "error", "text"),
    [
        ("tisue", OptionError, "is no file, did you mean 'tissue'"),
        (3, OptionError, 'region must be "all", "tissue", a Window'),
        (Window(50, 0, 20, 20), WindowError, "leaves level 0, which has 60 x 40 px"),
        (Window(0, 0, 2, 2, level=3), WindowError, "there is no level 3"),
        (np.zeros((40, 60), np.uint8), WindowError, "8 x 8 px .* has inside 1.0 .* the largest share is 0.0"),
        (Window(3, 3, 7, 20), WindowError, "does not fit into the part of 7 x 20 px"),
        (np.ones((7, 60), np.uint8), Exception, "the image has 60 x 40 px"),
    ],
)  # fmt: skip
def test_impossible_regions_are_errors(region: object, error: type[Exception], text: str) -> None:
    """Each in one line that names the slide or the value."""
    with pytest.raises(error, match=text):
        Plan([open_slide(np.zeros((40, 60, 3), np.uint8), name="liver", region=region)], Uniform(8))


def test_prediction_takes_the_same_regions() -> None:
    """One definition: what a painted region holds is what a plan draws from."""
    slide = open_slide(np.zeros((12, 14, 3), np.uint8), region=BLOB)
    region = predicted_region_of(slide, BLOB)
    assert (region.inside(Window(0, 0, 14, 12)) == (BLOB != 0)).all()


# --- parts of a slide


class Watched(ArrayRaster):
    """An image that knows which of its pixels were read."""

    def __init__(self, image: np.ndarray) -> None:
        super().__init__(image)
        self.read_pixels = np.zeros(image.shape[:2], bool)

    def read(self, window: Window) -> np.ndarray:
        """Read, and note the place."""
        self.read_pixels[window.y : window.bottom, window.x : window.right] = True
        return super().read(window)


@given(st.integers(30, 90), st.integers(30, 90), st.floats(0.15, 0.6), st.integers(0, 6), st.integers(0, 99), st.data())
def test_parts_share_no_pixel(
    width: int, height: int, valid: float, guard: int, seed: int, data: st.DataObject
) -> None:
    """Whatever is drawn of each part, halo and mirrored borders included: its pixels alone, all of them reachable."""
    image = Watched(np.zeros((height, width, 3), np.uint8))
    slide = open_slide(image, np.ones((height, width), np.uint8), ignore_index=255)
    parts = split_region(slide, valid, guard=guard, seed=seed)
    train, held = (part.frame for part in parts)
    assert train is not None and held is not None
    areas = [one.width * one.height / (width * height) for one in (train, held)]
    assert abs(areas[1] - valid) <= 0.5 / min(width, height) + 1e-9
    gap = max(train.x - held.right, held.x - train.right, train.y - held.bottom, held.y - train.bottom)
    assert gap == guard
    edge = data.draw(st.sampled_from(["shift", "reflect"]))
    inside = data.draw(st.sampled_from([0.3, 1.0]))
    for part, frame in zip(parts, (train, held), strict=True):
        image.read_pixels[...] = False
        halo = data.draw(st.integers(0, (min(frame.width, frame.height) - 2) // 2))
        plan = Plan([part], Foreground(2, per_slide=200, inside=inside), seed=seed, halo=halo, edge=edge)
        for draw in plan:
            plan.read(draw)
        here = image.read_pixels[frame.y : frame.bottom, frame.x : frame.right]
        assert image.read_pixels.sum() == here.sum() > 0
        covered = [draw.window for draw in Plan([part], Grid(2))]
        assert {(w.x, w.y) for w in covered} >= {(frame.x, frame.y), (frame.right - 2, frame.bottom - 2)}


def test_nothing_of_a_plan_depends_on_the_other_part() -> None:
    """Labels, tissue and the numbers of windows: noise in the validation part moves no window of the training part."""
    rng = np.random.default_rng(2)
    labels = (rng.random((80, 100)) < 0.2).astype(np.uint8)
    image = np.full((80, 100, 3), 240, np.uint8)
    image[..., 1] -= (rng.random((80, 100)) ** 2 * 200).astype(np.uint8)  # all saturations: the threshold counts
    _, held = split_region(open_slide(image, labels, name="a"), seed=3)
    assert held.frame is not None
    there = slice(held.frame.y, held.frame.bottom), slice(held.frame.x, held.frame.right)
    noisy, other = image.copy(), labels.copy()
    noisy[there], other[there] = rng.integers(0, 256, noisy[there].shape), rng.integers(0, 2, other[there].shape)
    fixed = open_slide(image[:40].copy(), labels[:40].copy(), name="b")
    for region, sampler in (
        (None, Foreground(8, per_slide="foreground", windows=60, foreground=0.7)),
        (None, Foreground(8, per_slide=30, balance="dataset")),
        (None, Foreground(8, per_slide="area", windows=60, min_fraction=0.1)),
        ("tissue", Uniform(8, per_slide=40, inside=0.25)),
    ):
        drawn = []
        for pixels, classes in ((image, labels), (noisy, other)):
            train, valid = split_region(open_slide(pixels, classes, name="a", region=region), seed=3)
            assert valid.frame == held.frame
            drawn.append(list(Plan([train, fixed], sampler, seed=1)))
        assert drawn[0] == drawn[1]
    part = split_region(open_slide(noisy, name="a"), seed=3)[0]
    assert (
        tissue_labels(part, 0).count_within(1, (held.frame.x, held.frame.y, held.frame.right, held.frame.bottom)) == 0
    )


@pytest.mark.parametrize("adapt", ["blocks", "classes"])
def test_adaptive_windows_lie_in_their_part(adapt: str) -> None:
    """Each of them can be drawn; blocks need a rectangle."""
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 2, (40, 60)).astype(np.uint8)
    slide = open_slide(np.zeros((40, 60, 3), np.uint8), labels)
    part = split_region(slide, 0.4, seed=1)[0]
    sampler = Adaptive(8, per_slide=50, adapt=adapt)  # type: ignore[arg-type]
    law = Plan([part], sampler).distributions[0]
    domain = law.domain
    every = [(x, y) for y in range(domain.top, domain.bottom - 7) for x in range(domain.left, domain.right - 7)]
    assert sum(law.probability(x, y) for x, y in every) == pytest.approx(1, abs=1e-9)  # type: ignore[attr-defined]
    for draw in Plan([part], sampler):
        assert (draw.window.x, draw.window.y) in every
    painted = np.ones((40, 60), np.uint8)
    painted[0] = 0
    slide = open_slide(np.zeros((40, 60, 3), np.uint8), labels, region=painted)
    if adapt == "classes":
        assert all(draw.window.y > 0 for draw in Plan([slide], sampler))
    else:
        with pytest.raises(OptionError, match="blocks are cut out of a rectangle"):
            Plan([slide], sampler)


def test_the_cut_leaves_each_class_on_both_sides() -> None:
    """Where a side of the slide lacks a class, another one is taken, for any seed; where all do, a warning says so."""
    labels = np.zeros((60, 60), np.uint8)
    labels[50:, :], labels[:5, 3] = 1, 1
    labels[2, 2:50] = 2
    slide = open_slide(np.zeros((60, 60, 3), np.uint8), labels, codes=["ground", "nucleus", "vessel"])
    for seed in range(8):
        for part in split_region(slide, 0.3, guard=2, seed=seed):
            frame = part.frame
            assert frame is not None
            here = labels[frame.y : frame.bottom, frame.x : frame.right]
            assert set(np.unique(here)) == {0, 1, 2}
    inner = np.zeros((60, 60), np.uint8)
    inner[25:35, 25:35], inner[25:35:3, 25:35:3] = 1, 2  # all in the middle, as on a slide with margins of glass
    for seed in range(4):
        frames = [
            part.frame for part in split_region(open_slide(np.zeros((60, 60, 3), np.uint8), inner), 0.3, seed=seed)
        ]
        here = [inner[one.y : one.bottom, one.x : one.right] for one in frames if one is not None]
        assert [set(np.unique(one)) for one in here] == [{0, 1, 2}] * 2
        assert 0.3 <= np.count_nonzero(here[1]) / 100 < 0.45
    corner = np.zeros((60, 60), np.uint8)
    corner[30, 30] = 1
    with pytest.warns(UserWarning, match="the (training|validation) part has no pixel of class 'nucleus'"):
        split_region(open_slide(np.zeros((60, 60, 3), np.uint8), corner, codes=["ground", "nucleus"]), seed=1)
    seen = {split_region(slide.without_mask(), seed=seed)[1].frame for seed in range(20)}
    assert len(seen) == 4 and split_region(slide, seed=5)[1].frame == split_region(slide, seed=5)[1].frame


def test_parts_of_parts_groups_and_pickles() -> None:
    """A part is a slide: it is cut again, grouped, and sent to workers."""
    slide = open_slide(np.zeros((80, 100, 3), np.uint8), np.ones((80, 100), np.uint8), name="a")
    train, _ = split_region(slide, guard=0, seed=1)
    inner, held = split_region(train, guard=4, seed=2)
    assert train.frame is not None and inner.frame is not None and held.frame is not None
    for one in (inner.frame, held.frame):
        assert train.frame.x <= one.x and one.right <= train.frame.right
        assert train.frame.y <= one.y and one.bottom <= train.frame.bottom
    draws = list(Plan([inner], Uniform(7, per_slide=20)))
    assert list(Plan([pickle.loads(pickle.dumps(inner))], Uniform(7, per_slide=20))) == draws
    assert list(Plan([SlideGroup([inner, slide])], Uniform(7, per_slide=20))) == draws


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"valid": 0}, OptionError, "valid must lie between 0 and 1, got 0"),
        ({"valid": True}, OptionError, "valid must lie between 0 and 1"),
        ({"guard": -1}, OptionError, "guard must be in 0"),
        ({"guard": 500}, WindowError, "a guard of 500 px leave no pixels of 100 x 80; choose another share"),
        ({"guard": "wide"}, OptionError, "guard must be"),
        ({"seed": -1}, OptionError, "seed"),
    ],
)
def test_impossible_cuts_are_errors(options: dict, error: type[Exception], text: str) -> None:
    """Each in one line."""
    with pytest.raises(error, match=text):
        split_region(open_slide(np.zeros((80, 100, 3), np.uint8)), **options)


@given(st.integers(1, 50), st.integers(1, 50), st.integers(1, 20), st.data())
def test_bounds_on_another_level_hold_whole_pixels(length: int, other: int, most: int, data: st.DataObject) -> None:
    """By fractions: each pixel inside lies in the window whole, and the next one does not."""
    x = data.draw(st.integers(0, length - 1))
    width = data.draw(st.integers(1, length - x))
    left, _, right, _ = bounds_on(Window(x, 0, width, 1), (length, 1), (other, 1))
    inside = [k for k in range(other) if k * length >= x * other and (k + 1) * length <= (x + width) * other]
    assert list(range(left, right)) == inside


@pytest.mark.parametrize("painted", [False, True])
def test_a_region_without_foreground_is_a_slide_without_foreground(painted: bool) -> None:
    """`empty` decides: an error, uniform windows, or none."""
    labels, here = np.zeros((40, 50), np.uint8), np.zeros((40, 50), np.uint8)
    labels[:5, :5], here[20:, :] = 1, 1
    region = here if painted else Window(0, 20, 50, 20)
    slide = open_slide(np.zeros((40, 50, 3), np.uint8), labels, name="a", region=region)
    other = open_slide(np.zeros((40, 50, 3), np.uint8), labels, name="b")
    with pytest.raises(ForegroundError, match="^a: no"):
        Plan([slide], Foreground(8, per_slide=9))
    plan = Plan([slide], Foreground(8, per_slide=9, empty="uniform"))
    assert all(draw.window.y >= 20 and draw.probability == 1 / (43 * 13) for draw in plan)
    assert Plan([slide, other], Foreground(8, per_slide=9, empty="skip")).counts == (0, 9)
