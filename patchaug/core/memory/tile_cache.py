"""Decoded tiles of one raster, kept in memory: each is decoded once, by whoever asks first."""

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
    """Tiles in the arena. Its table has one entry a tile: 0, or where the tile lies; negative while still empty.

    Args:
        arena: The arena.
        owner, place: What `Arena.attach` returned.
        entries: Number of tiles.
        limit: Bytes that the arena may hand out in all.
    """

    def __init__(self, arena: Arena, owner: int, place: int, entries: int, limit: int) -> None:
        self.arena, self.token, self.limit = arena, arena.token, limit
        self._owner, self._place, self._memory = owner, place, arena.memory
        self.at = memoryview(arena.memory)[place : place + 8 * entries].cast("q")
        weakref.finalize(self, arena.detach, owner, arena.token).atexit = False

    @property
    def here(self) -> bool:
        """Whether this process has attached the table; False in a forked child."""
        return self.token is self.arena.token

    def find(self, number: int, shape: Shape, dtype: np.dtype[Any]) -> Array | None:
        """A tile that is kept, to be copied from; None where it is not."""
        at = self.at[number]
        return np.ndarray(shape, dtype, self._memory, at) if at > 0 else None

    def full(self, size: int) -> bool:
        """Whether a tile of so many bytes would not be kept."""
        return self.arena.full(size, self.limit)

    def fetch(self, number: int, shape: Shape, dtype: np.dtype[Any], decode: Callable[[], Array]) -> Array:
        """A tile; decoded, and kept where there is room, unless another thread or process is faster.

        Args:
            number: Its place in the table.
            shape, dtype: Of the tile; what `decode` returns may have fewer rows and columns.
            decode: Decodes it. Its errors pass through, and leave the tile to the next who asks.
        """
        with self.arena.claim(self._place + 8 * number):
            kept = self.find(number, shape, dtype)
            if kept is not None:
                return kept
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
        """Keep room for a tile that `fill` will decode; False if there is none."""
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
        """A tile that has its room; decoded into it, unless another thread or process is faster."""
        with self.arena.claim(self._place + 8 * number):
            at = self.at[number]
            tile: Array = np.ndarray(shape, dtype, self._memory, abs(at))
            if at < 0:
                decode(tile)
                self._publish(number, -at)
            return tile

    def _publish(self, number: int, at: int) -> None:
        with self.arena.barrier:  # whoever sees the entry sees the pixels: processors may reorder plain writes
            self.at[number] = at


class PrivateTileCache:
    """Tiles in the memory of this process alone, where processes cannot share an arena (Windows).

    Only a program's main process keeps tiles, so that the budget holds for all of them together. Pictures that are
    decoded whole are kept by each process that reads them.
    """

    here = True
    _held = 0  # bytes, by all stores of this process
    _lock = threading.RLock()

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._tiles: dict[int, Array] = {}
        self._reserved: dict[int, int] = {}
        self._keeper = os.getpid() if multiprocessing.parent_process() is None else 0
        weakref.finalize(self, PrivateTileCache._free, self._tiles, self._reserved).atexit = False

    @classmethod
    def _free(cls, tiles: dict[int, Array], reserved: dict[int, int]) -> None:
        cls._held -= sum(tile.nbytes for tile in tiles.values()) + sum(reserved.values())

    def find(self, number: int, shape: Shape, dtype: np.dtype[Any]) -> Array | None:
        """See `SharedTileCache`; so below."""
        return self._tiles.get(number)

    def full(self, size: int) -> bool:
        """See `SharedTileCache`."""
        return self._keeper != os.getpid() or PrivateTileCache._held + size > self.limit

    def fetch(self, number: int, shape: Shape, dtype: np.dtype[Any], decode: Callable[[], Array]) -> Array:
        """A tile, decoded and kept where there is room."""
        with self._lock:
            kept = self._tiles.get(number)
            if kept is not None:
                return kept
            tile = decode()
            if self._keeper == os.getpid() and PrivateTileCache._held + tile.nbytes <= self.limit:
                PrivateTileCache._held += tile.nbytes
                self._tiles[number] = tile = tile.copy()
            return tile

    def reserve(self, number: int, size: int) -> bool:
        """Keep room for a tile."""
        with self._lock:
            if number not in self._tiles and number not in self._reserved:
                if PrivateTileCache._held + size > self.limit:
                    return False
                PrivateTileCache._held += size
                self._reserved[number] = size
        return True

    def fill(self, number: int, shape: Shape, dtype: np.dtype[Any], decode: Callable[[Array], None]) -> Array:
        """A tile that has its room."""
        with self._lock:
            kept = self._tiles.get(number)
            if kept is None:
                kept = np.empty(shape, dtype)
                decode(kept)
                self._tiles[number] = kept
                self._reserved.pop(number, None)
            return kept


def _in_child() -> None:
    PrivateTileCache._lock = threading.RLock()  # another thread of the parent may have held the old one


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)

TileCache = SharedTileCache | PrivateTileCache
