"""The plan: a sample is a function of (seed, epoch, slide, draw), and of nothing else."""

import hashlib
import pickle
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchaug import Draw, Foreground, Grid, OptionError, Plan, ReadError, Uniform, open_slide
from patchaug.readers import ArrayRaster
from patchaug.sampling.slide_ids import slide_ids
from patchaug.slides.slide import Slide
from patchaug.testing import coordinate_image, coordinate_mask

SEEDS = st.integers(0, 2**32 - 1)


def slides(*names: str, side: int = 60) -> list[Slide]:
    """Coordinate-coded slides, one for each name."""
    return [open_slide(coordinate_image(side, side), coordinate_mask(side, side), name=name) for name in names]


SAMPLERS = st.sampled_from(
    [
        Uniform(9, per_slide=7),
        Foreground(8, per_slide=6),
        Grid(16, overlap=3),
        Grid(16, offset="random"),
    ]
)


@given(SAMPLERS, SEEDS, st.booleans(), st.randoms(use_true_random=False))
def test_any_order_of_access_gives_the_same(sampler, seed: int, shuffle: bool, shuffler: random.Random) -> None:
    """Three epochs forwards, and in any order from a pickled copy."""
    plan = Plan(slides("a", "b"), sampler, seed=seed, shuffle=shuffle)
    indices = list(range(3 * len(plan)))
    forwards = {index: plan[index] for index in indices}
    other = pickle.loads(pickle.dumps(plan))
    shuffler.shuffle(indices)
    assert {index: other[index] for index in indices} == forwards


@given(SAMPLERS, SEEDS, st.integers(0, 2**31))
def test_shuffling_only_reorders(sampler, seed: int, epoch: int) -> None:
    """An epoch holds each (slide, draw) once, with the window that it has unshuffled."""
    plain = Plan(slides("a", "b", "c"), sampler, seed=seed, shuffle=False)
    mixed = plain.ordered(True)
    n = len(plain)

    def contents(plan: Plan) -> dict:
        return {(d.slide, d.draw): (d.window, d.probability, d.epoch) for d in (plan[epoch * n + p] for p in range(n))}

    assert contents(plain) == contents(mixed) and len(contents(plain)) == n
    assert [d.slide for d in plain] == sorted(d.slide for d in plain)


def test_shuffling_shares_slides_and_laws() -> None:
    """Nothing is found anew, and what is counted is counted for both."""
    plain = Plan(slides("a", "b"), Uniform(9), shuffle=False, on_error="resample")
    mixed = plain.ordered(True)
    assert mixed.shuffle and not plain.shuffle and plain.ordered(False) is plain
    assert mixed._distributions is plain._distributions is not None and mixed.slides is plain.slides
    assert mixed._replaced is plain._replaced is not None


@given(SEEDS, st.integers(0, 3))
def test_other_slides_do_not_move_windows(seed: int, place: int) -> None:
    """Add, remove, reorder: a slide's windows follow from its name."""
    names = ["a", "b", "c", "d"]
    sampler = Uniform(9, per_slide=5)

    def windows_of(name: str, among: list[str]) -> list:
        plan = Plan(slides(*among), sampler, seed=seed, shuffle=False)
        return [draw.window for draw in plan if draw.slide == among.index(name)]

    alone = windows_of(names[place], [names[place]])
    assert alone == windows_of(names[place], names) == windows_of(names[place], names[::-1])


def test_each_word_of_the_key_matters() -> None:
    """Seed, epoch, slide and draw: change one and another window is drawn; no two words can stand for each other."""
    sampler = Uniform(9, per_slide=40)
    drawn = {}
    for seed in (0, 1):
        plan = Plan(slides("a", "b"), sampler, seed=seed, shuffle=False)
        for index in range(2 * len(plan)):
            d = plan[index]
            drawn[seed, d.epoch, d.slide, d.draw] = d.window
    for axis in range(4):
        for low in (0, 1):
            key = [0, 0, 0, 0]
            group = [w for k, w in drawn.items() if k[axis] == low]
            other = [w for k, w in drawn.items() if k[axis] == 1 - low]
            assert group[:40] != other[:40], key
    # 52 x 52 windows: 320 draws repeat about 19 times by chance; key arithmetic would repeat 40 or more in order.
    assert len(set(drawn.values())) > 270
    sequences = [tuple(drawn[s, e, i, d] for d in range(40)) for s in (0, 1) for e in (0, 1) for i in (0, 1)]
    assert len(set(sequences)) == 8


GOLDEN = {
    0: "f75de6a7 dcbfa86e 6787354f 2b39c3c1",
    1: "2cff74b7 3b37c58a 76499aa4 3b7679f8",
    2: "810e25dd fbb105c1 7f3ce27d c2c7ca78",
    3: "517e7592 2cf194b5 b5a5ee7d 10442ee7",
    4: "b9581842 beb965b2 509aebfb 5e792697",
    5: "ae5362dd 4154a7c6 352a08fb 69361298",
    6: "726b9081 59612e97 fecb83bd 619163ae",
    7: "66ebae86 4694b4bd 8ba0243f d4bf375b",
    42: "19e4ed03 23870d0f c34546f3 186cdc22",
    4294967295: "4764b05a 1aa52c85 679292e8 9f614a12",
}


@pytest.mark.parametrize("seed", GOLDEN)
def test_golden_windows(seed: int) -> None:
    """The first 1,000 windows of each sampler: a change moves all users' windows, and needs a line in CHANGELOG.md."""
    assert golden(seed) == GOLDEN[seed]


def golden(seed: int) -> str:
    """Hashes of windows of coordinate-coded slides: uniform, foreground, at least a fraction, and a shifted grid."""
    some = slides("a", "b", "c", side=97)
    found = []
    for sampler in (
        Uniform(16, per_slide=50),
        Foreground((16, 9), per_slide=50, foreground=0.7, classes={1: 2.0, 3: 1.0}),
        Foreground(12, per_slide=50, foreground=0.5, classes=[2], min_fraction=0.24),
        Grid(16, overlap=5, offset="random"),
    ):
        plan = Plan(some, sampler, seed=seed)
        text = repr([(d.slide, d.draw, d.window.x, d.window.y) for d in (plan[i] for i in range(1000))])
        found.append(hashlib.sha256(text.encode()).hexdigest()[:8])
    return " ".join(found)


def test_ids_are_words_and_tell_same_names_apart() -> None:
    """Two files of one name get the folder above; arrays of one name are an error, and so is one file twice."""
    image = ArrayRaster(np.zeros((9, 9, 3), np.uint8))

    def named(path: str) -> Slide:
        return Slide(image, name=path.rsplit("/", 1)[-1], path=path)

    assert slide_ids([named("/data/p1/y.svs")]) == [named("/mnt/y.svs").id]
    ids = slide_ids([named("/data/p1/x.svs"), named("/data/p2/x.svs"), named("/data/p1/y.svs")])
    assert len(set(ids)) == 3 and all(0 <= number < 2**32 for number in ids)
    assert ids[2] == slide_ids([named("/elsewhere/y.svs")])[0]
    assert ids[0] == slide_ids([named("/mnt/p2/x.svs"), named("/mnt/p1/x.svs")])[1]
    with pytest.raises(OptionError, match="two slides are named 'x.svs'|two slides are named '/"):
        slide_ids([named("/data/x.svs"), named("/data/x.svs")])
    with pytest.raises(OptionError, match=r"give arrays names: open_slide\(..., name=...\)"):
        Plan([open_slide(np.zeros((9, 9, 3), np.uint8)) for _ in range(2)], Uniform(3))


@pytest.mark.parametrize("seed", [-1, 2**32, 1.5, True, "7"])
def test_seeds_out_of_range_are_refused(seed: object) -> None:
    """A seed of more than 32 bits would need two words, and keys have a fixed length."""
    with pytest.raises(OptionError, match="seed must be"):
        Plan(slides("a"), Uniform(3), seed=seed)  # type: ignore[arg-type] - the wrong type is the test


def test_indices_outside_are_refused() -> None:
    """Never a window by accident."""
    plan = Plan(slides("a"), Uniform(3, per_slide=4))
    for index in (-1, 4 * 2**32):
        with pytest.raises(IndexError, match="outside the plan"):
            plan[index]
    with pytest.raises(OptionError, match="at least one slide"):
        Plan([], Uniform(3))


def test_a_failed_read_can_be_replayed() -> None:
    """The error ends with seed and index; the same index fails alike."""

    class Broken(ArrayRaster):
        def read(self, window):
            raise ReadError("tile 7 is damaged")

    slide = Slide(Broken(np.zeros((9, 9, 3), np.uint8)), name="torn.svs")
    plan = Plan([slide], Uniform(3, per_slide=4), seed=11)
    for _ in range(2):
        with pytest.raises(ReadError, match=r"tile 7.*slide torn.svs, level 0, window x=\d.*seed 11, index 6$"):
            plan.read(plan[6])


def test_draws_are_values() -> None:
    """The fields that the design names."""
    draw = Plan(slides("a"), Uniform(3, per_slide=4), seed=1, shuffle=False)[6]
    assert (draw.index, draw.epoch, draw.slide, draw.draw) == (6, 1, 0, 2)
    assert draw == Draw(6, 1, 0, 2, draw.window, draw.probability)
