"""Outlines of objects, exactly along the edges of pixels, from rows that come once.

An outline turns at a vertex of the pixel grid where, of the four pixels around it, one belongs to the object, or all
but one. Each corner is found at its own pixel: outlines go right above the object, down on its right side, left below
it and up on its left side, so each corner is entered and left by one horizontal and one vertical line. Along a row of
vertices lines begin and end in turns, so the n-th beginning belongs to the n-th end; the same holds along columns.

What leaves the last row is an open chain, with its first corner below one column and its last corner below another.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from patchaug.core.arrays import Array

_NW, _NE, _SW, _SE = range(4)


class Rings(NamedTuple):
    """Outlines that are closed.

    Attributes:
        points: int64 (points, 2) of (x, y), vertices of the pixel grid.
        firsts: First point of each ring, and the number of points; int64 (rings + 1,).
        pixels: A pixel of the object beside each ring, row * width + column in the picture that was fed.
    """

    points: Array
    firsts: Array
    pixels: Array


class OutlineStream:
    """Traces the outlines of areas of equal class in rows that come from the top down.

    Pixels that touch only at a corner are apart, so a ring may touch itself; `simple_rings` cuts it there.

    Args:
        width: Columns of the map.
    """

    def __init__(self, width: int) -> None:
        self._width, self._top = width, 0
        self._chains: list[_Chain] = []
        empty = np.zeros(0, np.int64)
        self._up = self._down = (empty, empty)  # columns of open lines, and the chains that they belong to

    def feed(self, picture: Array) -> Rings:
        """Take the next rows, (1 + rows, width) behind the row before them; class 0 has no outline."""
        corners = _Corners(picture, self._top)
        slots = 4 * len(corners.points)
        following = np.full(slots + len(self._chains), -1, np.int64)
        following[corners.slots(_SE, _SW)] = corners.slots(_SW, _SE)  # lines to the right, above an object
        following[corners.slots(_NW, _NE)] = corners.slots(_NE, _NW)  # lines to the left, below it
        last = np.concatenate([[0], picture[-1], [0]])
        changes = last[1:] != last[:-1]
        up, down = np.flatnonzero(changes & (last[1:] > 0)), np.flatnonzero(changes & (last[:-1] > 0))
        tops, bottoms, heads = corners.match((_SE, _NE), (_NE, _SE), (self._up[0], slots + self._up[1]), up)
        following[bottoms] = tops
        tops, bottoms, tails = corners.match((_SW, _NW), (_NW, _SW), (self._down[0], slots + self._down[1]), down)
        following[tops] = bottoms
        order, firsts = _walk(following, heads, corners.taken())
        rings = self._rings(corners, order, firsts[len(heads) :])
        self._keep(corners, order, firsts[: len(heads) + 1], tails)
        self._up, self._down = (up, np.arange(len(up))), (down, self._chain_of(order, firsts, tails))
        self._top += len(picture) - 1
        return rings

    def _rings(self, corners: _Corners, order: Array, firsts: Array) -> Rings:
        """Return the closed rings, with the points of chains in their places."""
        nodes, slots = order[firsts[0] :], 4 * len(corners.points)
        lengths = np.ones(len(nodes), np.int64)
        chains = np.flatnonzero(nodes >= slots)
        inside = [self._chains[node - slots] for node in nodes[chains]]
        lengths[chains] = [chain.length for chain in inside]
        ends = np.cumsum(lengths)
        points = np.empty((int(lengths.sum()), 2), np.int64)
        single = nodes < slots
        points[(ends - lengths)[single]] = corners.points[nodes[single] // 4]
        for chain, end in zip(inside, ends[chains].tolist(), strict=True):
            chain.copy_to(points[end - chain.length : end])
        starts = np.append(ends - lengths, len(points))[firsts - firsts[0]]
        return Rings(points, starts, corners.pixels(order[firsts[:-1]]))

    def _keep(self, corners: _Corners, order: Array, firsts: Array, tails: Array) -> None:
        """Keep the open chains: new corners, and earlier chains between them."""
        slots, kept = 4 * len(corners.points), []
        for first, end in zip(firsts.tolist(), firsts[1:].tolist(), strict=False):
            nodes = order[first:end]
            chains = np.flatnonzero(nodes >= slots)
            if len(nodes) == 1 and len(chains):
                kept.append(self._chains[nodes[0] - slots])
                continue
            chain = _Chain()
            for part in np.split(nodes, np.union1d(chains, chains + 1)):
                if len(part) == 1 and part[0] >= slots:
                    chain.add(self._chains[part[0] - slots])
                elif len(part):
                    chain.add(corners.points[part // 4])
            kept.append(chain)
        self._chains = kept

    def _chain_of(self, order: Array, firsts: Array, tails: Array) -> Array:
        """Return the number of the chain that ends in each node."""
        last = order[firsts[1 : len(tails) + 1] - 1]
        by_node = np.argsort(last)
        found: Array = by_node[np.searchsorted(last, tails, sorter=by_node)]
        return found


class _Chain:
    """Points of an open outline: arrays and shorter chains, in order."""

    def __init__(self) -> None:
        self._parts: list[Array | _Chain] = []
        self.length = 0

    def add(self, part: Array | _Chain) -> None:
        self._parts.append(part)
        self.length += len(part) if isinstance(part, np.ndarray) else part.length

    def copy_to(self, out: Array) -> None:
        """Write all points to an array."""
        end, waiting = self.length, list(self._parts)
        while waiting:
            part = waiting.pop()
            if isinstance(part, np.ndarray):
                out[end - len(part) : end] = part
                end -= len(part)
            else:
                waiting += part._parts


class _Corners:
    """Corners of all areas: at most one for each of the four pixels around a vertex; its slot is 4 * vertex + pixel."""

    def __init__(self, picture: Array, top: int) -> None:
        padded = np.pad(picture, ((0, 0), (1, 1)))
        across, down = padded[:, 1:] != padded[:, :-1], padded[1:] != padded[:-1]
        at = np.flatnonzero((across[1:] | across[:-1]) & (down[:, 1:] | down[:, :-1]))
        self._width = picture.shape[1]
        row, column = np.divmod(at, self._width + 1)
        self.points = np.stack([column, top + row], axis=1)
        self._corner = row * self._width + column - 1  # pixel at the upper left, in the picture
        flat = padded.reshape(-1)
        first = row * padded.shape[1] + column
        pixels = [flat[first + step] for step in (0, 1, padded.shape[1], padded.shape[1] + 1)]
        self._convex, self._concave = [], []
        for place, pixel in enumerate(pixels):
            beside, over, opposite = pixels[place ^ 1], pixels[place ^ 2], pixels[place ^ 3]
            same_beside, same_over, taken = pixel == beside, pixel == over, pixel > 0
            self._convex.append(taken & ~same_beside & ~same_over)
            self._concave.append(taken & same_beside & same_over & (pixel != opposite))

    def slots(self, convex: int, concave: int) -> Array:
        """Return the slots of the corners of two kinds, in reading order; no vertex has both."""
        at = np.flatnonzero(self._convex[convex] | self._concave[concave])
        return 4 * at + np.where(self._convex[convex][at], convex, concave)

    def taken(self) -> Array:
        """Return the slots of all corners, in order."""
        return np.flatnonzero(np.stack([a | b for a, b in zip(self._convex, self._concave, strict=True)], axis=1))

    def pixels(self, slots: Array) -> Array:
        """Return the pixel of each corner, row * width + column in the picture."""
        vertex, place = np.divmod(slots, 4)
        found: Array = self._corner[vertex] + place % 2 + place // 2 * self._width
        return found

    def match(
        self, tops: tuple[int, int], bottoms: tuple[int, int], waiting: tuple[Array, Array], open_columns: Array
    ) -> tuple[Array, Array, Array]:
        """Return upper and lower ends of vertical lines, and the upper ends of those that go on below the rows.

        Args:
            tops: Kinds of the upper ends.
            bottoms: Kinds of the lower ends.
            waiting: Columns of lines that come from above, and their upper ends.
            open_columns: Columns of lines that go on, rising.
        """
        upper, lower = self.slots(*tops), self.slots(*bottoms)
        columns = np.append(waiting[0], self.points[upper // 4, 0])
        upper = np.append(waiting[1], upper)[np.argsort(columns, kind="stable")]
        columns = np.append(self.points[lower // 4, 0], open_columns)
        lower = np.append(lower, np.full(len(open_columns), -1))[np.argsort(columns, kind="stable")]
        ends = lower >= 0
        return upper[ends], lower[ends], upper[~ends]


def _walk(following: Array, heads: Array, corners: Array) -> tuple[Array, Array]:
    """Follow the open chains from their heads, then all rings from their first corners.

    Returns:
        The nodes in order, and the first of each chain and ring, and the number of nodes.
    """
    after: list[int] = following.tolist()
    order: list[int] = []
    firsts = [0]
    for start in heads.tolist():
        node = start
        while node >= 0:
            order.append(node)
            after[node], node = -2, after[node]
        firsts.append(len(order))
    for start in corners.tolist():
        node = start
        while after[node] != -2:
            order.append(node)
            after[node], node = -2, after[node]
        if firsts[-1] < len(order):
            firsts.append(len(order))
    return np.array(order, np.int64), np.array(firsts, np.int64)


def simple_rings(rings: Rings) -> tuple[list[Array], Array]:
    """Cut rings where they touch themselves, so that each part is simple.

    Returns:
        The rings, int64 (points, 2), each from its uppermost, then leftmost point; and for each the number of the ring
        that it is a part of.
    """
    if not len(rings.pixels):
        return [], np.zeros(0, np.int64)
    points, of_ring = rings.points, np.repeat(np.arange(len(rings.pixels)), np.diff(rings.firsts))
    low = points.min(0)
    wide, high = (points.max(0) - low + 1).tolist()
    places = (points[:, 1] - low[1]) * wide + points[:, 0] - low[0]
    keys = np.sort(of_ring * (wide * high) + places)
    touching = set((keys[1:][keys[1:] == keys[:-1]] // (wide * high)).tolist())
    found: list[Array] = []
    numbers: list[int] = []
    for number, ring in enumerate(np.split(points, rings.firsts[1:-1])):
        parts = _cut(ring) if number in touching else [ring]
        found += parts
        numbers += [number] * len(parts)
    firsts = np.cumsum([0, *map(len, found)])
    joined = np.concatenate(found)
    keys = (joined[:, 1] - low[1]) * wide + joined[:, 0] - low[0]
    starts = np.minimum.reduceat(keys, firsts[:-1])
    at = np.flatnonzero(keys == np.repeat(starts, np.diff(firsts))) - firsts[:-1]
    return [np.roll(ring, -k, 0) if k else ring for ring, k in zip(found, at.tolist(), strict=True)], np.array(numbers)


def _cut(ring: Array) -> list[Array]:
    """Cut a ring at each point that it visits twice."""
    parts: list[Array] = []
    path: list[tuple[int, int]] = []
    place: dict[tuple[int, int], int] = {}
    for point in map(tuple, ring.tolist()):
        if point in place:
            first = place[point]
            parts.append(np.array(path[first:], np.int64))
            for passed in path[first + 1 :]:
                del place[passed]
            del path[first + 1 :]
        else:
            place[point] = len(path)
            path.append(point)
    return [*parts, np.array(path, np.int64)]


def areas_of(rings: list[Array]) -> Array:
    """Return twice the signed area of each ring: positive for outer rings, negative for holes; int64."""
    if not rings:
        return np.zeros(0, np.int64)
    firsts = np.cumsum([0, *map(len, rings)])
    points = np.concatenate(rings)
    after = np.arange(1, len(points) + 1)
    after[firsts[1:] - 1] = firsts[:-1]
    cross = points[:, 0] * points[after, 1] - points[after, 0] * points[:, 1]
    found: Array = np.add.reduceat(cross, firsts[:-1])
    return found
