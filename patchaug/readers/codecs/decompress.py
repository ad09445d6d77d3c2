"""Lossless data unpacked into memory whose size is known beforehand: a tile of 4 kB may unpack to 4 GB."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from patchaug.core.arrays import Array
from patchaug.errors import ReadError
from patchaug.readers.file import describe

# How TIFF numbers them.
CODECS = {1: "none", 5: "lzw", 8: "deflate", 32773: "packbits", 32946: "deflate", 34925: "lzma", 34926: "zstd",
          50000: "zstd", 50013: "deflate"}  # fmt: skip


@dataclass(frozen=True)
class Packing:
    """How the tiles of a TIFF are packed.

    Attributes:
        codec: A word of imagecodecs, or "none".
        dtype: Of the samples as stored; bool for 1 bit.
        differences: Whether each sample is stored as its difference from the one to its left.
        turned: Whether the bits of each byte are stored the other way round.
    """

    codec: str
    dtype: np.dtype[Any]
    differences: bool
    turned: bool


def load(*codecs: str) -> None:
    """Import imagecodecs, and the parts of it that decode these: each comes with its first use, under a lock.

    A process that is forked while another thread is about it waits for that lock for ever; so it is done when a file
    is opened, before anybody reads.
    """
    import imagecodecs

    for codec in codecs:
        getattr(imagecodecs, f"{codec}_decode", None)


def unpack(codec: str, data: bytes | memoryview, size: int) -> Any:
    """The bytes that imagecodecs unpacks.

    Raises:
        ReadError: They are more than `size`, or damaged.
    """
    import imagecodecs

    try:
        found = getattr(imagecodecs, f"{codec}_decode")(data, out=size + 1)
    except Exception as error:  # of each codec another one; some say so that there is no room
        raise ReadError(f"its {codec} data are damaged, or more than {size} bytes: {describe(error)}") from None
    if len(found) > size:
        raise ReadError(f"its {codec} data are more than {size} bytes")
    return found


def unpack_tile(data: bytes, packing: Packing, shape: tuple[int, int, int]) -> Array | None:
    """A whole tile.

    Args:
        data: Its bytes as stored.
        packing: How they are packed.
        shape: (height, width, samples).

    Returns:
        (height, width, samples), or None if they are too few: some writers cut tiles at the picture's edge.

    Raises:
        ReadError: They are too many, or damaged.
    """
    import imagecodecs

    height, width, samples = shape
    bit = packing.dtype == bool
    size = height * -(-width * samples // 8) if bit else math.prod(shape) * packing.dtype.itemsize
    if packing.turned:
        data = bytes(imagecodecs.bitorder_decode(data))
    found: Any = unpack(packing.codec, data, size) if packing.codec != "none" else data
    if len(found) > size:
        raise ReadError(f"its data are {len(found)} bytes, a tile has {size}")
    if len(found) < size:
        return None
    if bit:
        rows = np.unpackbits(np.frombuffer(found, np.uint8).reshape(height, -1), axis=1, count=width * samples)
        return rows.reshape(shape)
    # The arena copies bytes: what it gets must have this machine's order.
    native = packing.dtype.newbyteorder("=")
    tile = np.frombuffer(found, packing.dtype).reshape(shape).astype(native, copy=packing.differences)
    if packing.differences:
        imagecodecs.delta_decode(tile, axis=1, out=tile)
    return tile
