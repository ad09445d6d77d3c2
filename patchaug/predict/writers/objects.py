"""Objects of a map, with their outlines where they are asked for, as soon as each is complete.

An object is a 4-connected component of one class: pixels that touch only at a corner belong to different objects. So
each object is one polygon that is valid for shapely and OGC, and the objects of GeoJSON and CSV are the same.
Their order follows from the map alone: by last row, then by the first pixel in reading order.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from patchaug.core.arrays import Array
from patchaug.predict.writers.components import ComponentStream, Step, Sums
from patchaug.predict.writers.outlines import OutlineStream, areas_of, simple_rings

_PIXELS = 2**21  # that are looked at together


class Objects(NamedTuple):
    """Objects that are complete.

    Attributes:
        classes: Class number of each object.
        sums: See `Sums`.
        rings: For each object its outer ring and its holes, integers (points, 2) of (x, y); None unless asked for.
    """

    classes: Array
    sums: Sums
    rings: list[list[Array]] | None


class ObjectStream:
    """Finds objects in bands that come from the top down.

    Args:
        width: Columns of the map.
        left_out: Numbers that are no objects.
        classes: Number of classes.
        outlines: Whether outlines are traced.
    """

    def __init__(self, width: int, left_out: set[int], classes: int, *, outlines: bool) -> None:
        numbers = max(classes, *(number + 1 for number in left_out), 1)
        codes = np.arange(1, numbers + 1, dtype=np.min_scalar_type(numbers))
        codes[sorted(left_out)] = 0
        self._codes, self._width = codes, width
        self._row = np.zeros((1, width), codes.dtype)  # the row before
        self._components = ComponentStream(width)
        self._outlines = OutlineStream(width) if outlines else None
        self._rings: dict[int, list[Array]] = {}  # closed rings of carried components

    def feed(self, classes: Array, weights: Array | None = None) -> Iterator[Objects]:
        """Take the next band, and yield what is complete.

        Args:
            classes: Class numbers (rows, width).
            weights: Integers of the same shape that are added up over each object, or None.
        """
        step = max(1, _PIXELS // self._width)
        for top in range(0, len(classes), step):
            codes = self._codes[classes[top : top + step]]
            yield self._next(codes, None if weights is None else weights[top : top + step])

    def finish(self) -> Iterator[Objects]:
        """Yield the objects that reach the last row."""
        yield self._next(np.zeros((1, self._width), self._codes.dtype), None)

    def _next(self, codes: Array, weights: Array | None) -> Objects:
        picture = np.concatenate([self._row, codes])
        self._row = codes[-1:].copy()
        step = self._components.feed(picture, weights)
        rings = None if self._outlines is None else self._polygons(picture, step, self._outlines)
        sums = step.sums.of(step.finished)
        return Objects(sums.code - 1, sums, rings)

    def _polygons(self, picture: Array, step: Step, outlines: OutlineStream) -> list[list[Array]]:
        """Return the rings of each finished component, and keep those of the others."""
        closed: dict[int, list[Array]] = {}
        for old, rings in self._rings.items():
            closed.setdefault(int(step.carried_from[old]), []).extend(rings)
        traced = outlines.feed(picture)
        found, of_ring = simple_rings(traced)
        owners = step.component_of(traced.pixels)[of_ring]
        for owner, ring in zip(owners.tolist(), found, strict=True):
            closed.setdefault(owner, []).append(ring)
        polygons = [_ordered(closed.pop(number)) for number in step.finished.tolist()]
        for rings in closed.values():  # a view would keep the points of all rings of these rows in memory
            rings[:] = [ring if ring.base is None else ring.astype(np.int32) for ring in rings]
        self._rings = {k: closed[number] for k, number in enumerate(step.carried.tolist()) if number in closed}
        return polygons


def _ordered(rings: list[Array]) -> list[Array]:
    """Return the outer ring, then the holes by their first points."""
    if len(rings) == 1:
        return rings
    holes = areas_of(rings) < 0
    places = [(bool(hole), int(ring[0, 1]), int(ring[0, 0])) for hole, ring in zip(holes, rings, strict=True)]
    return [rings[k] for k in sorted(range(len(rings)), key=places.__getitem__)]
