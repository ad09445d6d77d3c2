"""Which tiles of a remote raster are fetched together: those of some rows of a window, and those of coming windows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from patchaug.core.memory.tile_cache import TileCache
from patchaug.core.windows import Window
from patchaug.readers.remote.source import Range, read_ahead, stage

_TOGETHER = 256  # tiles of a window that are fetched at a time, so that memory does not grow with the window


class RemoteTiles(Protocol):
    """Raster whose tiles are ranges of an object."""

    @property
    def layout(self) -> Any:
        """See `TiledRaster.layout`."""

    def stored_ranges(self, level: int, numbers: Iterable[int]) -> list[Range]:
        """Return where tiles are stored."""


def stage_rows(raster: RemoteTiles, cache: TileCache | None, window: Window, row: int) -> int:
    """Fetch the tiles of some rows that are not cached, for the reads of this thread that follow.

    Args:
        raster: The raster.
        cache: Its decoded tiles, or None.
        window: The window.
        row: First row of tiles.

    Returns:
        The row of tiles to go on with.
    """
    grid = raster.layout.grids[window.level]
    columns = (window.right - 1) // grid.tile_width - window.x // grid.tile_width + 1
    stop: int = min(row + max(_TOGETHER // columns, 1), (window.bottom - 1) // grid.tile_height + 1)
    stage(_missing(raster, cache, window, row, stop))
    return stop


def read_window_ahead(raster: RemoteTiles, cache: TileCache | None, window: Window) -> None:
    """Start to fetch the tiles of a window that are not cached; only the first of a very large one."""
    grid = raster.layout.grids[window.level]
    first, stop = window.y // grid.tile_height, (window.bottom - 1) // grid.tile_height + 1
    columns = (window.right - 1) // grid.tile_width - window.x // grid.tile_width + 1
    read_ahead(_missing(raster, cache, window, first, min(stop, first + max(_TOGETHER // columns, 1))))


def _missing(raster: RemoteTiles, cache: TileCache | None, window: Window, first: int, stop: int) -> list[Range]:
    layout, level = raster.layout, window.level
    grid = layout.grids[level]
    numbers = [
        row * grid.across + column
        for row in range(first, stop)
        for column in range(window.x // grid.tile_width, (window.right - 1) // grid.tile_width + 1)
    ]
    if cache is not None:
        shape, dtype, start = layout.shapes[level], layout.dtype, layout.firsts[level]
        numbers = [number for number in numbers if cache.find(start + number, shape, dtype) is None]
    return raster.stored_ranges(level, numbers)
