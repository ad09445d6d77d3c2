"""Rasters that read tile by tile, and keep decoded tiles while there is room."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from itertools import accumulate
from typing import Any, ClassVar

import numpy as np

from patchaug.core.arrays import Array
from patchaug.core.memory.anonymous import is_starting_process
from patchaug.core.memory.arena import Arena, arena
from patchaug.core.memory.tile_cache import PrivateTileCache, SharedTileCache, TileCache
from patchaug.core.windows import Window
from patchaug.errors import ReadError
from patchaug.readers.base import Sizes, downsamples, require_inside
from patchaug.readers.file import FileRaster, one_line


@dataclass(frozen=True)
class TileGrid:
    """How a level is cut into tiles, in pixels of the level."""

    width: int
    height: int
    tile_width: int
    tile_height: int

    @property
    def across(self) -> int:
        """Tiles in a row."""
        return -(-self.width // self.tile_width)

    @property
    def tiles(self) -> int:
        """Tiles in all."""
        return self.across * -(-self.height // self.tile_height)


@dataclass(frozen=True)
class Layout:
    """What reading needs to know: the levels' grids, and what a pixel is."""

    grids: tuple[TileGrid, ...]
    dtype: np.dtype[Any]
    channels: tuple[int, ...]  # (), or (number,)

    @cached_property
    def firsts(self) -> tuple[int, ...]:
        """Number of each level's first tile, all levels counted; and how many there are."""
        return tuple(accumulate((grid.tiles for grid in self.grids), initial=0))

    @cached_property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Of a whole tile of each level."""
        return tuple((grid.tile_height, grid.tile_width, *self.channels) for grid in self.grids)


class TiledRaster(FileRaster):
    """Base of rasters that can decode any tile by itself; subclasses say `_layout` and `_decoded`.

    Args:
        path: The file.
        name: What window errors call it; the file's name by default.
        ram: Bytes of decoded tiles that may be kept, all slides and processes together; 0 for none.
    """

    _lazy: ClassVar[tuple[str, ...]] = ("_tile_cache",)
    _whole: ClassVar[bool] = False  # whether nothing can be read without room for all of it

    def __init__(self, path: str | os.PathLike[str], *, name: str | None = None, ram: int = 0) -> None:
        super().__init__(path, name=name)
        self.ram = ram
        self._tile_cache: TileCache | None = None
        self._refused = False
        self._arena: Arena | None = arena() if ram else None  # before any worker is forked

    def __getstate__(self) -> dict[str, Any]:
        # Only a process that is being started can share memory with this one.
        shared = self._arena if is_starting_process() else None
        return super().__getstate__() | {"_arena": shared}

    @property
    def _layout(self) -> Layout:
        raise NotImplementedError

    def _decoded(self, level: int, number: int, window: Window) -> Array:
        """A tile, (rows, columns[, channels]); rows and columns beyond the level may be missing."""
        raise NotImplementedError

    def _unreadable(self, level: int, number: int, window: Window, error: Exception) -> ReadError:
        """What is said of a tile that could not be read or decoded."""
        why = str(error) if isinstance(error, ReadError) else one_line(error)
        return ReadError(
            f"{self.path}: tile {number} of level {level} cannot be read ({why}), wanted for window "
            f"x={window.x} y={window.y} {window.width} x {window.height}; copy or export the file again"
        )

    def _top(self, level: int, number: int, window: Window, rows: int) -> Array:
        """A tile of which only the first rows are wanted, and which is not kept; others may be missing."""
        return self._decoded(level, number, window)

    @property
    def grids(self) -> tuple[TileGrid, ...]:
        """How each level is cut into tiles."""
        return self._layout.grids

    @property
    def level_dimensions(self) -> Sizes:
        """(width, height) per level in pixels, finest first."""
        return tuple((grid.width, grid.height) for grid in self._layout.grids)

    @property
    def level_downsamples(self) -> tuple[float, ...]:
        """Level-0 pixels per pixel of each level."""
        return downsamples(self.level_dimensions)

    def read(self, window: Window) -> Array:
        """The window's pixels; each tile that it touches is decoded once, and kept while there is room.

        Raises:
            WindowError: The window leaves its level, or there is no such level.
            ReadError: A tile is missing, cut short or cannot be decoded, or the file has changed.
        """
        layout, level = self._layout, window.level
        x, y, width, height = window.x, window.y, window.width, window.height
        if level >= len(layout.grids) or not window.inside(layout.grids[level].width, layout.grids[level].height):
            require_inside(self.name, self.level_dimensions, window)
        grid, store = layout.grids[level], self._store()
        tw, th, across = grid.tile_width, grid.tile_height, grid.across
        shape, dtype, first = layout.shapes[level], layout.dtype, layout.firsts[level]
        out: Array = np.empty((height, width, *layout.channels), dtype)
        columns = [
            (column, max(x - column * tw, 0), min(x + width - column * tw, tw), max(column * tw - x, 0))
            for column in range(x // tw, (x + width - 1) // tw + 1)
        ]
        for row in range(y // th, (y + height - 1) // th + 1):
            top, bottom, down = max(y - row * th, 0), min(y + height - row * th, th), max(row * th - y, 0)
            band = out[down : down + bottom - top]
            for column, left, right, over in columns:
                number = row * across + column
                tile = None if store is None else store.find(first + number, shape, dtype)
                if tile is None:
                    tile = self._tile(store, level, number, window, bottom)
                band[:, over : over + right - left] = tile[top:bottom, left:right]
        return out

    def _tile(self, store: TileCache | None, level: int, number: int, window: Window, rows: int) -> Array:
        layout = self._layout
        shape = layout.shapes[level]
        if store is None or store.full(math.prod(shape) * layout.dtype.itemsize):
            return self._top(level, number, window, rows)
        decode: Callable[[], Array] = lambda: self._decoded(level, number, window)  # noqa: E731
        return store.fetch(layout.firsts[level] + number, shape, layout.dtype, decode)

    def _store(self) -> TileCache | None:
        """Where tiles are kept by this process and its kin; None if they are not."""
        store = self._tile_cache
        if (store is None or not store.here) and self.ram:
            self._tile_cache = store = self._attached()
        return store

    def _attached(self) -> TileCache | None:
        layout = self._layout
        if self._fingerprint is None:
            self._same_file()
        if self._arena is None:
            self._arena = arena()
        if self._arena is None:
            return PrivateTileCache(self.ram)
        entries = layout.firsts[-1]
        if self._refused and self._arena.full(8 * entries, self._limit()):
            return None  # asked a moment ago: it would be asked at each window of each slide that came too late
        about = repr((type(self).__name__, self.path, self._fingerprint, self._about(), layout))
        digest = blake2b(about.encode(), digest_size=16).digest()
        found = self._arena.attach(digest, entries, self._limit(), sweep=self._whole)
        self._refused = found is None and not self._whole
        return None if found is None else SharedTileCache(self._arena, *found, entries, self._limit())

    def _about(self) -> tuple[object, ...]:
        """What else decides about pixels, beside the file."""
        return ()

    def _limit(self) -> int:
        return self.ram
