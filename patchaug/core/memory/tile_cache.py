"""Cache decoded tiles of one raster: each tile is decoded once, by the first process that requests it."""

from __future__ import annotations

import math
import multiprocessing
import os
import threading
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from patchaug.core.arrays import Array
from patchaug.core.memory.arena import Arena

Shape = tuple[int, ...]


class SharedTileCache:
    """Cache of tiles in the arena, which all processes share.

    The table has one entry for each tile: 0 without a tile, else its offset, which is negative until it is decoded.

    Args:
        arena: The arena.
        owner: The table's owner, as `Arena.attach` returned it.
        place: The table's offset, as `Arena.attach` returned it.
        entries: Number of tiles.
        limit: Bytes that the arena may allocate in all.
    """

    def __init__(self, arena: Arena, owner: int, place: int, entries: int, limit: int) -> None:
        self.arena, self.token, self.limit = arena, arena.token, limit
        self._owner, self._place, self._memory = owner, place, arena.memory
        self.at = memoryview(arena.memory)[place : place + 8 * entries].cast("q")
        weakref.finalize(self, arena.detach, owner, arena.token).atexit = False

    @property
    def attached(self) -> bool:
        """Return whether this process has attached the table; False in a forked child."""
        return self.token is self.arena.token

    def find(self, number: int, shape: Shape, dtype: np.dtype[Any]) -> Array | None:
        """Return a cached tile, not to be written to; None if it is not cached."""
        at = self.at[number]
        return np.ndarray(shape, dtype, self._memory, at) if at > 0 else None

    def full(self, size: int) -> bool:
        """Return whether there is no room for a tile of `size` bytes."""
        return self.arena.full(size, self.limit)

    def fetch(self, number: int, shape: Shape, dtype: np.dtype[Any], decode: Callable[[], Array]) -> Array:
        """Return a tile; decode it if it is not cached, and cache it while there is room.

        Args:
            number: Position of the tile in the table.
            shape: Shape of a whole tile; `decode` may return fewer rows and columns.
            dtype: Dtype of the tile.
            decode: Decodes the tile. After an error, the next request decodes again.
        """
        with self.arena.claim(self._place + 8 * number):
            cached = self.find(number, shape, dtype)
            if cached is not None:
                return cached
            tile = decode()
            at = self.arena.allot(self._owner, math.prod(shape) * dtype.itemsize, self.limit)
            if at is not None:
                if tile.shape == shape and tile.flags.c_contiguous:
                    self.arena.write(at, tile)
                else:
                    np.ndarray(shape, dtype, self._memory, at)[: tile.shape[0], : tile.shape[1]] = tile
                self._publish(number, at)
            return tile

    def reserve(self, number: int, size: int) -> bool:
        """Reserve room for a tile that `fill` will decode; return False if there is no room."""
        if self.at[number]:
            return True
        with self.arena.claim(self._place + 8 * number):
            if not self.at[number]:
                at = self.arena.allot(self._owner, size, self.limit, sweep=True)
                if at is None:
                    return False
                self.at[number] = -at
        return True

    def fill(self, number: int, shape: Shape, dtype: np.dtype[Any], decode: Callable[[Array], None]) -> Array:
        """Return a tile with reserved room; decode it into that room if no other thread or process has."""
        with self.arena.claim(self._place + 8 * number):
            at = self.at[number]
            tile: Array = np.ndarray(shape, dtype, self._memory, abs(at))
            if at < 0:
                decode(tile)
                self._publish(number, -at)
            return tile

    def _publish(self, number: int, at: int) -> None:
        with self.arena.barrier:  # processors may reorder writes: pixels must be visible before the entry
            self.at[number] = at


class PrivateTileCache:
    """Cache of tiles in one process, for systems where processes cannot share an arena (Windows).

    Only the main process caches tiles, so that the budget holds for all processes together. Images that are decoded
    whole are cached by each process that reads them.

    Args:
        limit: Bytes that all caches of this process may hold together.
    """

    attached = True
    _total = 0  # bytes in all caches of this process
    _lock = threading.RLock()

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._tiles: dict[int, Array] = {}
        self._reserved: dict[int, int] = {}
        self._caching_process = os.getpid() if multiprocessing.parent_process() is None else 0
        weakref.finalize(self, PrivateTileCache._free, self._tiles, self._reserved).atexit = False

    @classmethod
    def _free(cls, tiles: dict[int, Array], reserved: dict[int, int]) -> None:
        cls._total -= sum(tile.nbytes for tile in tiles.values()) + sum(reserved.values())

    def find(self, number: int, shape: Shape, dtype: np.dtype[Any]) -> Array | None:
        """Return a cached tile; None if it is not cached."""
        return self._tiles.get(number)

    def full(self, size: int) -> bool:
        """Return whether there is no room for a tile of `size` bytes."""
        return self._caching_process != os.getpid() or PrivateTileCache._total + size > self.limit

    def fetch(self, number: int, shape: Shape, dtype: np.dtype[Any], decode: Callable[[], Array]) -> Array:
        """Return a tile; decode it if it is not cached, and cache it while there is room."""
        with self._lock:
            cached = self._tiles.get(number)
            if cached is not None:
                return cached
            tile = decode()
            if self._caching_process == os.getpid() and PrivateTileCache._total + tile.nbytes <= self.limit:
                PrivateTileCache._total += tile.nbytes
                self._tiles[number] = tile = tile.copy()
            return tile

    def reserve(self, number: int, size: int) -> bool:
        """Reserve room for a tile; return False if there is no room."""
        with self._lock:
            if number not in self._tiles and number not in self._reserved:
                if PrivateTileCache._total + size > self.limit:
                    return False
                PrivateTileCache._total += size
                self._reserved[number] = size
        return True

    def fill(self, number: int, shape: Shape, dtype: np.dtype[Any], decode: Callable[[Array], None]) -> Array:
        """Return a tile with reserved room; decode it if it is not cached."""
        with self._lock:
            cached = self._tiles.get(number)
            if cached is None:
                cached = np.empty(shape, dtype)
                decode(cached)
                self._tiles[number] = cached
                self._reserved.pop(number, None)
            return cached


def _start_child() -> None:
    PrivateTileCache._lock = threading.RLock()  # another thread of the parent may have held the old one


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_child)

TileCache = SharedTileCache | PrivateTileCache
