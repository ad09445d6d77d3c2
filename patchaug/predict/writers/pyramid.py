"""Levels of a pyramid from rows that come once: tile rows of all levels, as soon as each is whole.

Level k has ceil(side / 2^k) pixels along each side. Its pixel (i, j) stands for the square of 2^k level-0 pixels from
(i * 2^k, j * 2^k) on, cut at the map's edges: "nearest" takes the pixel in the middle, at i * 2^k + 2^(k - 1) or the
last one; "mean" the mean of the square, of level 0 itself and not of a rounded level, rounded to the dtype.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np

from patchaug.core.arrays import Array
from patchaug.predict.writers.tile_rows import Sink, TileRows

Reduction = Literal["nearest", "mean"]
_SUMMED = 2**20  # pixels that are added up together, at least two rows: sums take four times as much memory


class Pyramid:
    """Cuts rows of level 0 into tile rows, and makes those of all other levels.

    Args:
        width: Columns of level 0.
        height: Rows of level 0.
        planes: Planes of each level.
        dtype: Type of the pixels.
        tile: Side of a tile in pixels; the last level fits in one tile.
        reduction: How levels are made.
        sink: Receives each tile row when it is whole, see `TileRows`.
        scratch: Folder for temporary files of wide levels; None: all rows wait in memory.

    Attributes:
        sizes: (width, height) of each level.
    """

    def __init__(
        self, width: int, height: int, planes: int, dtype: np.dtype[Any], tile: int,
        reduction: Reduction, sink: Sink, scratch: Path | None = None,
    ) -> None:  # fmt: skip
        self.sizes = level_sizes(width, height, tile)
        self._reduction = reduction
        self._rows = [TileRows(k, *size, planes, dtype, tile, sink, scratch) for k, size in enumerate(self.sizes)]
        self._step = max(2, _SUMMED // (planes * width))
        self._sums = [
            _Halving(k, width, height, planes, dtype, self.sizes[k - 1]) for k in range(1, len(self.sizes))
        ] if reduction == "mean" else []  # fmt: skip
        self._places = [_middles(k, width, height) for k in range(len(self.sizes))]
        self._top = 0

    def feed(self, rows: Array) -> None:
        """Take the next rows of level 0, (planes, rows, width)."""
        self._rows[0].feed(rows)
        if self._reduction == "nearest":
            for k in range(1, len(self.sizes)):
                at, columns = self._places[k]
                first, last = np.searchsorted(at, (self._top, self._top + rows.shape[1]))
                self._rows[k].feed(rows[:, at[first:last] - self._top][:, :, columns])
        else:
            for first in range(0, rows.shape[1], self._step):
                below = rows[:, first : first + self._step]
                for k in range(1, len(self.sizes)):
                    below, means = self._sums[k - 1].feed(below)
                    self._rows[k].feed(means)
        self._top += rows.shape[1]

    def close(self) -> None:
        """Close the temporary files."""
        for rows in self._rows:
            rows.close()


class Surrounded:
    """Feeds a pyramid with a picture and what surrounds it.

    Args:
        pyramid: The pyramid of the whole.
        margins: Pixels around the picture: left, top, right, bottom.
        fill: Value of them.
    """

    def __init__(self, pyramid: Pyramid, margins: tuple[int, int, int, int], fill: int) -> None:
        self._pyramid, self._margins, self._fill = pyramid, margins, fill
        self._shape: tuple[int, ...] = ()

    def feed(self, rows: Array) -> None:
        """Take the next rows of the picture, (planes, rows, width)."""
        left, top, right, _ = self._margins
        if not self._shape:
            self._shape, self._dtype = (len(rows), 0, left + rows.shape[2] + right), rows.dtype
            self._blank(top)
        if left or right:
            rows = np.pad(rows, ((0, 0), (0, 0), (left, right)), constant_values=self._fill)
        self._pyramid.feed(rows)

    def finish(self) -> None:
        """Add what lies below the picture."""
        self._blank(self._margins[3])

    def _blank(self, rows: int) -> None:
        for first in range(0, rows, 256):
            shape = (self._shape[0], min(256, rows - first), self._shape[2])
            self._pyramid.feed(np.full(shape, self._fill, self._dtype))


def level_sizes(width: int, height: int, tile: int) -> list[tuple[int, int]]:
    """Return (width, height) of all levels, down to the first that fits in one tile."""
    sizes = [(width, height)]
    while max(sizes[-1]) > tile:
        factor = 2 ** len(sizes)
        sizes.append((-(-width // factor), -(-height // factor)))
    return sizes


def _middles(level: int, width: int, height: int) -> tuple[Array, Array]:
    """Return the rows and the columns of level 0 that the nearest pixels of a level are."""
    factor = 2**level
    rows, columns = (np.minimum(np.arange(0, n, factor) + factor // 2, n - 1) for n in (height, width))
    return rows, columns


class _Halving:
    """Sums over the squares of a level, from the sums over those of the finer level before it."""

    def __init__(
        self, level: int, width: int, height: int, planes: int, dtype: np.dtype[Any], finer: tuple[int, int]
    ) -> None:
        factor = 2**level
        self._dtype, self._finer_rows = dtype, finer[1]
        self._sum: np.dtype[Any] = np.dtype(np.float64)
        if dtype.kind in "ui":  # exact
            self._sum = np.dtype(np.uint32 if np.iinfo(dtype).max * factor**2 < 2**32 else np.uint64)
        self._rows, self._columns = (np.minimum(factor, n - np.arange(0, n, factor)) for n in (height, width))
        self._waiting = np.empty((planes, 0, finer[0]))  # a row without its pair
        self._taken = self._made = 0

    def feed(self, rows: Array) -> tuple[Array, Array]:
        """Return the next sums of this level, and their means in the dtype of the pixels."""
        self._taken += rows.shape[1]
        if self._waiting.shape[1]:
            rows = np.concatenate([self._waiting.astype(rows.dtype, copy=False), rows], axis=1)
        alone = rows.shape[1] % 2 if self._taken < self._finer_rows else 0
        self._waiting = rows[:, rows.shape[1] - alone :].copy()
        sums = _pair_sums(_pair_sums(rows[:, : rows.shape[1] - alone], 1, self._sum), 2, self._sum)
        first, self._made = self._made, self._made + sums.shape[1]
        counts = np.multiply.outer(self._rows[first : self._made], self._columns).astype(self._sum)
        means = sums / counts if self._sum.kind == "f" else (sums + counts // 2) // counts
        return sums, means.astype(self._dtype)


def _pair_sums(values: Array, axis: int, dtype: np.dtype[Any]) -> Array:
    """Add neighbours along an axis; the last one stays alone where their number is odd."""
    first = (slice(None),) * axis
    sums: Array = values[(*first, slice(0, None, 2))].astype(dtype)
    paired = (*first, slice(0, values.shape[axis] // 2))
    sums[paired] += values[(*first, slice(1, None, 2))]
    return sums
