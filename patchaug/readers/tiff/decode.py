"""Tiles of 8-bit JPEG and of lossless compression, decoded by imagecodecs alone into memory that is used again."""

from __future__ import annotations

import math
import threading

import numpy as np

from patchaug.core.arrays import Array
from patchaug.errors import ReadError
from patchaug.readers.codecs.decompress import require_claims, unpack_tile
from patchaug.readers.codecs.image_headers import first_rows
from patchaug.readers.tiff.levels import Level, Part

_SMALL = 4 << 20  # bytes of a tile that each thread has room for
_thread = threading.local()


def jpeg_tile(data: bytes, level: Level, part: Part, rows: int) -> Array | None:
    """Decode a tile of 8-bit JPEG, or at least its first rows, without tifffile.

    None for any other, which tifffile then looks at.
    """
    import imagecodecs

    height = level.tile_height
    if rows < height and (shorter := first_rows(data, height, rows)) is not None:
        data, height = shorter
    shape = (height, level.tile_width, *((part.samples,) if part.samples > 1 else ()))
    assert part.jpeg is not None
    try:
        tile: Array = imagecodecs.jpeg8_decode(data, out=_off_grid(shape), **part.jpeg)
    except Exception:  # an edge tile of the level's own size, or what tifffile will say in its words
        if part.jpeg["colorspace"] != 1 and part.jpeg["outcolorspace"] != 3:  # tifffile decodes these wrongly
            return None
        require_claims(data, level.tile_width, height, height * level.tile_width)
        tile = imagecodecs.jpeg8_decode(data, **part.jpeg)
    return tile


def lossless_tile(data: bytes | memoryview, level: Level, part: Part, needed: slice, *, strict: bool) -> Array | None:
    """Decompress a lossless tile without tifffile; None for what tifffile then looks at.

    Args:
        data: Its bytes as stored.
        level: The level.
        part: The part of the level.
        needed: Rows that are needed; others may be wrong.
        strict: Raise for damaged data, and for too many; else tifffile looks at them.

    Raises:
        ReadError: See `strict`.
    """
    packing, shape = part.packing, (level.tile_height, level.tile_width, part.samples)
    assert packing is not None
    try:
        tile = unpack_tile(data, packing, shape, _room, needed)
    except ReadError:
        if strict:
            raise
        return None  # strips may hold more rows than they say, as tifffile has it
    if tile is None:
        return None
    tile = tile[..., 0] if part.samples == 1 else tile
    if not packing.differences or needed == slice(None) or needed == slice(0, level.tile_height):
        part.uniform.add(data, tile)
    return tile


def _off_grid(shape: tuple[int, ...]) -> Array:
    """Return a uint8 array 16 bytes past a multiple of 32.

    Where rows begin at multiples of 32, libjpeg-turbo writes past the caches, which takes a third longer here.
    """
    return _room(math.prod(shape)).reshape(shape)


def _room(size: int) -> Array:
    """Return uint8 memory, 16 bytes past a multiple of 32; small ones reuse the thread's buffer.

    What is written is read again at once: whoever asks for a tile copies from it before the thread decodes the next.
    """
    room: Array | None = getattr(_thread, "room", None)
    if room is None or room.size < size:
        room = np.empty(size + 32, np.uint8)
        start = (16 - room.ctypes.data) % 32
        room = room[start : start + size]
        if size <= _SMALL:
            _thread.room = room
    return room[:size]
