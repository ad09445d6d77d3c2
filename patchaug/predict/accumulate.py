"""Weighted sums of overlapping windows, column by column and row by row of the grid.

The columns between the left edges of two neighbouring windows are a block. It is complete for a row of the grid when
its window has been added, since later ones begin to the right of it. So memory holds the blocks that one window
reaches, and those lines of the row above that reach into this row.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from patchaug.core.arrays import Array
from patchaug.core.resampling import nearest
from patchaug.core.windows import Window
from patchaug.predict.carried_rows import CarriedRows
from patchaug.predict.layout import Layout


class Band(NamedTuple):
    """Rows of a map.

    Attributes:
        top: Row of the map of the first one.
        classes: Class numbers, uint8, or uint16 for more than 256 classes (rows, width).
        probabilities: float32 (classes, rows, width), or None.
        spread: Standard deviations of the probabilities over models and symmetries, float32 (classes, rows, width), or
            None.
    """

    top: int
    classes: Array
    probabilities: Array | None = None
    spread: Array | None = None


class Piece(NamedTuple):
    """Columns of a band that are complete; the pieces of a band follow each other from left to right.

    Attributes:
        number: Number of the band.
        top: Row of the map of the first one.
        left: First column, of the map.
        classes: Class numbers, uint8, or uint16 for more than 256 classes (rows, columns).
        probabilities: float32 (classes, rows, columns), or None.
        spread: float32 (classes, rows, columns), or None; see `Band`.
        last: Whether it is the last one of its band.
    """

    number: int
    top: int
    left: int
    classes: Array
    probabilities: Array | None
    spread: Array | None
    last: bool


class Block(NamedTuple):
    """Columns of the map, from the top of the sum on.

    Attributes:
        left: First column, of the map.
        right: End of its columns.
        values: float32 (planes, rows, columns); class numbers (rows, columns).
    """

    left: int
    right: int
    values: Array


class WindowSum:
    """Sum of the windows, which are added in order.

    Args:
        layout: The windows.
        planes: Number of planes, such as classes.
        top: First row of the map that is summed.
    """

    def __init__(self, layout: Layout, planes: int, top: int) -> None:
        self.layout, self.planes = layout, planes
        self._map = layout.rectangle
        self._top = self._bottom = self._map.y + top  # of the rows in the sum, on the level
        self._row = 0
        self._open: dict[int, Array] = {}  # blocks of the row in progress that have begun
        self._above = CarriedRows()  # of each block, rows that windows above have reached

    def begin(self, row: int) -> None:
        """Begin a row of the grid."""
        self._row = row
        self._bottom = min(self.layout.rows.spans[row][1], self._map.bottom)

    def add(self, column: int, values: Array | None, background: float = 0) -> Block | None:
        """Add the window of a column.

        Args:
            column: Column of the grid.
            values: (planes, height, width) of any resolution, which grows back to that of the window. None for a window
                that is not predicted.
            background: Value of plane 0 of such a window.

        Returns:
            The block that is complete, with all rows that windows have reached; None where the map does not show it.
        """
        left, right = self.layout.columns.spans[column]
        left, right = max(left, self._map.x), min(right, self._map.right)
        if values is not None:
            values = grown(values, self.layout.window(self._row, column))
        for number in range(column, len(self.layout.columns.origins)):
            first, end = self._columns_of(number)
            if first >= right:
                break
            if max(first, left) < min(end, right):
                self._add_part(column, number, values, background, (max(first, left), min(end, right)))
        block = self._open.pop(column, None)
        first, end = self._columns_of(column)
        return None if block is None else Block(first - self._map.x, end - self._map.x, block)

    def rest(self, column: int, block: Block, rows: int) -> None:
        """Keep the rows below the uppermost ones of a complete block, for the next row of windows."""
        if rows < block.values.shape[1]:
            self._above.put(column, block.values[:, rows:])

    def end(self, rows: int) -> None:
        """End a row of the grid, whose uppermost rows are complete."""
        self._top += rows

    def _columns_of(self, number: int) -> tuple[int, int]:
        """Return first column and end of a block within the map, on the level; the end may lie before the first."""
        edges = self.layout.columns.edges
        return max(edges[number], self._map.x), min(edges[number + 1], self._map.right)

    def _add_part(
        self, column: int, number: int, values: Array | None, background: float, columns: tuple[int, int]
    ) -> None:
        """Add those columns of a window that lie in a block."""
        left, right = columns
        first, end = self._columns_of(number)
        block = self._open.get(number)
        if block is None:
            block = np.zeros((self.planes, self._bottom - self._top, end - first), np.float32)
            above = self._above.pop(number)
            if above is not None:
                block[:, : above.shape[1]] = above
            self._open[number] = block
        (start, stop), origin = self.layout.rows.spans[self._row], self.layout.columns.spans[column][0]
        start, stop, above_it = max(start, self._top), min(stop, self._bottom), start
        there = block[:, start - self._top : stop - self._top, left - first : right - first]
        weights = outer(
            self.layout.rows.weights[self._row], slice(start - above_it, stop - above_it),
            self.layout.columns.weights[column], slice(left - origin, right - origin),
        )  # fmt: skip
        if values is None:
            there[0] += np.float32(background) * weights
            return
        window = self.layout.window(self._row, column)
        part = values[:, start - window.y : stop - window.y, left - window.x : right - window.x]
        if isinstance(weights, float):
            there += part
        else:
            there += part * weights


def outer(down: Array | None, rows: slice, across: Array | None, columns: slice) -> Array | float:
    """Return the weights of a part of a window, float32 (rows, columns) or (rows, 1); 1.0 where they are all 1."""
    if down is None:
        return 1.0 if across is None else np.asarray(across[columns][None])
    return np.asarray(down[rows][:, None] * (np.float32(1) if across is None else across[columns][None]))


def grown(values: Array, window: Window) -> Array:
    """Return values (..., height, width) at the resolution of their window, by the nearest pixel."""
    shape = window.height, window.width
    if values.shape[-2:] == shape:
        return values
    flat = values.reshape(-1, *values.shape[-2:])
    return np.stack([nearest(plane, *shape) for plane in flat]).reshape(*values.shape[:-2], *shape)
