"""Base class of rasters that read tile by tile, and cache decoded tiles while there is room."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any, ClassVar, Self

import numpy as np

from patchaug.core.arguments import names_arguments_of_init
from patchaug.core.arrays import Array
from patchaug.core.memory.anonymous import LostDescriptorError, is_starting_process
from patchaug.core.memory.arena import UNIT, Arena, arena
from patchaug.core.memory.tile_cache import PrivateTileCache, SharedTileCache, TileCache
from patchaug.core.windows import Window
from patchaug.errors import MissingError, ReadError
from patchaug.readers.base import Sizes, downsamples, require_inside
from patchaug.readers.file import FileRaster, describe
from patchaug.readers.file_handles import ChangedError
from patchaug.readers.remote.source import staging
from patchaug.readers.remote.tiles import read_window_ahead, stage_rows
from patchaug.readers.tile_grid import Layout, TileGrid

_TOGETHER = 64  # tiles of a window that are looked up and read together, or one row of them
MORE_MEMORY = "lower ram= or the number of workers, or raise the limit on memory (ulimit -v)"


@names_arguments_of_init
class TiledRaster(FileRaster):
    """Base class of rasters that decode any tile by itself. Subclasses define `read_layout` and `decode_tile`.

    Args:
        path: The file.
        name: Name in errors about windows; by default the file's name.
        ram: Budget in bytes for decoded tiles, shared by all slides and processes; 0 caches none.
    """

    _lazy: ClassVar[tuple[str, ...]] = (*FileRaster._lazy, "_layout", "_tile_cache", "_cache_token")
    needs_all: ClassVar[bool] = False  # whether nothing can be read without room for all pixels

    def __init__(self, path: str | os.PathLike[str], *, name: str | None = None, ram: int = 0) -> None:
        super().__init__(path, name=name)
        self.ram = ram
        self._layout: Layout | None = None
        self._tile_cache: TileCache | None = None
        self._cache_token: object = None  # the arena's, when the cache was attached; a forked child has another
        self._refused = False
        self._arena: Arena | None = arena() if ram else None  # before any worker is forked

    def __getstate__(self) -> dict[str, Any]:
        # Only a process that is being started can share memory with this one.
        shared = self._arena if is_starting_process() and self._arena is not None and self._arena.whole else None
        return super().__getstate__() | {"_arena": shared}

    def read_layout(self) -> Layout:
        """Return the tile grids, the dtype and the channels; called once in each process."""
        raise NotImplementedError

    def decode_tile(self, level: int, number: int, window: Window) -> Array:
        """Decode one tile.

        Args:
            level: The level.
            number: Row-major number of the tile within the level.
            window: The window that is read, for error texts.

        Returns:
            (rows, columns[, channels]); rows and columns beyond the level may be missing.
        """
        raise NotImplementedError

    def decode_rows(self, level: int, number: int, window: Window, rows: int) -> Array:
        """Decode at least the first rows of a tile that is not cached; by default all of them."""
        return self.decode_tile(level, number, window)

    def read_together(self, level: int, numbers: Sequence[int]) -> None:
        """Read the bytes of tiles that this thread will decode next; by default each is read by itself."""

    def is_stored(self, level: int, number: int) -> bool:
        """Return whether the file stores a tile, by default True; others are not cached."""
        return True

    def tile_error(self, level: int, number: int, window: Window, error: Exception) -> ReadError | MissingError:
        """Return the error for a tile that cannot be read or decoded."""
        place = f"needed for window x={window.x} y={window.y} {window.width} x {window.height}"
        if isinstance(error, (ChangedError, MissingError)):
            return error
        if isinstance(error, MemoryError):
            return ReadError(f"{self.path}: no memory for tile {number} of level {level}, {place}; {MORE_MEMORY}")
        why = str(error) if isinstance(error, ReadError) else describe(error)
        return ReadError(
            f"{self.path}: tile {number} of level {level} cannot be read ({why}), {place}; copy or export the "
            f"file again"
        )

    @property
    def layout(self) -> Layout:
        """Tile grids, dtype and channels."""
        if self._layout is None:
            self._layout = self.read_layout()
        return self._layout

    def tile_size(self, level: int) -> tuple[int, int]:
        """Return (width, height) of the tiles of a level, in its pixels."""
        grid = self.layout.grids[level]
        return grid.tile_width, grid.tile_height

    def uncached(self) -> Self:
        """Return a raster of the same file that caches no tiles."""
        other = object.__new__(type(self))
        other.__dict__.update({**self.__dict__, "ram": 0, "_arena": None, "_tile_cache": None})
        return other

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the pixels."""
        return self.layout.dtype

    @property
    def channels(self) -> int:
        """Number of channels that are read."""
        return self.layout.channels[0] if self.layout.channels else 1

    @property
    def grids(self) -> tuple[TileGrid, ...]:
        """Tile grid of each level."""
        return self.layout.grids

    @property
    def level_dimensions(self) -> Sizes:
        """(width, height) per level in pixels, finest first."""
        return tuple((grid.width, grid.height) for grid in self.layout.grids)

    @property
    def level_downsamples(self) -> tuple[float, ...]:
        """Level-0 pixels per pixel of each level."""
        return downsamples(self.level_dimensions)

    def read(self, window: Window) -> Array:
        """Read a window; each tile that it touches is decoded once, and cached while there is room.

        Args:
            window: The window, in pixels of its level.

        Returns:
            A new array of the layout's dtype, (height, width[, channels]).

        Raises:
            WindowError: The window leaves its level, or the level does not exist.
            ReadError: A tile is missing, cut short or damaged, or the file has changed.
        """
        if not self.remote:
            return self._read(window)
        with staging():
            return self._read(window)

    def read_ahead(self, window: Window) -> None:
        """Start to fetch the tiles of a window of a URL that will be read soon."""
        if self.remote:
            read_window_ahead(self, self._open_cache(), window)

    def _read(self, window: Window) -> Array:
        layout, level, staged, ahead = self._layout or self.layout, window.level, 0, 0
        x, y, width, height = window.x, window.y, window.width, window.height
        grid = layout.grids[level] if level < len(layout.grids) else None
        if grid is None or not (0 <= x <= grid.width - width and 0 <= y <= grid.height - height):
            require_inside(self.name, self.level_dimensions, window)
            raise AssertionError("unreachable")
        cache = self._tile_cache
        if self.ram and (cache is None or not self._keeps_cache()):
            cache = self._open_cache()
        tw, th, across = grid.tile_width, grid.tile_height, grid.across
        shape, dtype, first = layout.shapes[level], layout.dtype, layout.firsts[level]
        out: Array = np.empty((height, width, *layout.channels), dtype)
        columns = [
            (column, max(x - column * tw, 0), min(x + width - column * tw, tw), max(column * tw - x, 0))
            for column in range(x // tw, (x + width - 1) // tw + 1)
        ]
        stop, group = (y + height - 1) // th + 1, max(_TOGETHER // len(columns), 1)
        for row in range(y // th, stop):
            if self.remote and row >= staged:
                staged = stage_rows(self, cache, window, row)
            if row >= ahead:  # a few rows at a time, so that what is read ahead is small
                ahead, at = min(row + group, stop), 0
                numbers = [one * across + column[0] for one in range(row, ahead) for column in columns]
                if cache is None:
                    tiles: list[Array | None] = [None] * len(numbers)
                    missing = numbers
                else:
                    tiles = [cache.find(first + number, shape, dtype) for number in numbers]
                    missing = [number for number, tile in zip(numbers, tiles, strict=True) if tile is None]
                if len(missing) > 1:
                    self.read_together(level, missing)
            top, bottom, down = max(y - row * th, 0), min(y + height - row * th, th), max(row * th - y, 0)
            band = out[down : down + bottom - top]
            for _, left, right, over in columns:
                tile = tiles[at]
                if tile is None:
                    tile = self._fetch_tile(cache, level, numbers[at], window, bottom)
                at += 1
                band[:, over : over + right - left] = tile[top:bottom, left:right]
        self.require_not_rewritten()
        return out

    def _fetch_tile(self, cache: TileCache | None, level: int, number: int, window: Window, rows: int) -> Array:
        if cache is None:
            return self.decode_rows(level, number, window, rows)
        layout = self.layout
        shape = layout.shapes[level]
        if cache.full(math.prod(shape) * layout.dtype.itemsize) or not self.is_stored(level, number):
            return self.decode_rows(level, number, window, rows)
        decode: Callable[[], Array] = lambda: self.decode_tile(level, number, window)  # noqa: E731
        try:
            return cache.fetch(layout.firsts[level] + number, shape, layout.dtype, decode)
        except LostDescriptorError:
            return decode()

    def _keeps_cache(self) -> bool:
        """Return whether this process has attached the cache, and still holds its lock."""
        arena = self._arena
        return arena is None or (arena.token is self._cache_token and arena.intact)

    def _open_cache(self) -> TileCache | None:
        """Return this process's view of the tile cache; None if tiles are not cached."""
        cache = self._tile_cache
        if (cache is None or not cache.attached or not self._keeps_cache()) and self.ram:
            self._tile_cache = cache = self._attach_cache()
            self._cache_token = None if self._arena is None else self._arena.token
        return cache

    def _attach_cache(self) -> TileCache | None:
        layout = self.layout
        if self._fingerprint is None:
            self.require_unchanged()
        if self._arena is None or not self._arena.intact:
            self._arena = arena()
        if self._arena is None:
            return PrivateTileCache(self.ram)
        entries = layout.firsts[-1]
        if self._refused and self._arena.full(8 * entries, self._cache_limit()):
            return None  # refused a moment ago: asking again at each window of each slide would be slow
        identity = repr((type(self).__name__, self.path, self._fingerprint, self._cache_key(), layout))
        digest = blake2b(identity.encode(), digest_size=16).digest()
        table = self._arena.attach(digest, entries, self._cache_limit(), sweep=self.needs_all)
        self._refused = table is None and not self.needs_all
        return None if table is None else SharedTileCache(self._arena, *table, entries, self._cache_limit())

    def _cache_key(self) -> tuple[object, ...]:
        """Return what determines the pixels besides the file."""
        return ()

    def _cache_limit(self) -> int:
        return self.ram - self.ram // UNIT // 1024 * UNIT  # less what the records of that many units take
