"""Windows with at least so many labelled pixels and at most so many invalid ones: exact, without rejection.

One pass over the slide counts, for each row of window origins, the windows that qualify, and the pixels of each
class in them. That is all that is kept. A draw finds its row in the running sums, and counts the windows of that row
again. The counts come from the runs: as the window moves down a row, one row of runs enters and one leaves.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import repeat

import numpy as np

from patchaug.core.arrays import Array
from patchaug.core.memory.shared_arrays import SharedArraysMixin
from patchaug.core.progress import progress
from patchaug.sampling.distributions import WindowDomain
from patchaug.slides.label_runs import BLOCK, RunLengthIndex
from patchaug.slides.labels import Labels
from patchaug.slides.valid_pixels import INVALID


@dataclass(frozen=True, eq=False)
class QualifyingWindows(SharedArraysMixin):
    """The windows of one size with at least `least` pixels of some classes together, and at most `most` invalid ones.

    Attributes:
        labels: The labels; None where no class counts.
        values: The classes.
        domain: Size of the windows, and where on the labels' level they may lie.
        least: Labelled pixels that a window must hold.
        largest: Most labelled pixels that any window with at most `most` invalid pixels holds; -1 for no such window.
        windows_below: Number of such windows in the rows of origins before a row; int64, (rows + 1,).
        pixels_below: Pixels of each class in them, added up; int64, (classes, rows + 1).
        invalid: Index of the invalid pixels; None where they do not count.
        most: Invalid pixels that a window may hold.
        fewest: Fewest invalid pixels that any window holds.
    """

    labels: Labels | None = field(repr=False)
    values: tuple[int, ...]
    domain: WindowDomain
    least: int
    largest: int
    windows_below: Array = field(repr=False)
    pixels_below: Array = field(repr=False)
    invalid: Labels | None = field(default=None, repr=False)
    most: int = 0
    fewest: int = 0

    @classmethod
    def of(
        cls, labels: Labels | None, values: Sequence[int], domain: WindowDomain, least: int, name: str, *,
        invalid: Labels | None = None, most: int = 0,
    ) -> QualifyingWindows:  # fmt: skip
        """Count the windows of a slide; `name` is what a progress bar calls it."""
        rows = domain.length_y - domain.height + 1
        windows, pixels = np.zeros(rows + 1, np.int64), np.zeros((len(values), rows + 1), np.int64)
        largest, fewest, inside = -1, domain.width * domain.height, _columns(domain)
        counted = progress(_all_counts(labels, values, invalid, domain), rows, f"{name}: counting windows")
        for y, changed in enumerate(counted):
            if changed is not None:  # else the row is like the one above
                counts, holes = changed[0][:, inside], changed[1][inside]
                together = counts[0] if len(counts) == 1 else counts.sum(axis=0)
                few, enough = int(holes.min()), None
                permitted = together if few == holes.max() <= most else together[holes <= most]
                highest = int(permitted.max(initial=-1))
            if not domain.margin_y <= y < rows - domain.margin_y:
                continue
            largest, fewest = max(largest, highest), min(fewest, few)
            if highest >= least:
                if enough is None:
                    enough = (together >= least) & (holes <= most)
                    of_row = np.count_nonzero(enough), counts[:, enough].sum(axis=1)
                windows[y + 1], pixels[:, y + 1] = of_row
        sums = np.cumsum(windows), np.cumsum(pixels, axis=1)
        return cls(labels, tuple(values), domain, least, largest, *sums, invalid, most, fewest)

    @property
    def windows(self) -> int:
        """Number of windows that hold enough."""
        return int(self.windows_below[-1])

    def row(self, y: int) -> tuple[Array, Array]:
        """Count the pixels of each class in the windows that start in row y, (classes, windows); and which qualify."""
        width, height = self.domain.width, self.domain.height
        counts = np.zeros((len(self.values), self.domain.length_x - width + 1), np.int64)
        for number, value in enumerate(self.values):
            assert self.labels is not None
            counts[number] = _row_counts(self.labels, value, y, width, height)
        enough = np.zeros(counts.shape[1], bool)
        inside = _columns(self.domain)
        enough[inside] = counts[:, inside].sum(axis=0) >= self.least
        if self.invalid is not None:
            enough &= _row_counts(self.invalid, INVALID, y, width, height) <= self.most
        return counts, enough

    def uniform(self) -> UniformQualifying:
        """Return the component in which the windows are equally likely."""
        return UniformQualifying(self)

    def of_class(self, value: int) -> ClassWeightedQualifying:
        """Return the component that weighs the windows by their pixels of a class."""
        return ClassWeightedQualifying(self, self.values.index(value))


@dataclass(frozen=True, eq=False)
class UniformQualifying:
    """Each window that holds enough labelled pixels, equally likely."""

    restricted: QualifyingWindows

    @property
    def total(self) -> int:
        """Number of windows."""
        return self.restricted.windows

    def draw(self, rank: int) -> tuple[int, int]:
        """Return the origin (x, y) of window number `rank`, in reading order."""
        below = self.restricted.windows_below
        y = int(below.searchsorted(rank, side="right")) - 1
        _, enough = self.restricted.row(y)
        return int(np.flatnonzero(enough)[rank - int(below[y])]), y

    def probability(self, x: int, y: int) -> float:
        """Return the probability of a qualifying window."""
        return 1 / self.total


@dataclass(frozen=True, eq=False)
class ClassWeightedQualifying:
    """Each window that holds enough labelled pixels, in proportion to its pixels of one class."""

    restricted: QualifyingWindows
    number: int

    @property
    def total(self) -> int:
        """Pixels of the class in all those windows, added up."""
        return int(self.restricted.pixels_below[self.number, -1])

    def draw(self, rank: int) -> tuple[int, int]:
        """Return the origin (x, y) of the window of a rank in 0..total-1."""
        below = self.restricted.pixels_below[self.number]
        y = int(below.searchsorted(rank, side="right")) - 1
        counts, enough = self.restricted.row(y)
        running = np.cumsum(np.where(enough, counts[self.number], 0))
        return int(running.searchsorted(rank - int(below[y]), side="right")), y

    def probability(self, x: int, y: int) -> float:
        """Return the probability of a qualifying window."""
        r = self.restricted
        assert r.labels is not None
        return r.labels.count(r.values[self.number], x, y, r.domain.width, r.domain.height) / self.total


def _columns(domain: WindowDomain) -> slice:
    """The windows of a row that lie inside the margins."""
    return slice(domain.margin_x, domain.margin_x + domain.columns)


def least_pixels(fraction: float, pixels: int) -> int:
    """Return the smallest number whose quotient by `pixels` is no less than a fraction.

    The quotient is the float that Python gives, so that 0.1 of 100 is 10, and 5 / 6 of 6 is 5.
    """
    number = max(int(fraction * pixels) - 1, 0)
    while number / pixels < fraction:
        number += 1
    return number


def _row_counts(labels: Labels, value: int, y: int, width: int, height: int) -> Array:
    """Pixels of a class in each window that starts in row y of the level; int64."""
    runs = labels.runs[value]
    lines = _mask_rows(labels)[y : y + height]
    top = int(lines[0])
    times = np.bincount(lines - top)  # rows of the window over each row of the mask
    rows, starts, lasts = runs.stretches(0, top, runs.width, top + len(times))
    steps = np.bincount(starts, times[rows - top], runs.width + 1) - np.bincount(
        lasts + 1, times[rows - top], runs.width + 1
    )
    return _window_sums(steps.astype(np.int64), labels.columns, width)


def _all_counts(
    labels: Labels | None, values: Sequence[int], invalid: Labels | None, domain: WindowDomain
) -> Iterator[tuple[Array, Array] | None]:
    """For each row of origins, the pixels of each class in its windows, and the invalid ones; None where it repeats."""
    width, height = domain.width, domain.height
    columns, rows = domain.length_x - width + 1, domain.length_y - height + 1
    counts, holes = np.zeros((len(values), columns), np.int64), np.zeros((1, columns), np.int64)
    first = True
    for of_labels, of_invalid in zip(
        _counts_by_row(labels, values, width, height) if labels is not None and values else repeat(None, rows),
        repeat(None, rows) if invalid is None else _counts_by_row(invalid, [INVALID], width, height),
        strict=True,
    ):
        counts = counts if of_labels is None else of_labels
        holes = holes if of_invalid is None else of_invalid
        yield None if of_labels is None and of_invalid is None and not first else (counts, holes[0])
        first = False


def _counts_by_row(labels: Labels, values: Sequence[int], width: int, height: int) -> Iterator[Array | None]:
    """`_row_counts` of all classes for each row of origins, top to bottom; None where it repeats."""
    lines = _mask_rows(labels)
    sources = [_Rows(labels.runs[value]) for value in values]
    steps = np.zeros((len(values), sources[0].runs.width + 1), np.int64)
    for number, source in enumerate(sources):
        for line in lines[:height]:
            source.add(int(line), 1, steps[number])
    counts = [_window_sums(one, labels.columns, width) for one in steps]
    yield np.stack(counts)
    same = True
    for y in range(1, labels.height - height + 1):
        leaving, entering = int(lines[y - 1]), int(lines[y + height - 1])
        for number, source in enumerate(sources):
            if leaving != entering and source.add(leaving, -1, steps[number]) | source.add(entering, 1, steps[number]):
                counts[number] = _window_sums(steps[number], labels.columns, width)
                same = False
            source.forget(leaving)
        yield None if same else np.stack(counts)
        same = True


class _Rows:
    """The runs of one class by rows of the mask, some blocks of rows at a time."""

    def __init__(self, runs: RunLengthIndex) -> None:
        self.runs = runs
        self._blocks: dict[int, tuple[Array, Array, Array]] = {}

    def add(self, row: int, times: int, steps: Array) -> bool:
        """Add a row to the steps up and down along it; whether it has any."""
        block = row // BLOCK
        if block not in self._blocks:
            top, bottom = block * BLOCK, min((block + 1) * BLOCK, self.runs.height)
            rows, starts, lasts = self.runs.stretches(0, top, self.runs.width, bottom)
            order = np.argsort(rows, kind="stable")
            self._blocks[block] = (
                np.searchsorted(rows[order], np.arange(top, bottom + 1)), starts[order], lasts[order] + 1
            )  # fmt: skip
        at, starts, ends = self._blocks[block]
        here = slice(*at[row % BLOCK : row % BLOCK + 2])
        if here.start == here.stop:
            return False
        steps[starts[here]] += times  # in one row no two runs start, or end, at one place
        steps[ends[here]] -= times
        return True

    def forget(self, row: int) -> None:
        """No row above `row` will be asked for."""
        self._blocks.pop(row // BLOCK - 1, None)


def _mask_rows(labels: Labels) -> Array:
    """Row of the mask under each row of the level."""
    rows = np.arange(labels.height, dtype=np.int64)
    return rows if labels.lines is None else labels.lines.searchsorted(rows, side="right") - 1


def _window_sums(steps: Array, columns: Array | None, width: int) -> Array:
    """Sums over windows of some columns of the level, from the steps along the mask's columns."""
    amounts = np.cumsum(steps[:-1])
    if columns is not None:
        amounts = np.repeat(amounts, np.diff(columns))
    below = np.concatenate(([0], np.cumsum(amounts)))
    return np.asarray(below[width:] - below[:-width])
