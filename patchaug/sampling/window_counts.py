"""Count pixels in the windows of each row of origins, from the runs of a label index."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import repeat

import numpy as np

from patchaug.core.arrays import Array
from patchaug.sampling.distributions import WindowDomain
from patchaug.slides.label_runs import BLOCK, STRIP, RunLengthIndex
from patchaug.slides.labels import Labels


@dataclass(frozen=True, eq=False)
class Limit:
    """Pixels of which a window may hold so many at most.

    Attributes:
        labels: Index of the pixels.
        value: Their number in it.
        most: How many a window may hold.
        what: What a window within the limit has, for errors.
        pad_x, pad_y: Pixels around the window that count, too, on each side; at most the margins of the domain.
    """

    labels: Labels = field(repr=False)
    value: int
    most: int
    what: str = "few of some pixels"
    pad_x: int = 0
    pad_y: int = 0

    def count(self, x: int, y: int, width: int, height: int) -> int:
        """Count the pixels in a window of the level."""
        if self.value not in self.labels.runs:
            return 0
        x, y, width, height = x - self.pad_x, y - self.pad_y, width + 2 * self.pad_x, height + 2 * self.pad_y
        return self.labels.count(self.value, x, y, width, height)


def row_counts(labels: Labels, value: int, y: int, width: int, height: int, starts: range) -> Array:
    """Pixels of a class in the windows of row y of the level whose first columns are `starts`; int64."""
    runs, columns = labels.runs[value], labels.columns
    if columns is None and labels.lines is None:
        return _row_counts_of_pixels(runs, y, width, height, starts)
    lines = _mask_rows(labels, y, y + height)
    top = int(lines[0])
    times = np.bincount(lines - top)  # rows of the window over each row of the mask
    left, right = starts.start, starts.stop - 1 + width
    if columns is not None:  # the mask's columns below
        left = int(columns.searchsorted(left, side="right")) - 1
        right = int(columns.searchsorted(right))
    rows, begins, lasts = runs.stretches(left, top, right, top + len(times))
    ends = (lasts + (1 - left)).clip(0, right - left)  # a run outside becomes one of no pixels
    weights = times[rows - top]
    steps = np.bincount((begins - left).clip(0, right - left), weights, right - left + 1)
    steps -= np.bincount(ends, weights, right - left + 1)
    if columns is None:
        return _window_sums(steps.astype(np.int64), None, width)
    more = starts.start - int(columns[left])
    return _window_sums(steps.astype(np.int64), columns[left : right + 1], width)[more : more + len(starts)]


def _row_counts_of_pixels(runs: RunLengthIndex, y: int, width: int, height: int, starts: range) -> Array:
    """Count as `row_counts`, where the mask has a pixel for each of the level; over whole strips of the runs."""
    right = starts.stop - 1 + width
    left, size = starts.start % STRIP, -(-right // STRIP) * STRIP - starts.start // STRIP * STRIP
    begins, lasts = runs.columns_within(starts.start, y, right, y + height)
    steps = np.bincount(begins, minlength=size)
    steps[1:] -= np.bincount(lasts, minlength=size)[:-1]  # those of the last column end beyond it
    below = np.zeros(size + 1, np.int64)
    steps.cumsum().cumsum(out=below[1:])
    return np.asarray(below[left + width : left + width + len(starts)] - below[left : left + len(starts)])


def all_counts(
    labels: Labels | None, values: Sequence[int], limits: Sequence[Limit], domain: WindowDomain
) -> Iterator[tuple[Array, Array] | None]:
    """For each row of origins, pixels of each class in its windows, and of each limit; None where it repeats."""
    width, height = domain.width, domain.height
    columns, rows = domain.length_x - width + 1, domain.length_y - height + 1
    counts, holes = np.zeros((len(values), columns), np.int64), np.zeros((len(limits), columns), np.int64)
    first = True
    for of_labels, *of_limits in zip(
        _counts_by_row(labels, values, width, height) if labels is not None and values else repeat(None, rows),
        *(_limit_by_row(one, domain) for one in limits),
        strict=True,
    ):
        counts = counts if of_labels is None else of_labels
        if any(one is not None for one in of_limits):
            pairs = zip(of_limits, holes, strict=True)
            holes = np.stack([before if one is None else one for one, before in pairs])
        elif of_labels is None and not first:
            yield None
            continue
        yield counts, holes
        first = False


def _limit_by_row(limit: Limit, domain: WindowDomain) -> Iterator[Array | None]:
    """Pixels of a limit in the windows of each row of origins, with what lies around them; None where it repeats."""
    pad_x, pad_y = limit.pad_x, limit.pad_y
    width, height = domain.width + 2 * pad_x, domain.height + 2 * pad_y
    beyond = np.full(domain.length_x - domain.width + 1, width * height, np.int64)  # too near to the border
    yield from repeat(beyond, pad_y)
    for one in _counts_by_row(limit.labels, [limit.value], width, height):
        yield None if one is None else np.pad(one[0], pad_x, constant_values=width * height)
    yield from repeat(beyond, pad_y)


def _counts_by_row(labels: Labels, values: Sequence[int], width: int, height: int) -> Iterator[Array | None]:
    """`row_counts` of all classes for each row of origins, top to bottom; None where it repeats."""
    lines = _mask_rows(labels, 0, labels.height)
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


def _mask_rows(labels: Labels, top: int, bottom: int) -> Array:
    """Rows of the mask under rows top..bottom-1 of the level."""
    rows = np.arange(top, bottom, dtype=np.int64)
    return rows if labels.lines is None else labels.lines.searchsorted(rows, side="right") - 1


def _window_sums(steps: Array, columns: Array | None, width: int) -> Array:
    """Sums over windows of some columns of the level, from the steps along the mask's columns."""
    amounts = np.cumsum(steps[:-1])
    if columns is not None:
        amounts = np.repeat(amounts, np.diff(columns))
    below = np.concatenate(([0], np.cumsum(amounts)))
    return np.asarray(below[width:] - below[:-width])
