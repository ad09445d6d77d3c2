"""Tiles of several chunks: which chunks they need, and how these become pixels."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from patchaug.core.arrays import Array
from patchaug.errors import ReadError
from patchaug.readers.tile_grid import Layout
from patchaug.readers.zarr.chunks import Chunks
from patchaug.readers.zarr.multiscales import Plane


def _chunks_of_channels(plane: Plane, chosen: tuple[int, ...] | None) -> list[int]:
    """Return the numbers of the chunks along the axis of channels that a tile needs."""
    per = 1 if plane.c is None else plane.array.chunks[plane.c]
    return list(range(-(-plane.channels // per))) if chosen is None else sorted({number // per for number in chosen})


def places_of(plane: Plane, at: tuple[int, int], chosen: tuple[int, ...] | None) -> Iterator[tuple[int, ...]]:
    """Yield the index along each axis of the chunks that a tile needs."""
    place = [0] * len(plane.array.shape)
    place[plane.y], place[plane.x] = at
    for number in _chunks_of_channels(plane, chosen):
        if plane.c is not None:
            place[plane.c] = number
        yield tuple(place)


def assemble_tile(
    chunks: Chunks, plane: Plane, at: tuple[int, int], layout: Layout, chosen: tuple[int, ...] | None
) -> Array:
    """Join the channels of a tile, all or those chosen, from one chunk or several."""
    array, dtype = plane.array, layout.dtype
    parts = []
    per = 1 if plane.c is None else array.chunks[plane.c]
    needed = _chunks_of_channels(plane, chosen)
    for place in places_of(plane, at, chosen):
        found = chunks.read(array, place)
        if found is None:
            if array.fill is None:
                raise ReadError("its chunk is not stored, and the array names no fill value")
            found = np.full(array.chunks, array.fill, array.dtype)
        axes = [plane.y, plane.x, *([plane.c] if plane.c is not None else [])]
        others = [axis for axis in range(found.ndim) if axis not in axes]
        turned = found.transpose(*axes, *others)
        parts.append(turned.reshape(*turned.shape[: len(axes)], -1)[..., 0])  # the first plane of the others
    tile = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=2)
    if chosen is not None:
        several = tile if plane.c is not None else tile[..., None]
        tile = several[..., [needed.index(number // per) * per + number % per for number in chosen]]
        tile = tile if layout.channels else tile[..., 0]
    elif plane.c is not None:
        tile = tile[..., : plane.channels] if layout.channels else tile[..., 0]
    return np.ascontiguousarray(tile).view(dtype) if tile.dtype == bool else np.ascontiguousarray(tile, dtype)
