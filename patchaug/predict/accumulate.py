"""Joins the answers of windows to bands, row by row of the grid; at any time one row of windows is in memory."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from patchaug.core.arrays import Array
from patchaug.core.resampling import nearest
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


class RowSum:
    """Weighted sum of the windows of one row of the grid after the other.

    Args:
        layout: The windows.
        planes: Number of planes, such as classes; 0 for class numbers, which are taken and not summed.
        dtype: Type of the sum.
        first: Number of the first band.
    """

    def __init__(self, layout: Layout, planes: int, dtype: type, first: int) -> None:
        self.layout, self.planes, self.dtype = layout, planes, dtype
        self.top = layout.rectangle.y + layout.bands[first][0]  # of the rows in the sum, on the level
        self._sum: Array = np.zeros((*self._leading, 0, layout.rectangle.width), dtype)

    @property
    def _leading(self) -> tuple[int, ...]:
        return (self.planes,) if self.planes else ()

    def begin(self, row: int) -> None:
        """Make room for a row of the grid."""
        bottom = min(self.layout.rows.spans[row][1], self.layout.rectangle.bottom)
        before, rows = self._sum, max(bottom - self.top, 0)
        if rows > before.shape[-2]:
            self._sum = np.zeros((*self._leading, rows, self.layout.rectangle.width), self.dtype)
            self._sum[..., : before.shape[-2], :] = before

    def add(self, row: int, column: int, values: Array | None, background: float = 0) -> None:
        """Add a window.

        Args:
            row: Row of the grid.
            column: Column of the grid.
            values: (planes, height, width), or (height, width) of class numbers; of any resolution, which grows back to
                that of the window. None for a window that is not predicted.
            background: Value of plane 0 of such a window.
        """
        layout, map_ = self.layout, self.layout.rectangle
        (top, bottom), (left, right) = layout.rows.spans[row], layout.columns.spans[column]
        top, bottom = max(top, self.top), min(bottom, map_.bottom)
        left, right = max(left, map_.x), min(right, map_.right)
        if top >= bottom:
            return
        window = layout.window(row, column)
        there = np.s_[..., top - self.top : bottom - self.top, left - map_.x : right - map_.x]
        weights = self._weights(row, column, (top, bottom), (left, right))
        if values is None:
            if self.planes:
                self._sum[there][0] += background if weights is None else np.float32(background) * weights
            return
        if values.shape[-2:] != (window.height, window.width):
            flat = values.reshape(-1, *values.shape[-2:])
            grown = [nearest(plane, window.height, window.width) for plane in flat]
            values = np.stack(grown).reshape(*values.shape[:-2], window.height, window.width)
        part = values[..., top - window.y : bottom - window.y, left - window.x : right - window.x]
        if weights is None:
            self._sum[there] = part
        else:
            self._sum[there] += part * weights

    def _weights(self, row: int, column: int, lines: tuple[int, int], across: tuple[int, int]) -> Array | None:
        """Return the weights of a part of a window, (rows, columns); None where they are all 1."""
        one, other = self.layout.rows.weights[row], self.layout.columns.weights[column]
        if one is None and other is None:
            return None
        start, left = self.layout.rows.spans[row][0], self.layout.columns.spans[column][0]
        down = np.ones(lines[1] - lines[0], np.float32) if one is None else one[lines[0] - start : lines[1] - start]
        right = (
            np.ones(across[1] - across[0], np.float32) if other is None else other[across[0] - left : across[1] - left]
        )
        return np.asarray(down[:, None] * right)

    def end(self, rows: int) -> Array:
        """Return the upper rows, which are complete, and go on with the rest."""
        done, rest = self._sum[..., :rows, :], self._sum[..., rows:, :]
        if rest.shape[-2]:
            done = done.copy()  # the whole array would stay in memory
        self._sum, self.top = rest.copy(), self.top + rows
        return done
