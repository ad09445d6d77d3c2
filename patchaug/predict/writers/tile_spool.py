"""`TileSpool`: encoded tiles in a temporary file, written in one order and read in another."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np


class TileSpool:
    """Encoded tiles of one level.

    Args:
        path: Temporary file.
        planes: Planes of the level.
        tiles: Tiles of each plane.

    Attributes:
        size: Bytes of all tiles.
    """

    def __init__(self, path: Path, planes: int, tiles: int) -> None:
        self._file = path.open("w+b")
        self._starts = np.zeros((planes, tiles), np.int64)
        self._lengths = np.zeros((planes, tiles), np.int64)
        self.size = 0

    def add(self, plane: int, number: int, tile: bytes) -> None:
        """Append a tile."""
        self._file.write(tile)
        self._starts[plane, number], self._lengths[plane, number] = self.size, len(tile)
        self.size += len(tile)

    def tiles(self) -> Iterator[bytes]:
        """Yield all tiles, plane by plane, in the order of their numbers."""
        self._file.flush()
        for start, length in zip(self._starts.ravel().tolist(), self._lengths.ravel().tolist(), strict=True):
            self._file.seek(start)
            yield self._file.read(length)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
