"""Objects of a map, from rows that come once: 4-connected components of equal class, in memory of one row of them.

Rows are cut into runs of equal class. Runs of neighbouring rows belong together where they share a column. What
reaches the last row is carried to the next rows with its sums; everything else is finished.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from patchaug.core.arrays import Array


class Sums(NamedTuple):
    """Sums over the pixels of each component; all int64 (components,).

    Attributes:
        code: Class of the component.
        area: Number of its pixels.
        x: Sum of their columns.
        y: Sum of their rows.
        weight: Sum of their weights.
        first: Number of the first pixel in reading order: row * width + column.
        bottom: Last row.
    """

    code: Array
    area: Array
    x: Array
    y: Array
    weight: Array
    first: Array
    bottom: Array

    def of(self, numbers: Array) -> Sums:
        """Return the sums of some components."""
        return Sums(*(values[numbers] for values in self))


class Step(NamedTuple):
    """What rows have changed. Components are numbered anew in each step.

    Attributes:
        sums: Sums of all components so far that these rows touch, or that ended just above them.
        finished: Numbers of the components that are complete; by last row, then by first pixel.
        carried_from: For each carried component of the step before, its number in this one.
        carried: Numbers of the components that are carried to the next step, in their order there.
        starts: First pixel of each run, in a picture of the row before these rows and these rows; int64.
        of_run: Component of each run.
    """

    sums: Sums
    finished: Array
    carried_from: Array
    carried: Array
    starts: Array
    of_run: Array

    def component_of(self, pixels: Array) -> Array:
        """Return the components of pixels of that picture, given by row * width + column; none of class 0."""
        found: Array = self.of_run[np.searchsorted(self.starts, pixels, side="right") - 1]
        return found


class ComponentStream:
    """Finds components of equal class in rows that come from the top down.

    Args:
        width: Columns of the map.
    """

    def __init__(self, width: int) -> None:
        self._width, self._top = width, 0
        self._carried = Sums(*(np.zeros(0, np.int64) for _ in Sums._fields))
        self._last = np.zeros(0, np.int64)  # carried component of each run of the row before

    def feed(self, picture: Array, weights: Array | None = None) -> Step:
        """Take the next rows.

        Args:
            picture: Classes (1 + rows, width), behind the row before them (class 0 at first); class 0 is no object.
            weights: Integers (rows, width), or None.
        """
        width = self._width
        starts, stops, codes = _runs(picture)
        runs = len(starts)
        above, below = _neighbours(starts, stops, codes, width)
        before = int(np.searchsorted(starts, width))  # runs of the row before
        links = np.arange(before), runs + self._last
        first = _roots(runs + len(self._carried.area), np.append(above, links[0]), np.append(below, links[1]))
        _, numbers = np.unique(first, return_inverse=True)
        of_run, carried_from = numbers[:runs], numbers[runs:]
        sums = self._sums(int(numbers.max(initial=-1)) + 1, picture, weights, starts, stops, codes, numbers)
        in_last = of_run[np.searchsorted(starts, (len(picture) - 1) * width) :]
        carried, self._last = np.unique(in_last, return_inverse=True)
        done = np.setdiff1d(np.arange(len(sums.area)), carried, assume_unique=True)
        done = done[np.lexsort((sums.first[done], sums.bottom[done]))]
        self._carried = sums.of(carried)
        self._top += len(picture) - 1
        return Step(sums, done, carried_from, carried, starts, of_run)

    def _sums(
        self, count: int, picture: Array, weights: Array | None, starts: Array, stops: Array, codes: Array,
        numbers: Array,
    ) -> Sums:  # fmt: skip
        """Add the runs of new rows to what was carried."""
        width, carried, runs = self._width, self._carried, len(starts)
        new = starts >= width  # the row before is among the carried sums
        length = np.where(new, stops - starts, 0)
        row, column = self._top - 1 + starts // width, starts % width
        weight = np.zeros(runs, np.int64)
        if weights is not None and new.any():
            flat = np.append(np.cumsum(weights, dtype=np.int64), 0)  # flat[-1] is the sum before the first pixel
            weight[new] = flat[stops[new] - width - 1] - flat[starts[new] - width - 1]
        by_run = (length, length * (2 * column + length - 1) // 2, length * row, weight)
        area, x, y, summed = (
            _totals(np.append(values, old), numbers, count)
            for values, old in zip(by_run, (carried.area, carried.x, carried.y, carried.weight), strict=True)
        )
        first, bottom, code = np.full(count, 2**62), np.zeros(count, np.int64), np.zeros(count, np.int64)
        np.minimum.at(first, numbers, np.append(np.where(new, row * width + column, 2**62), carried.first))
        np.maximum.at(bottom, numbers, np.append(row, carried.bottom))
        code[numbers] = np.append(codes, carried.code)
        return Sums(code, area, x, y, summed, first, bottom)


def _runs(picture: Array) -> tuple[Array, Array, Array]:
    """Return the first pixel of each run of one class, the pixel after its last, and its class; none of class 0."""
    flat = picture.reshape(-1)
    changes = np.empty(flat.size, bool)
    np.not_equal(flat[1:], flat[:-1], out=changes[1:])
    changes[:: picture.shape[1]] = True
    starts = np.flatnonzero(changes)
    stops, codes = np.append(starts[1:], flat.size), flat[starts]
    kept = codes > 0
    return starts[kept], stops[kept], codes[kept].astype(np.int64)


def _neighbours(starts: Array, stops: Array, codes: Array, width: int) -> tuple[Array, Array]:
    """Return pairs of runs of one class that share a column in neighbouring rows: the upper ones and the lower ones."""
    first = np.searchsorted(stops, starts + width, side="right")
    counts = np.searchsorted(starts, stops + width, side="left") - first
    upper = np.repeat(np.arange(len(starts)), counts)
    lower = np.arange(len(upper)) + np.repeat(first - (np.cumsum(counts) - counts), counts)
    same = codes[upper] == codes[lower]
    return upper[same], lower[same]


def _roots(count: int, one: Array, other: Array) -> Array:
    """Return for each of `count` nodes the smallest node that pairs of nodes connect it to."""
    roots = np.arange(count)
    while len(one):
        a, b = roots[one], roots[other]
        apart = a != b
        one, other, a, b = one[apart], other[apart], a[apart], b[apart]
        np.minimum.at(roots, np.maximum(a, b), np.minimum(a, b))
        while True:  # until each node points at its root
            next_roots = roots[roots]
            if np.array_equal(next_roots, roots):
                break
            roots = next_roots
    return roots


def _totals(values: Array, numbers: Array, count: int) -> Array:
    """Add up integers by number, exactly below 2^53."""
    return np.bincount(numbers, values, count).astype(np.int64)
