"""Boundary F1 by class, streamed by bands: how much of each boundary lies near that of the other map.

Definition, after Csurka, Larlus and Perronnin (What is a good evaluation measure for semantic segmentation?, BMVC
2013): a boundary pixel of a class is one of its pixels that has a pixel of another class above, below, left or right.
Precision is the share of boundary pixels of the prediction that lie within the tolerance of a boundary pixel of the
labels, recall the share of boundary pixels of the labels within the tolerance of one of the prediction. Distances are
between centres of pixels, in micrometres; a distance equal to the tolerance is within. Pixels without label belong to
neither map, and neither they nor the slide's edge make a boundary.
"""

from __future__ import annotations

import math

import numpy as np

from patchaug.core.arrays import Array

_PIXELS = 2**22  # that are worked on at once
_TIE = 1 + 1e-9  # of squared distances: those that equal the tolerance but for rounding


class BoundaryCounter:
    """Counts the boundary pixels of two maps that lie near each other.

    Args:
        classes: Number of classes.
        tolerance: Largest distance, in the unit of `pixel`.
        pixel: Size of a pixel, (x, y), such as micrometres.

    Attributes:
        counts: int64 (classes, 4): boundary pixels of the prediction, those of them near the labels', boundary pixels
            of the labels, those of them near the prediction's; complete after `end`.

    Examples:
        >>> from patchaug.predict.boundary import BoundaryCounter
        >>> truth, predicted = np.zeros((2, 6, 8), np.uint8)
        >>> truth[:, 4:], predicted[:, 6:] = 1, 1
        >>> counter = BoundaryCounter(2, tolerance=2.0, pixel=(1.0, 1.0))
        >>> counter.add(truth, predicted)
        >>> counter.end()
        >>> counter.counts.tolist()
        [[6, 6, 6, 6], [6, 6, 6, 6]]
    """

    def __init__(self, classes: int, tolerance: float, pixel: tuple[float, float]) -> None:
        self.counts = np.zeros((classes, 4), np.int64)
        self._reach = _half_widths(tolerance, pixel)
        self._rows = max(self._reach)  # rows above and below that matter
        self._maps: tuple[Array, Array] | None = None  # rows that are not done, and those above them that matter
        self._done = 0  # of them

    def add(self, truth: Array, predicted: Array, ignore_index: int | None = None) -> None:
        """Add the next rows, from the top down.

        Args:
            truth: Class numbers of the mask, integer (rows, width).
            predicted: Class numbers of the map, the same shape.
            ignore_index: Number in the mask of pixels without label.
        """
        unlabelled = np.zeros(truth.shape, bool) if ignore_index is None else truth == ignore_index
        new = [np.where(unlabelled, np.int32(-1), values.astype(np.int32)) for values in (truth, predicted)]
        if self._maps is not None:
            new = [np.concatenate(pair) for pair in zip(self._maps, new, strict=True)]
        self._maps = (new[0], new[1])
        self._process(len(new[0]) - self._rows - 1)

    def end(self) -> None:
        """Count what is left; no rows follow."""
        if self._maps is not None:
            self._process(len(self._maps[0]))

    def _process(self, end: int) -> None:
        assert self._maps is not None
        truth, predicted = self._maps
        step = max(1, _PIXELS // truth.shape[1])
        for first in range(self._done, end, step):
            last = min(first + step, end)
            top = max(first - self._rows - 1, 0)
            part = np.s_[top : last + self._rows + 1]
            self._count(truth[part], predicted[part], first - top, last - top)
        self._done = max(end, self._done)
        drop = max(self._done - self._rows - 1, 0)
        self._maps = (truth[drop:].copy(), predicted[drop:].copy())
        self._done -= drop

    def _count(self, truth: Array, predicted: Array, first: int, last: int) -> None:
        """Count the rows `first` to `last`; the others are their neighbours."""
        edges = [_edges(values) for values in (predicted, truth)]
        for number in range(len(self.counts)):
            ours, theirs = ((edge & (values == number)) for edge, values in zip(edges, (predicted, truth), strict=True))
            self.counts[number, :2] += self._near(ours, theirs, first, last)
            self.counts[number, 2:] += self._near(theirs, ours, first, last)

    def _near(self, points: Array, others: Array, first: int, last: int) -> tuple[int, int]:
        """Return the number of points in some rows, and of those that have one of the others near."""
        rows, columns = np.nonzero(points[first:last])
        rows += first
        count, near = len(rows), 0
        if not count or not others.any():
            return count, 0
        width = others.shape[1]
        sums = np.zeros((len(others), width + 1), np.int32)
        np.cumsum(others, axis=1, out=sums[:, 1:])
        for offset, half in self._reach.items():
            for row in (offset, -offset)[: 1 + (offset > 0)]:
                at = rows + row
                inside = (at >= 0) & (at < len(others))
                at, left, right = at[inside], columns[inside] - half, columns[inside] + half + 1
                found = inside
                found[inside] = sums[at, np.minimum(right, width)] > sums[at, np.maximum(left, 0)]
                near += int(found.sum())
                rows, columns = rows[~found], columns[~found]
                if not len(rows):
                    return count, near
        return count, near


def _edges(values: Array) -> Array:
    """Return where a pixel has one of another class beside it; -1 is no class."""
    edge = np.zeros(values.shape, bool)
    for axis in (0, 1):
        one = values[:, :-1] if axis else values[:-1]
        other = values[:, 1:] if axis else values[1:]
        differ = (one != other) & (one >= 0) & (other >= 0)
        if axis:
            edge[:, :-1] |= differ
            edge[:, 1:] |= differ
        else:
            edge[:-1] |= differ
            edge[1:] |= differ
    return edge


def _half_widths(tolerance: float, pixel: tuple[float, float]) -> dict[int, int]:
    """Return for each distance in rows, from 0 on, the largest distance in columns that is within the tolerance."""
    limit = tolerance**2 * _TIE
    widths = {}
    for row in range(int(tolerance / pixel[1] * _TIE) + 1):
        rest = limit - (row * pixel[1]) ** 2
        if rest < 0:
            break
        widths[row] = int(math.sqrt(rest) / pixel[0])
    return widths
