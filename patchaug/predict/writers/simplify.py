"""Outlines with fewer points, within a stated distance of the exact ones."""

from __future__ import annotations

import numpy as np

from patchaug.core.arrays import Array
from patchaug.readers.annotations.features import shapely_module


def simplified(polygons: list[list[Array]], tolerance: Array) -> list[list[Array]]:
    """Simplify polygons by Douglas and Peucker: no point of an outline is farther from its line than the tolerance.

    GEOS finds the lines, so that outlines cross neither themselves nor their holes. It may drop the point that a ring
    begins with, and then moves the outline by more; so each point is measured, and those that are too far come back.
    A polygon that is invalid with them stays as it was.

    Args:
        polygons: Rings of each polygon, int64 (points, 2), without points that come twice.
        tolerance: Pixels, (x, y).

    Returns:
        The rings, with some of their points.

    Examples:
        >>> from patchaug.predict.writers.simplify import simplified
        >>> notched = np.array([[0, 0], [4, 0], [4, 1], [5, 1], [5, 0], [9, 0], [9, 9], [0, 9]])
        >>> simplified([[notched]], np.array([1.5, 1.5]))[0][0].tolist()
        [[0, 0], [9, 0], [9, 9], [0, 9]]
    """
    shapely = shapely_module()
    scaled = [[ring / tolerance for ring in rings] for rings in polygons]
    shapes = np.array([shapely.Polygon(outer, holes) for outer, *holes in scaled])
    found = []
    for rings, scaled_rings, shape in zip(
        polygons, scaled, shapely.simplify(shapes, 1.0, preserve_topology=True), strict=True
    ):
        kept = [np.asarray(ring.coords)[:-1] * tolerance for ring in (shape.exterior, *shape.interiors)]
        found.append([
            ring[_near_enough(one, _places(ring, np.round(points).astype(np.int64)))]
            for ring, one, points in zip(rings, scaled_rings, kept, strict=True)
        ])  # fmt: skip
    sound = shapely.is_valid(np.array([shapely.Polygon(outer, holes) for outer, *holes in found]))
    return [new if valid else old for new, old, valid in zip(found, polygons, sound.tolist(), strict=True)]


def _places(ring: Array, points: Array) -> Array:
    """Return the indices of some points of a ring, rising."""
    low, wide = ring.min(0), int(np.ptp(ring[:, 0])) + 1
    keys, wanted = ((p[:, 1] - low[1]) * wide + p[:, 0] - low[0] for p in (ring, points))
    order = np.argsort(keys)
    return np.sort(order[np.searchsorted(keys, wanted, sorter=order)])


def _near_enough(ring: Array, kept: Array) -> Array:
    """Add points to those that are kept, until all others are within a distance of 1 of their line.

    Args:
        ring: float64 (points, 2).
        kept: Indices of the points that are kept, rising.

    Returns:
        Indices, rising.
    """
    while True:
        line = np.searchsorted(kept, np.arange(len(ring)), side="right") - 1
        start, end = ring[kept[line]], ring[np.roll(kept, -1)[line]]
        along, to = end - start, ring - start
        length = (along**2).sum(1)
        at = np.clip((to * along).sum(1) / np.where(length, length, 1), 0, 1)
        far = np.hypot(*(to - at[:, None] * along).T)
        farthest = np.zeros(len(kept))
        np.maximum.at(farthest, line, far)
        missing = np.flatnonzero((far > 1 + 1e-12) & (far == farthest[line]))
        if not len(missing):
            return kept
        kept = np.union1d(kept, missing)
