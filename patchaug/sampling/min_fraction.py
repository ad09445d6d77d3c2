"""Windows with at least so many labelled pixels and at most so many invalid ones: exact, without rejection.

One pass over the slide counts, for each row of window origins, the windows that qualify, and the pixels of each
class in them, in all and in some sections of the row. That is all that is kept. A draw finds its row and its section in
the running sums, and counts the windows of that section again. The counts come from the runs: as the window moves down
a row, one row of runs enters and one leaves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from patchaug.core.arrays import Array
from patchaug.core.memory.shared_arrays import SharedArraysMixin
from patchaug.core.progress import progress
from patchaug.sampling.distributions import WindowDomain
from patchaug.sampling.window_counts import Limit, all_counts, row_counts
from patchaug.slides.labels import Labels

_SECTIONS = 32  # of a row at most, and each is at least half of a window wide


@dataclass(frozen=True, eq=False)
class QualifyingWindows(SharedArraysMixin):
    """The windows of one size with at least `least` pixels of some classes together, within some limits.

    Attributes:
        labels: The labels; None where no class counts.
        values: The classes.
        domain: Size of the windows, and where on the labels' level they may lie.
        least: Labelled pixels that a window must hold.
        largest: Most labelled pixels that any window within the limits holds; -1 for no such window.
        windows_below: Number of such windows in the rows of origins before a row; int64, (rows + 1,).
        pixels_below: Pixels of each class in them, added up; int64, (classes, rows + 1).
        windows_before: Number of such windows in a row before each of its sections; uint32, (rows, sections).
        pixels_before: Pixels of each class in them, added up; int64, (classes, rows, sections).
        limits: Pixels of which a window may hold few: invalid ones, or those outside a region.
        fewest: For each limit, the fewest such pixels that any window holds.
    """

    labels: Labels | None = field(repr=False)
    values: tuple[int, ...]
    domain: WindowDomain
    least: int
    largest: int
    windows_below: Array = field(repr=False)
    pixels_below: Array = field(repr=False)
    windows_before: Array = field(repr=False)
    pixels_before: Array = field(repr=False)
    limits: tuple[Limit, ...] = ()
    fewest: tuple[int, ...] = ()

    @classmethod
    def of(
        cls, labels: Labels | None, values: Sequence[int], domain: WindowDomain, least: int, name: str, *,
        limits: Sequence[Limit] = (),
    ) -> QualifyingWindows:  # fmt: skip
        """Count the windows of a slide; `name` is what a progress bar calls it."""
        rows = domain.length_y - domain.height + 1
        windows, pixels = np.zeros(rows + 1, np.int64), np.zeros((len(values), rows + 1), np.int64)
        edges = _sections(domain)[:-1]
        windows_before = np.zeros((rows, len(edges)), np.uint32)
        pixels_before = np.zeros((len(values), rows, len(edges)), np.int64)
        largest, inside = -1, slice(domain.left, domain.left + domain.columns)
        most = np.array([one.most for one in limits], np.int64)[:, None]
        fewest = np.full(len(limits), np.iinfo(np.int64).max)
        counted = progress(all_counts(labels, values, limits, domain), rows, f"{name}: counting windows")
        for y, changed in enumerate(counted):
            if changed is not None:  # else the row is like the one above
                counts, holes = changed[0][:, inside], changed[1][:, inside]
                together = counts[0] if len(counts) == 1 else counts.sum(axis=0)
                few, enough = holes.min(axis=1), None
                permitted = (holes <= most).all(axis=0) if len(limits) else np.ones(1, bool)
                highest = int((together if permitted.all() else together[permitted]).max(initial=-1))
            if not domain.top <= y < domain.top + domain.rows:
                continue
            largest, fewest = max(largest, highest), np.minimum(fewest, few)
            if highest >= least:
                if enough is None:
                    enough = (together >= least) & permitted
                    of_windows = np.add.reduceat(enough, edges - domain.left, dtype=np.int64)
                    of_pixels = np.add.reduceat(np.where(enough, counts, 0), edges - domain.left, axis=1)
                    windows_and_pixels = of_windows.sum(), of_pixels.sum(axis=1)
                    before = _before(of_windows), _before(of_pixels)
                windows[y + 1], pixels[:, y + 1] = windows_and_pixels
                windows_before[y], pixels_before[:, y] = before
        sums = np.cumsum(windows), np.cumsum(pixels, axis=1), windows_before, pixels_before
        return cls(labels, tuple(values), domain, least, largest, *sums, tuple(limits), tuple(map(int, fewest)))

    @cached_property
    def edges(self) -> tuple[int, ...]:
        """First columns of the sections of a row of windows, and where the last one ends."""
        return tuple(_sections(self.domain).tolist())

    @property
    def windows(self) -> int:
        """Number of windows that hold enough."""
        return int(self.windows_below[-1])

    def section(self, y: int, number: int) -> tuple[int, Array, Array]:
        """Count again in section `number` of the windows that start in row y.

        Returns:
            The first column; pixels of each class in the windows, (classes, windows); and which qualify, (windows,).
        """
        domain = self.domain
        starts = range(*self.edges[number : number + 2])
        counts = np.zeros((len(self.values), len(starts)), np.int64)
        for value, out in zip(self.values, counts, strict=True):
            assert self.labels is not None
            out[:] = row_counts(self.labels, value, y, domain.width, domain.height, starts)
        enough = np.add.reduce(counts) >= self.least
        for one in self.limits:
            across, down = domain.width + 2 * one.pad_x, domain.height + 2 * one.pad_y
            padded = range(starts.start - one.pad_x, starts.stop - one.pad_x)
            enough &= row_counts(one.labels, one.value, y - one.pad_y, across, down, padded) <= one.most
        return starts.start, counts, enough

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
        number, rest = _section_of(self.restricted.windows_before[y], rank - int(below[y]))
        left, _, enough = self.restricted.section(y, number)
        return left + int(np.flatnonzero(enough)[rest]), y

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
        number, rest = _section_of(self.restricted.pixels_before[self.number, y], rank - int(below[y]))
        left, counts, enough = self.restricted.section(y, number)
        running = np.cumsum(np.where(enough, counts[self.number], 0))
        return left + int(running.searchsorted(rest, side="right")), y

    def probability(self, x: int, y: int) -> float:
        """Return the probability of a qualifying window."""
        r = self.restricted
        assert r.labels is not None
        return r.labels.count(r.values[self.number], x, y, r.domain.width, r.domain.height) / self.total


def _sections(domain: WindowDomain) -> Array:
    """First columns of the sections of a row of windows, and where the last one ends."""
    width = max(-(-domain.columns // _SECTIONS), domain.width // 2, 1)
    return np.append(np.arange(domain.left, domain.left + domain.columns, width), domain.left + domain.columns)


def _before(amounts: Array) -> Array:
    """Sums of what comes before each element, along the last axis."""
    return np.asarray(np.cumsum(amounts, axis=-1) - amounts)


def _section_of(before: Array, rank: int) -> tuple[int, int]:
    """The section that holds a rank of its row, and the rank within it."""
    number = int(before.searchsorted(rank, side="right")) - 1
    return number, rank - int(before[number])


def least_pixels(fraction: float, pixels: int) -> int:
    """Return the smallest number whose quotient by `pixels` is no less than a fraction.

    The quotient is the float that Python gives, so that 0.1 of 100 is 10, and 5 / 6 of 6 is 5.
    """
    number = max(int(fraction * pixels) - 1, 0)
    while number / pixels < fraction:
        number += 1
    return number
