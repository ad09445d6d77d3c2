"""Lossless decompression into memory of a known size: a tile of 4 kB may decompress to 4 GB."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from patchaug.core.arrays import Array
from patchaug.errors import ReadError
from patchaug.readers.codecs.image_headers import frame_channels, frame_size
from patchaug.readers.file import describe

# How TIFF numbers them.
CODECS = {1: "none", 5: "lzw", 8: "deflate", 32773: "packbits", 32946: "deflate", 34925: "lzma", 34926: "zstd",
          50000: "zstd", 50013: "deflate"}  # fmt: skip
# Deflate data this many times smaller than their pixels are runs, as in masks: zlib-ng takes a fifth of libdeflate's
# time for them, and up to 1.4 times it for pictures.
_LONG_RUNS = 16


@dataclass(frozen=True)
class Packing:
    """Compression of the tiles of a TIFF.

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

    @cached_property
    def bits(self) -> bool:
        """Whether each sample is one bit."""
        return bool(self.dtype == bool)

    @cached_property
    def native(self) -> np.dtype[Any] | None:
        """Type of the samples in the order of bytes of this machine; None where they are stored in it."""
        native = self.dtype.newbyteorder("=")
        return None if native == self.dtype else native


def load(*codecs: str) -> None:
    """Import imagecodecs and its modules for these codecs, which it otherwise imports at the first use, under a lock.

    A process that is forked while another thread imports would wait for that lock forever. So call this when a file
    is opened, before the first read.
    """
    import imagecodecs

    for codec in (*codecs, "zlibng"):
        getattr(imagecodecs, f"{codec}_decode", None)


def unpack(codec: str, data: bytes | memoryview, size: int, room: Array | None = None) -> Any:
    """Decompress bytes with imagecodecs.

    Args:
        codec: A word of imagecodecs.
        data: The bytes.
        size: The most bytes that the result may have.
        room: Where to decompress to, uint8 (size + 1,); the result is then a view of it. Default: new memory.

    Raises:
        ReadError: The result is larger than `size`, or the data are damaged.
    """
    import imagecodecs

    runs = codec in ("deflate", "zlib") and len(data) * _LONG_RUNS < size and imagecodecs.ZLIBNG.available
    try:
        raw = getattr(imagecodecs, "zlibng_decode" if runs else f"{codec}_decode")(
            data, out=size + 1 if room is None else room
        )
    except Exception as error:  # of each codec another one; some say so that there is no room
        raise ReadError(f"its {codec} data are damaged, or more than {size} bytes: {describe(error)}") from None
    if len(raw) > size:
        raise ReadError(f"its {codec} data are more than {size} bytes")
    return raw


def unpack_tile(
    data: bytes | memoryview,
    packing: Packing,
    shape: tuple[int, int, int],
    room_of: Callable[[int], Array],
    rows: slice,
) -> Array | None:
    """Decompress a whole tile.

    Args:
        data: Its bytes as stored.
        packing: How they are packed.
        shape: (height, width, samples).
        room_of: Returns memory for so many bytes, uint8 (bytes,), that may be written until the tile is used up.
        rows: Rows that are needed; differences of others are not summed up.

    Returns:
        (height, width, samples), in that memory or of `data`. None if they are too few: some writers cut tiles at the
        picture's edge.

    Raises:
        ReadError: They are too many, or damaged.
    """
    import imagecodecs

    height, width, samples = shape
    values = height * width * samples
    size = height * -(-width * samples // 8) if packing.bits else values * packing.dtype.itemsize
    if packing.turned:
        data = bytes(imagecodecs.bitorder_decode(bytes(data)))
    raw: Any = data if packing.codec == "none" else unpack(packing.codec, data, size, room_of(size + 1))
    if len(raw) > size:
        raise ReadError(f"its data are {len(raw)} bytes, a tile has {size}")
    if len(raw) < size:
        return None
    if packing.bits:
        pixels: Array = np.unpackbits(np.frombuffer(raw, np.uint8).reshape(height, -1), axis=1, count=width * samples)
        return pixels.reshape(shape)
    tile: Array = np.frombuffer(raw, packing.dtype).reshape(shape)
    if packing.native is not None:  # the arena copies bytes: what it gets must have this machine's order
        tile = tile.astype(packing.native)
    if packing.differences:
        tile = tile if tile.flags.writeable else tile.copy()
        imagecodecs.delta_decode(tile[rows], axis=1, out=tile[rows])
    return tile


def require_claims(data: bytes, width: int, height: int, values: int) -> None:
    """Check the size that compressed image data declare, before a decoder allocates it.

    Args:
        data: The data, as stored.
        width, height: Of the tile, in pixels.
        values: Numbers that the tile may hold in all.

    Raises:
        ReadError: They declare more than the tile has.
    """
    size = frame_size(data)
    if size is not None and (size[0] > width or size[1] > height or min(size) < 1):
        raise ReadError(f"its data claim {size[0]} x {size[1]} px, tiles have {width} x {height}")
    channels = frame_channels(data)
    if size is not None and channels is not None and not 0 < size[0] * size[1] * channels <= values:
        raise ReadError(f"its data claim {channels} channels of {size[0]} x {size[1]} px, a tile has {values} numbers")


def unwrap_lerc(data: bytes, limit: int) -> bytes:
    """Return LERC data without the deflate or Zstandard around them.

    Raises:
        ReadError: They unpack to more than `limit` bytes and some for their header, or are damaged.
    """
    if data[:5] == b"Lerc2" or data[:8] == b"CntZImag":
        return data
    return bytes(unpack("zstd" if data[:4] == b"\x28\xb5\x2f\xfd" else "zlib", data, limit + limit // 8 + 4096))
