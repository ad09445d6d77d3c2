"""`TileRows`: rows of one level until they fill a row of tiles, in memory or in a temporary file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from patchaug.core.arrays import Array

_HELD = 2**23  # bytes of rows in memory

Sink = Callable[[int, int, int, Array], None]  # level, number of the tile row, first column, pixels


class TileRows:
    """Collects the rows of a level, and hands on each row of tiles when it is whole.

    Rows of more than 8 MiB wait in a temporary file, and are handed on in parts that are some tiles wide.

    Args:
        level: Number of the level.
        width: Columns.
        height: Rows.
        planes: Planes.
        dtype: Type of the pixels.
        tile: Side of a tile in pixels.
        sink: Receives pixels (planes, rows, columns), whole tiles but at the right and lower edge.
        scratch: Folder for the temporary file; None: all rows wait in memory.
    """

    def __init__(
        self, level: int, width: int, height: int, planes: int, dtype: np.dtype[Any], tile: int, sink: Sink,
        scratch: Path | None = None,
    ) -> None:  # fmt: skip
        self._level, self._width, self._height, self._planes = level, width, height, planes
        self._dtype, self._tile, self._sink = dtype, tile, sink
        self._filled = self._number = 0
        self._rows = min(tile, height)
        column = planes * self._rows * dtype.itemsize  # bytes
        part = width
        if scratch is not None and column * width > _HELD:
            part = max(_HELD // (column * tile), 1) * tile
        self._parts = [(left, min(left + part, width)) for left in range(0, width, part)]
        self._buffer: Array | None = None
        self._file: BinaryIO | None = None
        if scratch is None or len(self._parts) == 1:
            self._buffer = np.empty((planes, self._rows, width), dtype)
        else:
            self._file = (scratch / f"level{level}.rows").open("w+b")

    def feed(self, rows: Array) -> None:
        """Take the next rows, (planes, rows, width)."""
        while rows.shape[1]:
            needed = min(self._tile, self._height - self._number * self._tile)
            if self._filled == 0 and rows.shape[1] >= needed:  # nothing to wait for
                whole, rows = rows[:, :needed], rows[:, needed:]
                self._sink(self._level, self._number, 0, whole)
            else:
                taken = min(needed - self._filled, rows.shape[1])
                self._store(rows[:, :taken])
                rows, self._filled = rows[:, taken:], self._filled + taken
                if self._filled < needed:
                    return
                for left, right in self._parts:
                    self._sink(self._level, self._number, left, self._stored(left, right)[:, :needed])
            self._number, self._filled = self._number + 1, 0

    def close(self) -> None:
        """Close the temporary file."""
        if self._file is not None:
            self._file.close()

    def _store(self, rows: Array) -> None:
        """Store rows below those that wait."""
        if self._file is None:
            assert self._buffer is not None
            self._buffer[:, self._filled : self._filled + rows.shape[1]] = rows
            return
        for left, right in self._parts:
            for plane, values in enumerate(rows[:, :, left:right]):
                row = plane * self._rows + self._filled
                place = self._planes * self._rows * left + row * (right - left)
                self._file.seek(place * self._dtype.itemsize)
                self._file.write(np.ascontiguousarray(values, self._dtype).data)

    def _stored(self, left: int, right: int) -> Array:
        """Return some columns of all rows."""
        if self._file is None:
            assert self._buffer is not None
            return self._buffer
        out = np.empty((self._planes, self._rows, right - left), self._dtype)
        self._file.seek(self._planes * self._rows * left * self._dtype.itemsize)
        self._file.readinto(out.data)  # type: ignore[attr-defined]
        return out
