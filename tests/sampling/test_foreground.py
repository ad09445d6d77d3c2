"""The index of labels and the foreground law, against brute force over all pixels and windows."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from patchaug import ForegroundError, open_slide
from patchaug.sampling import class_component
from patchaug.sampling import window_counts as restricted
from patchaug.sampling.class_component import ClassComponent, reach
from patchaug.sampling.distributions import WindowDomain
from patchaug.sampling.min_fraction import QualifyingWindows, least_pixels
from patchaug.slides import class_runs, index_mask
from patchaug.slides import label_runs as runs
from patchaug.slides import labels as labels_file
from patchaug.slides.labels import Labels
from patchaug.slides.mask_alignment import whole_factors
from patchaug.testing import masks


@contextmanager
def blocks_of(strip: int, block: int, limit: float) -> Iterator[None]:
    """Index in other blocks, so that small masks have many; a limit of 0 keeps no runs at all."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (runs, index_mask, class_runs, labels_file, class_component, restricted):
            for name, value in (("STRIP", strip), ("BLOCK", block), ("LIMIT", limit), ("_PIECE", 40)):
                if hasattr(module, name):
                    patch.setattr(module, name, value)
        yield


BLOCKS = st.sampled_from([(256, 64, 0.05), (256, 64, 100.0), (4, 2, 100.0), (5, 3, 4.0), (4, 2, 0.0), (1, 1, 100.0)])


def labels_of(mask: np.ndarray, rows: int = 64) -> Labels:
    """Index a mask in bands of a few rows."""
    height, width = mask.shape
    bands = (mask[top : top + rows] for top in range(0, height, rows))

    def read(x: int, y: int, w: int, h: int) -> np.ndarray:
        return mask[y : y + h, x : x + w]

    stored = index_mask.index_mask(width, height, bands, read, rest=0)
    return Labels(width, height, None, None, class_runs.ClassRuns(width, height, stored, read))


def window_counts(mask: np.ndarray, value: int, w: int, h: int) -> np.ndarray:
    """Pixels of a class in every window."""
    windows = np.lib.stride_tricks.sliding_window_view(mask == value, (h, w))
    return windows.sum(axis=(2, 3))


@given(masks(max_side=20), BLOCKS, st.integers(1, 6))
def test_the_index_holds_each_pixel_once(mask: np.ndarray, blocks: tuple, bands: int) -> None:
    """Painting the runs gives the mask back, however it was cut into bands and blocks, and whatever was not kept."""
    height, width = mask.shape
    with blocks_of(*blocks):
        labels = labels_of(mask, bands * runs.BLOCK)
        painted = np.full(mask.shape, 255, np.uint8)
        for value, of_class in labels.runs.items():
            for row, start, last in zip(*of_class.stretches(0, 0, width, height), strict=True):
                assert (painted[row, start : last + 1] == 255).all()
                painted[row, start : last + 1] = value
            assert of_class.pixels == labels.pixels(value) == np.count_nonzero(mask == value)
            x, y = labels.first(value)
            assert np.argmax(mask == value) == y * width + x
        assert (painted == mask).all()


@given(masks(max_side=20), st.sampled_from("bBhHiIqQ"), st.booleans(), st.booleans())
def test_the_index_is_the_same_of_all_integers(mask: np.ndarray, kind: str, turned: bool, constant: bool) -> None:
    """Values are compared eight bytes at a time, also those of several bytes, and in rows of any length."""
    mask = np.full_like(mask, mask[0, 0]) if constant else mask
    mask = np.ascontiguousarray(mask.T) if turned else mask
    found = labels_of(mask.astype(kind)).runs
    painted = np.full(mask.shape, 255, np.uint8)
    for value, of_class in found.items():
        for row, start, last in zip(*of_class.stretches(0, 0, *mask.shape[::-1]), strict=True):
            assert (painted[row, start : last + 1] == 255).all()
            painted[row, start : last + 1] = value
    assert (painted == mask).all()
    assert list(found) == np.unique(mask).tolist()


@pytest.mark.parametrize("value", [0, 3])
def test_the_index_of_arrays_that_do_not_lie_together(value: int) -> None:
    """One value that is shown as an array, and every other pixel of a larger one."""
    shown = np.broadcast_to(np.uint8(value), (70, 300))
    apart = np.repeat(np.arange(140, dtype=np.uint16)[:, None] % 5 + value, 3, axis=1)[::2, ::3]
    for mask in (shown, apart, apart.T, shown[:, ::7]):
        values, counts = np.unique(mask, return_counts=True)
        found = labels_of(mask)
        assert {number: found.pixels(number) for number in found.runs} == dict(zip(values, counts, strict=True))


@given(masks(max_side=20), BLOCKS, st.data())
def test_count_is_the_number_of_pixels_in_the_window(mask: np.ndarray, blocks: tuple, data: st.DataObject) -> None:
    """Against numpy's own count, for any window, also where a block's runs are not kept."""
    x, y = data.draw(st.integers(0, mask.shape[1] - 1)), data.draw(st.integers(0, mask.shape[0] - 1))
    width, height = data.draw(st.integers(1, mask.shape[1] - x)), data.draw(st.integers(1, mask.shape[0] - y))
    with blocks_of(*blocks):
        labels = labels_of(mask)
        for value in labels.runs:
            expected = np.count_nonzero(mask[y : y + height, x : x + width] == value)
            assert labels.count(value, x, y, width, height) == expected


@pytest.mark.parametrize("kind", ["noise", "blobs", "full"])
@pytest.mark.parametrize("limit", [0.0, 0.05, 100.0])
def test_count_at_full_size(kind: str, limit: float) -> None:
    """Real strips and blocks, runs as long as a strip and bytes that wrap: 400 windows of a 900 x 700 mask."""
    rng = np.random.default_rng(3)
    mask = np.ones((700, 900), np.uint8)
    if kind == "noise":
        mask = rng.integers(0, 3, mask.shape).astype(np.uint8)
    elif kind == "blobs":
        mask = (np.hypot(*(np.indices(mask.shape) % 90 - 45)) < 40).astype(np.uint8)
    with blocks_of(256, 64, limit):
        labels = labels_of(mask)
        for _ in range(400):
            x, y = rng.integers(0, 900), rng.integers(0, 700)
            w, h = rng.integers(1, 901 - x), rng.integers(1, 701 - y)
            assert labels.count(1, x, y, w, h) == np.count_nonzero(mask[y : y + h, x : x + w] == 1)


@given(st.integers(1, 40), st.data())
def test_reach_counts_the_windows_around_a_pixel(length: int, data: st.DataObject) -> None:
    """Against the list of all windows."""
    size = data.draw(st.integers(1, length))
    count = np.zeros(length, int)
    for origin in range(length - size + 1):
        count[origin : origin + size] += 1
    assert (reach(length, size) == count).all()


def tickets_by_window(part, shape: tuple[int, int]) -> np.ndarray:
    """How many ranks stand for each window."""
    drawn = np.zeros(shape, int)
    for rank in range(part.total):
        x, y = part.draw(rank)
        drawn[y, x] += 1
    return drawn


@given(masks(max_side=12), BLOCKS, st.data())
def test_every_ticket_is_worth_one_labelled_pixel_of_its_window(
    mask: np.ndarray, blocks: tuple, data: st.DataObject
) -> None:
    """Exact, with no statistics: over all ranks a window comes up once for each labelled pixel that it holds."""
    height, width = mask.shape
    w, h = data.draw(st.integers(1, width)), data.draw(st.integers(1, height))
    with blocks_of(*blocks):
        labels = labels_of(mask)
        for value in labels.runs:
            law = ClassComponent.of(labels, value, w, h)
            expected = window_counts(mask, value, w, h)
            assert (tickets_by_window(law, expected.shape) == expected).all()
            every = np.array([[law.probability(x, y) for x in range(width - w + 1)] for y in range(height - h + 1)])
            assert np.abs(every - expected / expected.sum()).max() < 1e-12
            assert every.sum() == pytest.approx(1, abs=1e-12)


@given(masks(max_side=12), st.sampled_from([0.0, 0.05, 100.0]), st.integers(1, 12), st.integers(1, 12))
def test_what_is_drawn_does_not_depend_on_what_is_kept(mask: np.ndarray, limit: float, w: int, h: int) -> None:
    """The same rank, the same window, whether runs are in the index or read again."""
    w, h = min(w, mask.shape[1]), min(h, mask.shape[0])

    def drawn(limit: float) -> list:
        with blocks_of(5, 3, limit):
            labels = labels_of(mask)
            laws = [ClassComponent.of(labels, value, w, h) for value in labels.runs]
            return [law.draw(rank) for law in laws for rank in range(law.total)]

    assert drawn(limit) == drawn(1000.0)


@given(masks(max_side=9), st.integers(1, 4), st.integers(0, 3), st.data())
def test_coarser_masks_are_indexed_in_their_own_pixels(
    mask: np.ndarray, factor: int, cut: int, data: st.DataObject
) -> None:
    """A mask of a whole factor less: no larger index, and the law of the mask as each window sees it."""
    height, width = (max(side * factor - min(cut, factor - 1), 1) for side in mask.shape)
    if factor > 1 and min(mask.shape) == 1:
        height, width = mask.shape[0] * factor, mask.shape[1] * factor
    # A mask of a few pixels may fit by other factors too, and is then read by the likeliest.
    assume(factor == 1 or whole_factors((width, height), mask.shape[::-1])[0] == factor)
    slide = open_slide(np.zeros((height, width, 3), np.uint8), mask)
    labels = slide.labels(0)
    large = np.kron(mask, np.ones((factor, factor), np.uint8))[:height, :width]
    w, h = data.draw(st.integers(1, width)), data.draw(st.integers(1, height))
    assert set(labels.runs) == set(np.unique(large))
    assert all(of_class.height <= mask.shape[0] for of_class in labels.runs.values())
    for value in labels.runs:
        law = ClassComponent.of(labels, value, w, h)
        expected = window_counts(large, value, w, h)
        assert law.total == expected.sum()
        if law.total < 20_000:
            assert (tickets_by_window(law, expected.shape) == expected).all()
        assert labels.pixels(value) == np.count_nonzero(large == value)
        x, y = labels.first(value)
        assert large[y, x] == value
        some = [(x, y) for y in range(0, height - h + 1, 3) for x in range(0, width - w + 1, 2)]
        assert all(labels.count(value, x, y, w, h) == expected[y, x] for x, y in some)


@given(masks(max_side=10), BLOCKS, st.integers(1, 3), st.sampled_from([0.01, 0.25, 0.5, 0.9, 1.0]), st.data())
def test_min_fraction_keeps_just_the_windows_that_hold_enough(
    mask: np.ndarray, blocks: tuple, factor: int, fraction: float, data: st.DataObject
) -> None:
    """Both parts of the mixture, by all their ranks: windows below the limit never, the others by their law."""
    large = np.kron(mask, np.ones((factor, factor), np.uint8))
    height, width = large.shape
    w, h = data.draw(st.integers(1, width)), data.draw(st.integers(1, height))
    values = sorted(set(np.unique(mask).tolist()) - {0}) or [0]
    with blocks_of(*blocks):
        slide = open_slide(np.zeros((height, width, 3), np.uint8), mask)
        least = least_pixels(fraction, w * h)
        some = QualifyingWindows.of(slide.labels(0), values, WindowDomain(0, w, h, width, height), least, "slide")
        counts = {value: window_counts(large, value, w, h) for value in values}
        together = sum(counts.values())
        enough = together >= least
        assert some.windows == enough.sum() and some.largest == together.max()
        if some.windows:
            assert (tickets_by_window(some.uniform(), enough.shape) == enough).all()
        for value in values:
            part = some.of_class(value)
            expected = np.where(enough, counts[value], 0)
            assert part.total == expected.sum()
            if part.total < 3000:
                assert (tickets_by_window(part, expected.shape) == expected).all()


@given(st.integers(1, 2**20), st.data())
def test_least_pixels_are_those_that_were_meant(pixels: int, data: st.DataObject) -> None:
    """A quotient that was computed gives its count back, and 0.1 of 100 is 10, although the float is a little more."""
    wanted = data.draw(st.integers(0, pixels))
    assert least_pixels(wanted / pixels, pixels) == wanted
    assert [least_pixels(f, n) for f, n in [(0.1, 100), (0.1, 101), (1.0, 7), (1e-9, 50), (0.7, 10), (1, 4)]] == [
        10, 11, 7, 1, 7, 4
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["noise", "nuclei", "tissue", "empty", "instances"])
def test_the_index_is_small(kind: str) -> None:
    """At most 0.05 bytes per pixel and class, also for noise, and with the sums of a law."""
    rng = np.random.default_rng(1)
    at = np.indices((2048, 2048))
    mask = {
        "noise": lambda: rng.integers(0, 4, at.shape[1:]),
        "nuclei": lambda: np.hypot(*(at % 40 - 20)) < 14,
        "tissue": lambda: np.hypot(at[0] - 1000, at[1] - 900) < 800,
        "empty": lambda: np.zeros(at.shape[1:]),
        "instances": lambda: at[0] // 40 * 52 + at[1] // 40,
    }[kind]().astype(np.uint16)
    labels = labels_of(mask)
    for value, of_class in labels.runs.items():
        assert of_class.nbytes + ClassComponent.of(labels, value, 256, 256)._below.nbytes <= 0.05 * mask.size
    # A class takes room where it is, so a mask of 2,704 numbered cells costs what one of cells does, and no more.
    assert kind != "instances" or sum(of_class.nbytes for of_class in labels.runs.values()) < 0.15 * mask.size


def test_a_mask_that_changed_is_found_out() -> None:
    """Blocks that are read again must be what they were."""
    mask = np.random.default_rng(0).integers(0, 2, (100, 100)).astype(np.uint8)
    with blocks_of(256, 64, 0.0):
        labels = labels_of(mask)
        assert labels.count(1, 0, 0, 50, 50) == mask[:50, :50].sum()
        mask[3] = 1
        with pytest.raises(ForegroundError, match="mask changed since it was indexed: class 1 around x=0 y=0"):
            labels.count(1, 0, 0, 50, 50)


@pytest.mark.parametrize("size", [512, 1400])
def test_sums_are_exact_beyond_what_floats_hold(size: int) -> None:
    """The total of 10^11 and more, and the first and last rank of each of its thousands of runs of ranks."""
    mask = (np.hypot(*(np.indices((1700, 1500)) % 90 - 45)) < 40).astype(np.uint8)
    law = ClassComponent.of(labels_of(mask), 1, size, size)
    columns, rows = reach(1500, size), reach(1700, size)
    of_rows = [int(total) for total in (mask * columns).sum(axis=1)]
    assert law.total == sum(total * int(weight) for total, weight in zip(of_rows, rows, strict=True)) > 2**24
    for rank in [0, law.total - 1, *(int(edge) - back for edge in law._below[:-1:7] for back in (0, 1))]:
        x, y = law.draw(rank)
        assert 0 <= x <= 1500 - size and 0 <= y <= 1700 - size
        assert mask[y : y + size, x : x + size].any()
    with pytest.raises(IndexError):
        law.draw(law.total)


def test_sums_beyond_63_bits_are_refused() -> None:
    """Not wrapped: an error that says so."""
    one = labels_of(np.ones((1, 1), np.uint8)).runs[1]
    blocks = np.arange(4000, dtype=np.int32)
    many = type(one)(
        1, 100_000, 100_000, blocks, np.full(4000, 2_500_000, np.int32), np.arange(4001),
        *(np.zeros(4000, np.uint8),) * 3, one.read,
    )  # fmt: skip
    with pytest.raises(ForegroundError, match="2\\^63"):
        ClassComponent.of(Labels(100_000, 100_000, None, None, {1: many}), 1, 50_000, 50_000)


def test_missing_rows_are_an_error() -> None:
    """Bands that do not fill the level would shift every row below."""
    with pytest.raises(ForegroundError, match="3 rows, its level has 4"):
        index_mask.index_mask(2, 4, [np.zeros((3, 2), np.uint8)], lambda *_: np.zeros((1, 1), np.uint8))


def test_blocks_never_change() -> None:
    """Tickets count pixels block by block: other blocks would move the windows of all old runs."""
    assert list(itertools.chain([runs.STRIP, runs.BLOCK], [class_component.STRIP, restricted.BLOCK])) == [
        256,
        64,
        256,
        64,
    ]
