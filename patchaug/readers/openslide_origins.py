"""Origins from which OpenSlide reads the pixels of a level exactly as they are stored.

It takes origins in whole level-0 pixels. Where a level's downsample is no whole number, most of its pixels begin
between two of those, and OpenSlide then mixes each pixel with its neighbour (openslide/openslide#256, #417, #612).
But cairo, which paints for it, moves a picture by 256ths of a pixel: an origin that lies nearer than half of that to
the level's grid is as good as one on it. So a read begins at the nearest such origin before the window, and what lies
between the two is cut away.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

SIDE = 512  # pixels of a level: the blocks that have one origin
LOOK_BACK = 512  # pixels of a level that are read in vain on an axis, at most
LONGEST = 4096  # pixels: OpenSlide cuts what is longer, and rounds the origins of its parts down
_NEAR = 1 / 512 - 1e-9


class Piece(NamedTuple):
    """Part of a window's axis that is read from one origin.

    Attributes:
        l0_origin: Where to begin to read, in level-0 pixels of the file.
        before: Pixels of the level from there to `start`, to be cut away.
        start, stop: The part, in pixels of the level.
        exact: Whether the origin is as good as on the level's grid.
    """

    l0_origin: int
    before: int
    start: int
    stop: int
    exact: bool


def pieces(
    downsample: float, offset: int, start: int, stop: int, *, truncates: bool = False, by_block: bool = False
) -> list[Piece]:
    """Divide start..stop-1 of a level's axis into parts with one origin each.

    Pixels are exact but where no origin near the grid lies within `LOOK_BACK` before a block: there OpenSlide mixes
    them with their neighbours, at most 0.5 / downsample of a pixel away. That happens where a downsample is very near
    a small fraction (4.0001, not 16.0056). Either way a pixel is the same whatever window it is read through.

    Args:
        downsample: OpenSlide's, of the level.
        offset: Pixels of the file's level before the first one of the axis.
        start, stop: Not negative.
        truncates: Whether the maker's driver rounds origins down to the level's grid, rather than mixing.
        by_block: Give each block the one origin that it always has. Needed where the other axis is not exact: while
            cairo mixes there, it does not round on this one either.
    """
    if float(downsample).is_integer():
        return [Piece((offset + start) * int(downsample), 0, start, stop, True)]
    near = 0.0 if truncates else _NEAR
    parts, at = [], start
    while at < stop:
        block = at // SIDE * SIDE
        origin = before(offset + block, downsample, LOOK_BACK, near)
        if origin is None:
            x = (offset + block) * downsample
            l0_origin = math.ceil(x) if truncates else round(x)
            if truncates and l0_origin / downsample < offset + block:  # as OpenSlide divides, before it rounds down
                l0_origin += 1
            parts.append(Piece(l0_origin, at - block, at, min(block + SIDE, stop), False))
        elif by_block:
            parts.append(Piece(origin[0], origin[1] + at - block, at, min(block + SIDE, stop), True))
        else:
            nearest = before(offset + at, downsample, LOOK_BACK + SIDE, near)
            assert nearest is not None  # that of the block, if there is none between
            end, longest = block + SIDE, at - nearest[1] + LONGEST
            while end < min(stop, longest) and before(offset + end, downsample, LOOK_BACK, near) is not None:
                end += SIDE
            parts.append(Piece(*nearest, at, min(stop, end, longest), True))
        at = parts[-1].stop
    return parts


@lru_cache(maxsize=1 << 12)
def before(x: int, downsample: float, back: int, near: float = _NEAR) -> tuple[int, int] | None:
    """Find the nearest exact origin, at most `back` pixels before pixel `x` of a level.

    Returns:
        The origin in level-0 pixels, and how many of the level's pixels lie between; None if there is no such origin.
    """
    pixels = np.arange(x, max(x - back, 0) - 1, -1)
    l0_origins = np.rint(pixels * downsample)
    good = np.flatnonzero(np.abs(l0_origins / downsample - pixels) <= near)  # OpenSlide divides in the same way
    return (int(l0_origins[good[0]]), int(good[0])) if len(good) else None
