"""Decode the bytes of a zarr chunk, with a limit on the output of each step.

Chunks are unpacked here rather than by zarr, whose reader works through threads and an event loop that a forked worker
does not have, and which silently fills up what is missing. imagecodecs unpacks what is common, into memory whose
size is known beforehand; numcodecs has the rest.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from patchaug.core.arrays import Array
from patchaug.errors import ReadError
from patchaug.readers.codecs.decompress import load, unpack, unwrap_lerc
from patchaug.readers.codecs.image_headers import frame_channels, frame_size, require_jpeg_end
from patchaug.readers.file import describe

Unpack = Callable[[bytes, int], Any]  # (data, most bytes that may come out) -> bytes or an array

_SLACK = 64  # bytes: checksums that lie within what is packed
_COMMON = {"blosc", "bz2", "gzip", "lz4", "lzma", "zlib", "zstd"}
_PROGRAMS = {"pickle"}  # decoding would run a program that the file holds
# What unpacks into a given room, by its name in imagecodecs.
_BOUNDED = {"blosc", "blosc2", "brotli", "bz2", "deflate", "lz4", "lz4f", "lzf", "lzfse", "lzma", "lzw", "packbits",
            "snappy", "zlib", "zlibng", "zopfli", "zstd"}  # fmt: skip
# What declares its size in a header that `frame_size` knows.
_PICTURES = {
    "apng",
    "avif",
    "htj2k",
    "jpeg",
    "jpeg2k",
    "jpegls",
    "jpegxl",
    "lerc",
    "png",
    "qoi",
    "spng",
    "webp",
}
# What gives about as many bytes as it takes, in numcodecs and imagecodecs.
_FILTERS = {"adler32", "astype", "base64", "bitorder", "bitround", "bitshuffle", "byteshuffle", "crc32", "delta",
            "fixedscaleoffset", "fletcher32", "floatpred", "jenkins_lookup3", "quantize", "shuffle", "xor"}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Chain:
    """All steps that decode a chunk.

    Attributes:
        dtype: Of the numbers, in the byte order in which they are stored.
        order: Axes of a chunk in the order in which they are stored.
        steps: How bytes are unpacked, in the order of reading.
        growth: How many times the bytes of a chunk may come out between two steps.
    """

    dtype: np.dtype[Any]
    order: tuple[int, ...]
    steps: tuple[Unpack, ...]
    growth: int = 1

    def limit(self, shape: Sequence[int]) -> int:
        """Return the most bytes that a chunk of that shape may take, on disk or between two steps."""
        size = self.dtype.itemsize * int(np.prod(shape, dtype=object))
        return size * self.growth + size // 8 + (1 << 12)  # what does not shrink may grow a little

    def decode(self, data: bytes, shape: Sequence[int]) -> Array:
        """Decode a chunk of exactly that shape.

        Raises:
            ReadError: The data decode to another number of bytes.
        """
        size = self.dtype.itemsize * int(np.prod(shape, dtype=object))
        most = size * self.growth + _SLACK
        found: Any = data
        for step in self.steps:
            found = step(bytes(found) if isinstance(found, (bytearray, memoryview)) else found, most)
        flat = np.frombuffer(found, np.uint8) if not isinstance(found, np.ndarray) else found
        flat = np.ascontiguousarray(flat).reshape(-1).view(np.uint8)
        if flat.size != size:
            at_least = "at least " if flat.size >= most else ""
            raise ReadError(f"its data hold {at_least}{flat.size} bytes, a chunk has {size}")
        stored = flat.view(self.dtype).reshape([shape[axis] for axis in self.order])
        return stored.transpose(np.argsort(self.order)) if list(self.order) != sorted(self.order) else stored


def unpacker(name: str, options: dict[str, Any]) -> Unpack:
    """Return the step that decodes a codec.

    Args:
        name: Its name, in the words of numcodecs and zarr 2, or of zarr 3.
        options: What it was written with.

    Raises:
        ReadError: It is unknown, needs what is not installed, or runs programs.
    """
    name = name.removeprefix("numcodecs.")
    if name == "crc32c":
        return _checksum()
    return _common(name) if name in _COMMON else _rare(name, options)


def is_common(name: str) -> bool:
    """Return whether the output of a step is at most as long as the chunk."""
    return name in _COMMON or name in ("crc32c", "shuffle") or name.startswith("imagecodecs_")


def _common(name: str) -> Unpack:
    load(name)

    def common(data: bytes, most: int) -> Any:
        return unpack(name, memoryview(data)[4 if name == "lz4" else 0 :], most)  # numcodecs notes lz4's length first

    return common


def _checksum() -> Unpack:
    try:
        import google_crc32c
    except ImportError:
        raise ReadError("checksums of CRC-32C need another library: pip install patchaug[zarr]") from None

    def crc32c(data: bytes, most: int) -> bytes:
        data = bytes(data)
        if len(data) < 4 or google_crc32c.value(data[:-4]) != struct.unpack("<I", data[-4:])[0]:
            raise ReadError("its CRC-32C is wrong; copy it again")
        return data[:-4]

    return crc32c


def _rare(name: str, options: dict[str, Any]) -> Unpack:
    """Return the step of a codec of numcodecs or imagecodecs."""
    if name in _PROGRAMS:
        raise ReadError(f"its codec {name!r} runs programs that the file holds; save it with another one")
    plain = name.removeprefix("imagecodecs_")
    if plain == "jpegxr":
        raise ReadError(
            f"its codec {name!r} ends the whole process on damaged data, and is not read; save it with zstd"
        )
    if plain in _BOUNDED and name not in _COMMON:
        load(plain)
        return lambda data, most: unpack(plain, data, most)
    try:
        if name.startswith("imagecodecs_"):
            import imagecodecs.numcodecs as theirs

            load(name.removeprefix("imagecodecs_"), *(["jpeg8"] if name == "imagecodecs_jpeg" else []))
            kinds = {getattr(kind, "codec_id", None): kind for kind in vars(theirs).values()}
            codec: Any = kinds[name].from_config(options)
        else:
            import numcodecs.registry

            codec = numcodecs.registry.get_codec({**options, "id": name})
    except ImportError:
        raise ReadError(f"its codec {name!r} needs another library: pip install patchaug[zarr]") from None
    except Exception as error:  # options that no codec has
        raise ReadError(f"its codec {name!r} is unknown ({describe(error)[:120]}); save it with zstd") from None
    if plain not in _PICTURES | _FILTERS:
        raise ReadError(f"its codec {name!r} may unpack to any size, and is not read; save it with zstd")

    def rare(data: bytes, most: int) -> Any:
        if plain in _PICTURES:
            data = unwrap_lerc(bytes(data), most) if plain == "lerc" else data
            claimed, channels = frame_size(data), frame_channels(data)
            if claimed is None:
                raise ReadError(f"its {name} data declare no size")
            if claimed[0] * claimed[1] * (channels or 1) > most:
                raise ReadError(f"its data claim {claimed[0]} x {claimed[1]} px, which is more than a chunk has")
        require_jpeg_end(data)
        try:
            return codec.decode(data)
        except Exception as error:
            raise ReadError(f"its {name} data are damaged: {describe(error)}") from None

    return rare
