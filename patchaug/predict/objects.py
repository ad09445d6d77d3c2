"""Objects found, streamed by bands: connected pixels of a class in labels and prediction, matched by overlap.

An object is a set of pixels of one class that are connected by their sides, as in the files of predictions. A labelled
object and a predicted one match where their intersection over union is above 0.5; then no other object can match either
of them (Kirillov et al., Panoptic segmentation, CVPR 2019). Pixels without label belong to no object.
"""

from __future__ import annotations

import numpy as np

from patchaug.core.arrays import Array

_PIXELS = 2**22  # that are worked on at once


class ObjectCounter:
    """Counts the objects of one class, and those that match.

    Args:
        number: The class.

    Examples:
        >>> from patchaug.predict.objects import ObjectCounter
        >>> truth, predicted = np.array([[0, 1, 1, 1, 0, 1]]), np.array([[0, 1, 1, 0, 0, 0]])
        >>> counter = ObjectCounter(1)
        >>> counter.add(truth, predicted)
        >>> [round(value, 3) for value in counter.counts().tolist()]
        [2.0, 1.0, 1.0, 0.667]
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self._truth, self._predicted = _Components(), _Components()
        self._pairs: list[Array] = []  # (labelled component, predicted one, pixels in both), int64 (n, 3)

    def add(self, truth: Array, predicted: Array, ignore_index: int | None = None) -> None:
        """Add the next rows, from the top down.

        Args:
            truth: Class numbers of the mask, integer (rows, width).
            predicted: Class numbers of the map, the same shape.
            ignore_index: Number in the mask of pixels without label.
        """
        step = max(1, _PIXELS // truth.shape[1])
        for top in range(0, len(truth), step):
            labels, guess = truth[top : top + step], predicted[top : top + step]
            ours, theirs = labels == self.number, guess == self.number
            if ignore_index is not None:
                ours, theirs = ours & (labels != ignore_index), theirs & (labels != ignore_index)
            first, second = self._truth.add(ours), self._predicted.add(theirs)
            both = ours & theirs
            if both.any():
                one, other = (
                    _spread(components, mask)[both.ravel()]
                    for components, mask in ((first, ours), (second, theirs))
                )  # fmt: skip
                self._pairs.append(_counted(one, other, np.ones(len(one), np.int64)))

    def counts(self) -> Array:
        """Return labelled objects, predicted ones, matched pairs, and the sum of their IoU; float64 (4,)."""
        truth, truth_areas = self._truth.resolved()
        guess, guess_areas = self._predicted.resolved()
        result = np.array([(truth_areas > 0).sum(), (guess_areas > 0).sum(), 0, 0], np.float64)
        if self._pairs:
            pairs = np.concatenate(self._pairs)
            one, other, both = _counted(truth[pairs[:, 0]], guess[pairs[:, 1]], pairs[:, 2]).T
            union = truth_areas[one] + guess_areas[other] - both
            match = 2 * both > union
            result[2:] = match.sum(), (both[match] / union[match]).sum()
        return result


def label_objects(mask: Array) -> Array:
    """Number the objects of a mask.

    Args:
        mask: bool (height, width).

    Returns:
        int64 (height, width): 1, 2, ... on the objects, 0 outside.

    Examples:
        >>> from patchaug.predict.objects import label_objects
        >>> label_objects(np.array([[True, False, True], [True, False, False]])).tolist()
        [[1, 0, 2], [1, 0, 0]]
    """
    numbers, lengths = _Components().add(mask)
    return _spread((numbers + 1, lengths), mask).reshape(mask.shape)


class _Components:
    """Connected components of a mask that comes by rows; they are joined where rows meet."""

    def __init__(self) -> None:
        self._areas: list[Array] = []
        self._joined: list[Array] = []  # pairs of components that are one, int64 (n, 2)
        self._last: tuple[Array, Array, Array] | None = None  # starts, ends and components of the runs of the last row
        self._count = 0

    def add(self, mask: Array) -> tuple[Array, Array]:
        """Add rows.

        Args:
            mask: bool (rows, width).

        Returns:
            Component of each run of the rows, in reading order, and the lengths of the runs; int64 (runs,).
        """
        rows, starts, ends = _runs(mask)
        parents = _joined(len(rows), _neighbours(rows, starts, ends))
        roots, numbers = np.unique(parents, return_inverse=True)
        components = self._count + numbers.reshape(-1)
        self._count += len(roots)
        lengths = ends - starts
        self._areas.append(np.bincount(numbers.reshape(-1), lengths, len(roots)).astype(np.int64))
        if self._last is not None:
            before, top = self._last, rows == 0
            both = [
                np.concatenate(pair) for pair in zip(before, (starts[top], ends[top], components[top]), strict=True)
            ]
            row = np.repeat([0, 1], [len(before[0]), int(top.sum())])
            edges = _neighbours(row, both[0], both[1])
            self._joined.append(both[2][edges])
        last = rows == len(mask) - 1
        self._last = (starts[last], ends[last], components[last])
        return components, lengths

    def resolved(self) -> tuple[Array, Array]:
        """Return the object of each component, and the area of each object at its own number; int64 (components,)."""
        edges = np.concatenate([np.zeros((0, 2), np.int64), *self._joined])
        objects = _joined(self._count, edges)
        areas = np.concatenate([np.zeros(0, np.int64), *self._areas])
        return objects, np.bincount(objects, areas, self._count).astype(np.int64)


def _runs(mask: Array) -> tuple[Array, Array, Array]:
    """Return row, first column and end of each run of true pixels, in reading order."""
    padded = np.zeros((len(mask), mask.shape[1] + 2), np.int8)
    padded[:, 1:-1] = mask
    change = np.diff(padded, axis=1)
    rows, starts = np.nonzero(change == 1)
    return rows, starts, np.nonzero(change == -1)[1]


def _neighbours(rows: Array, starts: Array, ends: Array) -> Array:
    """Return the pairs of runs in adjacent rows that touch by sides; int64 (n, 2)."""
    if not len(rows):
        return np.zeros((0, 2), np.int64)
    wide = int(ends.max()) + 2
    # In the next row: from the first run that ends after our start, to the last that starts before our end.
    low = np.searchsorted(rows * wide + ends, (rows + 1) * wide + starts, side="right")
    high = np.searchsorted(rows * wide + starts, (rows + 1) * wide + ends, side="left")
    counts = np.maximum(high - low, 0)
    ours = np.repeat(np.arange(len(rows)), counts)
    theirs = np.arange(len(ours)) - np.repeat(np.cumsum(counts) - counts, counts) + np.repeat(low, counts)
    return np.stack([ours, theirs], axis=1)


def _joined(count: int, edges: Array) -> Array:
    """Return the smallest number that each of 0 to count - 1 is connected to; int64 (count,)."""
    parents = np.arange(count)
    while len(edges):
        roots = np.sort(parents[edges], axis=1)
        open_ = roots[:, 0] != roots[:, 1]
        edges, roots = edges[open_], roots[open_]
        np.minimum.at(parents, roots[:, 1], roots[:, 0])
        while not np.array_equal(shorter := parents[parents], parents):
            parents = shorter
    return parents


def _spread(runs: tuple[Array, Array], mask: Array) -> Array:
    """Return the component of each pixel of a mask, in reading order; 0 outside."""
    pixels = np.zeros(mask.size, np.int64)
    pixels[mask.ravel()] = np.repeat(*runs)
    return pixels


def _counted(one: Array, other: Array, pixels: Array) -> Array:
    """Sum pixels by pair; int64 (pairs, 3)."""
    most = int(other.max()) + 1
    keys, where = np.unique(one * most + other, return_inverse=True)
    return np.stack([keys // most, keys % most, np.bincount(where.reshape(-1), pixels).astype(np.int64)], axis=1)
