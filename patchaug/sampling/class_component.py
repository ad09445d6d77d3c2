"""How a window is drawn in proportion to the labelled pixels in it: exact integers, no rejection.

The law: a window is drawn with probability proportional to the number of pixels of a class in it. Summing that number
over all windows counts each labelled pixel once for every valid window that contains it, and that is a product of one
factor per axis (`reach`). So one random integer below the grand total names a labelled pixel *and* one of the windows
around it; nothing is clamped at a border, and no window is drawn more often than it should be. Inverse-transform
sampling on exact sums; the only floating point number is the probability that is handed back.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from functools import cached_property
from weakref import WeakValueDictionary

import numpy as np

from patchaug.core.arrays import Array
from patchaug.core.memory.shared_arrays import SharedArraysMixin
from patchaug.errors import ForegroundError
from patchaug.sampling.distributions import WindowDomain
from patchaug.slides.label_runs import BLOCK, STRIP
from patchaug.slides.labels import Labels, block_weights


def reach(length: int, size: int, low: int = 0, high: int | None = None) -> Array:
    """Count the valid windows of `size` that contain each pixel of an axis; int64, (length,).

    Windows lie in low..high-1, by default on the whole axis.
    """
    at = np.arange(length, dtype=np.int64)
    windows = np.minimum(at, (length if high is None else high) - size) - np.maximum(at - size + 1, low) + 1
    return np.asarray(np.maximum(windows, 0))


@dataclass(frozen=True, eq=False)
class Axis(SharedArraysMixin):
    """One axis of the law: the reach of its pixels, summed from the left.

    Attributes:
        size: Side of the window.
        low: First pixel that a window may hold.
        below: Sum of the reach of all pixels before a pixel of the level; one more than there are pixels.
        mask_below: The same, before each pixel of the mask.
    """

    size: int
    low: int
    below: Array = field(repr=False)
    mask_below: Array = field(repr=False)

    @classmethod
    def of(cls, length: int, size: int, edges: Array | None, low: int = 0, high: int | None = None) -> Axis:
        """Make the axis of a level of `length` pixels; `edges` as in `Labels`, `low` and `high` as in `reach`.

        Levels of one length share one axis.
        """
        key = (length, size, low, high)
        axis = _axes.get(key)
        if axis is None:
            below = np.concatenate(([0], np.cumsum(reach(length, size, low, high))))
            _axes[key] = axis = cls(size, low, below, below)
        return axis if edges is None else cls(size, low, axis.below, axis.below[edges])

    @cached_property
    def below_view(self) -> memoryview:
        """`below` as a memoryview, on which `bisect` is several times as fast; no pickle holds it."""
        return self.below.data

    def origin(self, rank: int) -> int:
        """Return the first pixel of the window of a rank; each pair of pixel and window has one rank."""
        below = self.below_view
        pixel = bisect_right(below, rank) - 1
        # The windows that contain the pixel start at these origins, one after the other.
        return max(pixel - self.size + 1, self.low) + rank - below[pixel]


_axes: WeakValueDictionary[tuple[int, int, int, int | None], Axis] = WeakValueDictionary()  # of length, size, low, high


@dataclass(frozen=True, eq=False)
class ClassComponent(SharedArraysMixin):
    """Windows of one size, each with probability proportional to the pixels of one class in it.

    `total` is the sum of those pixels over all windows, and `_below` its running sum over blocks of the mask.
    """

    labels: Labels = field(repr=False)
    value: int
    across: Axis
    down: Axis
    total: int
    _below: Array = field(repr=False)

    @classmethod
    def of(
        cls, labels: Labels, value: int, width: int, height: int, domain: WindowDomain | None = None
    ) -> ClassComponent:
        """Make the component for windows of width x height px on the labels' level, or for those of a domain.

        Raises:
            ForegroundError: The sum over all windows does not fit into 63 bits.
        """
        runs = labels.runs[value]
        left, right, top, bottom = 0, labels.width, 0, labels.height
        if domain is not None:
            left, right, top, bottom = domain.left, domain.right, domain.top, domain.bottom
        across = Axis.of(labels.width, width, labels.columns, left, right)
        down = Axis.of(labels.height, height, labels.lines, top, bottom)
        # An upper bound of the total: no pixel of the mask weighs more than the heaviest column times row.
        heaviest = int(np.diff(across.mask_below).max()) * int(np.diff(down.mask_below).max())
        if runs.pixels * heaviest >= 2**63:
            raise ForegroundError(
                f"class {value} has {runs.pixels} px: too many to weigh windows of {width} x {height} px exactly "
                f"(limit 2^63); draw at a coarser level"
            )
        below = np.cumsum(block_weights(runs, across.mask_below, down.mask_below))
        return cls(labels, value, across, down, int(below[-1]), below)

    @cached_property
    def below_view(self) -> memoryview:
        """`_below` as a memoryview; no pickle holds it."""
        return self._below.data

    def draw(self, rank: int) -> tuple[int, int]:
        """Return the origin (x, y) of the window of a rank in 0..total-1."""
        runs = self.labels.runs[self.value]
        blocks_below = self.below_view
        number = bisect_right(blocks_below, rank)
        if number:
            rank -= blocks_below[number - 1]
        x, y = runs.corner(number)
        rows, starts, lasts = runs.block(number)
        columns = self.across.mask_below[x : x + STRIP + 1]
        lines = self.down.mask_below[y : y + BLOCK + 1]
        heights = lines[1:] - lines[:-1]
        below = ((columns[1:].take(lasts) - columns.take(starts)) * heights.take(rows)).cumsum()
        run = int(below.searchsorted(rank, side="right"))
        if run:
            rank -= int(below[run - 1])
        row = int(rows[run])
        column, line = divmod(rank, int(heights[row]))
        return self.across.origin(int(columns[starts[run]]) + column), self.down.origin(int(lines[row]) + line)

    def probability(self, x: int, y: int) -> float:
        """Return the probability of the window with that origin."""
        return self.labels.count(self.value, x, y, self.across.size, self.down.size) / self.total
