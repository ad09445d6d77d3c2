"""How the levels of a picture are cut into tiles."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any

import numpy as np


@dataclass(frozen=True)
class TileGrid:
    """Tiles of one level, in pixels of the level.

    Examples:
        >>> from patchaug.readers import TileGrid
        >>> TileGrid(width=600, height=400, tile_width=256, tile_height=256).tiles
        6
    """

    width: int
    height: int
    tile_width: int
    tile_height: int

    @property
    def across(self) -> int:
        """Number of tiles in a row."""
        return -(-self.width // self.tile_width)

    @property
    def tiles(self) -> int:
        """Number of tiles in all."""
        return self.across * -(-self.height // self.tile_height)


@dataclass(frozen=True)
class Layout:
    """Tile grids of the levels, and the kind of pixel.

    Attributes:
        grids: One grid per level, finest first.
        dtype: Type of the pixels.
        channels: () for one channel without an axis of its own, else (number,).

    Examples:
        >>> import numpy as np
        >>> from patchaug.readers import Layout, TileGrid
        >>> Layout((TileGrid(600, 400, 256, 256),), np.dtype("u1"), (3,)).shapes
        ((256, 256, 3),)
    """

    grids: tuple[TileGrid, ...]
    dtype: np.dtype[Any]
    channels: tuple[int, ...]

    @cached_property
    def firsts(self) -> tuple[int, ...]:
        """Number of each level's first tile, counted over all levels; the total comes last."""
        return tuple(accumulate((grid.tiles for grid in self.grids), initial=0))

    @cached_property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shape of a whole tile of each level, (rows, columns[, channels])."""
        return tuple((grid.tile_height, grid.tile_width, *self.channels) for grid in self.grids)
