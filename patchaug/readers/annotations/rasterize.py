"""Scan conversion: find the pixels whose centre lies inside a polygon, exactly and window by window.

The rule is even-odd with half-open edges: a centre on a left or upper edge is inside, on a right or lower one outside,
so that polygons which share an edge leave no gap and no overlap (the top-left rule of OpenGL and Direct3D). Where an
edge crosses a row follows from edge and row alone, never from the window: so a window is the slice of the whole.

Written here because no library does this: docs/dependencies.md has the measurements.
"""

from __future__ import annotations

import numpy as np

from patchaug.core.arrays import Array


def edges_of(rings: list[Array]) -> Array:
    """Return the edges of closed rings, float64 (4, n): x0, y0, x1, y1 with y0 < y1, without horizontal edges.

    Args:
        rings: float64 (m, 2) each; the last point joins the first, whether or not it repeats it.
    """
    edges = np.concatenate([np.hstack([ring, np.roll(ring, -1, 0)]) for ring in rings]).T
    edges = edges[:, edges[1] != edges[3]]
    return np.where(edges[1] < edges[3], edges, edges[[2, 3, 0, 1]])  # one direction: neighbours get the same crossing


def fill(out: Array, value: int, edges: Array, columns: Array, rows: Array) -> None:
    """Write `value` into the pixels inside one polygon.

    Args:
        out: (rows, columns) of integers, C-contiguous.
        value: What is written.
        edges: The edges of all rings, holes among them; see `edges_of`.
        columns: Rising whole numbers, float64 (columns,): the centre of one of out's columns is there + 0.5.
        rows: The same for rows.
    """
    edges = edges[:, (edges[3] > rows[0] + 0.5) & (edges[1] <= rows[-1] + 0.5)]
    starts, stops = _runs(edges, columns, rows)
    flat = out.reshape(-1)
    if 8 * len(starts) > out.size:  # many short runs: one pass over all pixels is faster
        toggles = np.zeros(out.size + 1, np.int8)
        np.add.at(toggles, starts, 1)
        np.subtract.at(toggles, stops, 1)
        flat[np.cumsum(toggles[:-1], dtype=np.int8) > 0] = value
        return
    for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
        flat[start:stop] = value


def _runs(edges: Array, columns: Array, rows: Array) -> tuple[Array, Array]:
    """Return the flat indices where runs of inner pixels start and stop; int64, without empty or overlapping runs."""
    # Row k is crossed where y0 <= rows[k] + 0.5 < y1, so each ring crosses it an even number of times.
    first = rows.searchsorted(np.ceil(edges[1] - 0.5))
    counts = rows.searchsorted(np.ceil(edges[3] - 0.5)) - first
    row = np.arange(counts.sum()) + np.repeat(first - (np.cumsum(counts) - counts), counts)
    x0, y0, x1, y1 = np.repeat(edges, counts, axis=1)
    # Products first: with coordinates in whole halves or quarters of pixels nothing is rounded that could decide.
    crossing = x0 + (rows[row] + 0.5 - y0) * (x1 - x0) / (y1 - y0)
    # The first centre that is not left of the crossing; a row takes one place more than it has pixels, for its end.
    wide = len(columns) + 1
    places = np.sort(row * wide + columns.searchsorted(np.ceil(crossing - 0.5)))
    starts, stops = places[0::2], places[1::2]
    filled = starts < stops
    row = starts[filled] // wide
    return starts[filled] - row, stops[filled] - row
