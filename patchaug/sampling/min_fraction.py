"""Windows that hold at least so many labelled pixels, and no others: exact, without rejection.

One pass over the slide counts, for each row of window origins, the windows that hold enough, and the pixels of each
class in them. That is all that is kept. A draw finds its row in the running sums, and counts the windows of that row
again. The counts come from the runs: as the window moves down a row, one row of runs enters and one leaves.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from patchaug.core.arrays import Array
from patchaug.core.memory.shared_arrays import SharedArraysMixin
from patchaug.core.progress import progress
from patchaug.sampling.distributions import WindowDomain
from patchaug.slides.label_runs import BLOCK, RunLengthIndex
from patchaug.slides.labels import Labels


@dataclass(frozen=True, eq=False)
class QualifyingWindows(SharedArraysMixin):
    """The windows of one size with at least `least` pixels of some classes together.

    Attributes:
        labels: The labels.
        values: The classes.
        domain: Size of the windows, and where on the labels' level they may lie.
        least: Labelled pixels that a window must hold.
        largest: Most labelled pixels that any window holds.
        windows_below: Number of such windows in the rows of origins before a row; int64, (rows + 1,).
        pixels_below: Pixels of each class in them, added up; int64, (classes, rows + 1).
    """

    labels: Labels = field(repr=False)
    values: tuple[int, ...]
    domain: WindowDomain
    least: int
    largest: int
    windows_below: Array = field(repr=False)
    pixels_below: Array = field(repr=False)

    @classmethod
    def of(
        cls, labels: Labels, values: Sequence[int], domain: WindowDomain, least: int, name: str
    ) -> QualifyingWindows:
        """Count the windows of a slide; `name` is what a progress bar calls it."""
        rows = labels.height - domain.height + 1
        windows, pixels, largest = np.zeros(rows + 1, np.int64), np.zeros((len(values), rows + 1), np.int64), 0
        counted = progress(
            _counts_by_row(labels, values, domain.width, domain.height), rows, f"{name}: counting windows"
        )
        for y, changed in enumerate(counted):
            if changed is not None:  # else the row is like the one above
                counts = changed[:, _columns(domain)]
                together = counts[0] if len(counts) == 1 else counts.sum(axis=0)
                most, enough = int(together.max()), None
            if not domain.margin_y <= y < rows - domain.margin_y:
                continue
            largest = max(largest, most)
            if most >= least:
                if enough is None:
                    enough = together >= least
                    of_row = np.count_nonzero(enough), counts[:, enough].sum(axis=1)
                windows[y + 1], pixels[:, y + 1] = of_row
        return cls(labels, tuple(values), domain, least, largest, np.cumsum(windows), np.cumsum(pixels, axis=1))

    @property
    def windows(self) -> int:
        """Number of windows that hold enough."""
        return int(self.windows_below[-1])

    def row(self, y: int) -> tuple[Array, Array]:
        """Count the pixels of each class in the windows that start in row y, (classes, windows); and which qualify."""
        width, height = self.domain.width, self.domain.height
        counts = np.stack([_row_counts(self.labels, value, y, width, height) for value in self.values])
        enough = np.zeros(counts.shape[1], bool)
        inside = _columns(self.domain)
        enough[inside] = counts[:, inside].sum(axis=0) >= self.least
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
