"""Tiles of one value, such as the background of a mask, recognised by their compressed bytes."""

from __future__ import annotations

import numpy as np

from patchaug.core.arrays import Array

_MOST = 64  # tiles that are remembered
_RATIO = 64  # times that such a tile is smaller compressed, at least
_NEAR = 16  # bytes by which such a tile may be larger than the smallest one that was decoded


class UniformTiles:
    """Remember which bytes decode to tiles of one value, so that they are decoded once.

    All tiles must have one shape, dtype and compression: the same bytes then are the same tile. Threads need no lock,
    because two that add the same tile add the same value.
    """

    def __init__(self) -> None:
        self._found: dict[bytes, Array] = {}
        self._longest = 0  # bytes of a tile that may be known

    def find(self, data: bytes | memoryview) -> Array | None:
        """Return the tile that some bytes decode to, not to be written to; None if it is not known."""
        return self._found.get(bytes(data)) if len(data) <= self._longest else None

    def add(self, data: bytes | memoryview, tile: Array) -> None:
        """Remember a decoded tile of integers if it has one value, and there is room."""
        size = len(data)
        if size * _RATIO > tile.nbytes or tile.dtype.kind not in "ui" or len(self._found) >= _MOST:
            return
        if self._longest and size > self._longest:
            return
        self._longest = min(self._longest or size + _NEAR, size + _NEAR)
        value = tile[(0,) * tile.ndim]
        if tile[(-1,) * tile.ndim] == value and (tile == value).all():
            self._found[bytes(data)] = np.broadcast_to(value.copy(), tile.shape)
