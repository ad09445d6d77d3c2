"""Where labelled pixels are, and how a window is drawn in proportion to them: exact integers, no rejection.

The law: a window is drawn with probability proportional to the number of pixels of a class in it. Summing that number
over all windows counts each labelled pixel once for every valid window that contains it, and that is a product of one
factor per axis (`reach`). So one random integer below the grand total names a labelled pixel *and* one of the windows
around it; nothing is clamped at a border, and no window is drawn more often than it should be. Inverse-transform
sampling on exact sums; the only floating point number is the probability that is handed back.

Labels are kept as runs along rows: three 32-bit numbers for each stretch of equal labels. A mask of nuclei has about
one run in fifty pixels, a mask of tissue far fewer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from patchaug.errors import ForegroundError

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, eq=False)
class Runs:
    """Stretches of one class along rows, in reading order; int32 arrays of one length, pixels of one level."""

    rows: Array
    starts: Array
    lengths: Array

    @property
    def pixels(self) -> int:
        """Number of pixels of the class."""
        return int(self.lengths.sum(dtype=np.int64))

    def count(self, x: int, y: int, width: int, height: int) -> int:
        """Number of the class's pixels in a window."""
        first, last = np.searchsorted(self.rows, (y, y + height))
        starts, lengths = self.starts[first:last], self.lengths[first:last]
        inside = np.minimum(starts + lengths, x + width) - np.maximum(starts, x)
        return int(np.maximum(inside, 0).sum(dtype=np.int64))


@dataclass(frozen=True, eq=False)
class Labels:
    """All labels of a mask at one level: {class number: its runs}, and the size of the level in pixels."""

    width: int
    height: int
    runs: Mapping[int, Runs] = field(repr=False)

    @classmethod
    def from_bands(cls, width: int, height: int, bands: Iterable[Array]) -> Labels:
        """Index a mask that arrives as bands of full rows, top to bottom, each (rows, width) of integers."""
        parts: dict[int, list[tuple[Array, Array, Array]]] = {}
        top = 0
        for band in bands:
            for value, part in _runs_of_band(band, top).items():
                parts.setdefault(value, []).append(part)
            top += band.shape[0]
        if top != height:
            raise ForegroundError(f"the mask's bands hold {top} rows, its level has {height}")
        runs = {
            value: Runs(*(np.concatenate(column) for column in zip(*parts[value], strict=True)))
            for value in sorted(parts)
        }
        return cls(width, height, runs)

    def first(self, value: int) -> tuple[int, int]:
        """(x, y) of the first pixel of a class in reading order."""
        runs = self.runs[value]
        return int(runs.starts[0]), int(runs.rows[0])


def _runs_of_band(band: Array, top: int) -> dict[int, tuple[Array, Array, Array]]:
    """{value: (rows, starts, lengths)} of one band whose first row is `top`."""
    height, width = band.shape
    changes = np.empty((height, width), bool)
    changes[:, 0] = True
    np.not_equal(band[:, 1:], band[:, :-1], out=changes[:, 1:])
    at = np.flatnonzero(changes)
    rows, starts = np.divmod(at, width)
    lengths = np.diff(at, append=height * width)
    values = band.reshape(-1)[at]
    found = {}
    for value in np.unique(values):
        chosen = values == value
        found[int(value)] = (
            (rows[chosen] + top).astype(np.int32),
            starts[chosen].astype(np.int32),
            lengths[chosen].astype(np.int32),
        )
    return found


def reach(length: int, size: int) -> Array:
    """For each pixel of an axis, the number of valid windows of `size` that contain it; int64, (length,)."""
    at = np.arange(length, dtype=np.int64)
    return np.minimum(at, length - size) - np.maximum(at - size + 1, 0) + 1


@dataclass(frozen=True, eq=False)
class ClassLaw:
    """Windows of one size, each with probability proportional to the pixels of one class in it.

    `total` is the sum of those pixels over all windows, and `below` its running sum over runs and columns.
    """

    runs: Runs
    width: int
    height: int
    total: int
    _runs_below: Array = field(repr=False)
    _columns_below: Array = field(repr=False)
    _row_reach: Array = field(repr=False)

    @classmethod
    def of(cls, labels: Labels, value: int, width: int, height: int) -> ClassLaw:
        """The law for windows of width x height px on the labels' level.

        Raises:
            ForegroundError: The sum over all windows does not fit into 63 bits.
        """
        runs = labels.runs[value]
        if runs.pixels * width * height >= 2**63:  # an upper bound of the total
            raise ForegroundError(
                f"class {value} has {runs.pixels} px: too many to weigh windows of {width} x {height} px exactly "
                f"(limit 2^63); draw at a coarser level"
            )
        columns = np.concatenate(([0], np.cumsum(reach(labels.width, width))))
        rows = reach(labels.height, height)
        weights = (columns[runs.starts + runs.lengths] - columns[runs.starts]) * rows[runs.rows]
        below = np.cumsum(weights)
        return cls(runs, width, height, int(below[-1]), below, columns, rows)

    def draw(self, ticket: int) -> tuple[int, int]:
        """Origin (x, y) of the window that a number in 0..total-1 stands for; equal shares of numbers per law."""
        run = int(np.searchsorted(self._runs_below, ticket, side="right"))
        if run:
            ticket -= int(self._runs_below[run - 1])
        row, start = int(self.runs.rows[run]), int(self.runs.starts[run])
        across, down = divmod(ticket, int(self._row_reach[row]))
        across += int(self._columns_below[start])
        column = int(np.searchsorted(self._columns_below, across, side="right")) - 1
        across -= int(self._columns_below[column])
        # The windows that contain the pixel start at these origins, one after the other.
        return max(column - self.width + 1, 0) + across, max(row - self.height + 1, 0) + down

    def probability(self, x: int, y: int) -> float:
        """Probability of the window with that origin."""
        return self.runs.count(x, y, self.width, self.height) / self.total
