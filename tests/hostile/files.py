"""Write hostile files that no scanner would write."""

from __future__ import annotations

import gzip
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np

_CODES = {"B": 1, "s": 2, "H": 3, "I": 4, "Q": 16}


def raw_tiff(path: Path, tags: dict[int, tuple[str, Any]], data: bytes = b"", *, following: int = 0) -> Path:
    """Write a TIFF of one page, from {tag: (struct letter, value or values)}; `data` begins at byte 8.

    Nothing is checked: the tags may say anything. `following` is where the next page begins.
    """
    values, table, at = b"", b"", 8 + len(data)
    for number, (letter, value) in sorted(tags.items()):
        packed = value if isinstance(value, bytes) else struct.pack(f"<{np.size(value)}{letter}", *np.atleast_1d(value))
        count = len(packed) // struct.calcsize(f"<{letter}") if letter != "s" else len(packed)
        if len(packed) > 4:
            packed, values = struct.pack("<I", at + len(values)), values + packed + b"\0" * (len(packed) % 2)
        table += struct.pack("<HHI", number, _CODES[letter], count) + packed.ljust(4, b"\0")
    ifd = at + len(values)
    body = struct.pack("<H", len(tags)) + table + struct.pack("<I", following)
    path.write_bytes(struct.pack("<2sHI", b"II", 42, ifd) + data + values + body)
    return path


def tiled(
    width: int, height: int, tile: int, *, compression: int = 1, data: bytes = b"", **change: Any
) -> dict[int, Any]:
    """Return the tags of a tiled RGB image, all of whose tiles are `data`."""
    tiles = -(-width // tile) * -(-height // tile)
    tags = {
        256: ("I", width), 257: ("I", height), 258: ("H", [8, 8, 8]), 259: ("H", compression),
        262: ("H", 6 if compression == 7 else 2), 277: ("H", 3), 284: ("H", 1), 322: ("I", tile), 323: ("I", tile),
        324: ("I", [8] * tiles), 325: ("I", [len(data)] * tiles),
    }  # fmt: skip
    return tags | {int(key[1:]): value for key, value in change.items()}


def one_tile(path: Path, data: bytes, compression: int, tile: int = 256) -> Path:
    """Write a TIFF of a single tile that holds `data`."""
    return raw_tiff(path, tiled(tile, tile, tile, compression=compression, data=data), data)


def deflate_bomb(path: Path, size: int) -> Path:
    """Write a tile of 256 px that inflates to `size` bytes."""
    return one_tile(path, zeros(size), 8)


def zeros(size: int) -> bytes:
    """Return zlib data of `size` zeros without a checksum, made by repeating the same 16 MB."""
    packer = zlib.compressobj(9)
    head = packer.compress(b"") + packer.flush(zlib.Z_FULL_FLUSH)
    chunk = packer.compress(bytes(1 << 24)) + packer.flush(zlib.Z_FULL_FLUSH)
    return head + chunk * (size >> 24) + packer.flush()


def resized_jpeg(side: int) -> bytes:
    """Return a JPEG of 256 px whose frame header claims `side`."""
    data = bytearray(imagecodecs.jpeg8_encode(np.zeros((256, 256, 3), np.uint8)))
    at = next(data.find(b"\xff" + bytes([kind])) for kind in (0xC0, 0xC2) if data.find(b"\xff" + bytes([kind])) > 0)
    data[at + 5 : at + 9] = struct.pack(">HH", side, side)
    return bytes(data)


def jpeg_bomb_in_tile(path: Path) -> Path:
    """Write a tile of 256 px whose JPEG claims 60,000 px a side: 10 GB."""
    return one_tile(path, resized_jpeg(60000), 7)


def jpeg2000_bomb_in_tile(path: Path) -> Path:
    """Write a tile of 256 px whose JPEG 2000 claims 100,000 px a side: 30 GB."""
    data = bytearray(imagecodecs.jpeg2k_encode(np.zeros((256, 256, 3), np.uint8), codecformat="j2k"))
    at = data.find(b"\xff\x51")
    data[at + 6 : at + 14] = struct.pack(">II", 100000, 100000)
    data[at + 22 : at + 30] = struct.pack(">II", 100000, 100000)
    return one_tile(path, bytes(data), 33005)


def webp_bomb_in_tile(path: Path) -> Path:
    """Write a tile of 256 px whose WebP claims 16,384 px a side: 800 MB."""
    data = bytearray(imagecodecs.webp_encode(np.zeros((256, 256, 3), np.uint8), lossless=True))
    data[21:25] = struct.pack("<I", struct.unpack_from("<I", data, 21)[0] | 0xFFFFFFF)
    return one_tile(path, bytes(data), 50001)


def jpegxl_bomb_in_tile(path: Path) -> Path:
    """Write a tile of 256 px whose JPEG XL claims 2^30 px a side."""
    bits = 0 | 3 << 1 | ((1 << 30) - 1) << 3 | 1 << 33  # not small, 30 bits, all of them, square
    data = bytes(imagecodecs.jpegxl_encode(np.zeros((256, 256, 3), np.uint8), effort=1))
    return one_tile(path, b"\xff\x0a" + bits.to_bytes(5, "little") + data[5:], 50002)


def packed_bomb(path: Path, compression: int, codec: str) -> Path:
    """Write a tile of 256 px that LZW, LZMA, PackBits or Zstandard unpacks to many more bytes."""
    if codec == "packbits":  # imagecodecs takes a minute to pack so much
        return one_tile(path, b"\x81\0" * (1 << 15), compression)
    data = getattr(imagecodecs, f"{codec}_encode")(bytes(1 << 28 if codec == "zstd" else 1 << 22))
    return one_tile(path, bytes(data), compression)


def jpeg_bomb(path: Path) -> Path:
    """Write a small JPEG file that claims 60,000 px a side."""
    path.write_bytes(resized_jpeg(60000))
    return path


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


IEND = _chunk(b"IEND", b"")


def png(
    path: Path, width: int, height: int, packed: bytes, extra: bytes = b"", *, depth: int = 8, colour: int = 0,
    interlaced: int = 0,
) -> Path:  # fmt: skip
    """Write a PNG with the given data, grey by default."""
    head = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + head + extra + _chunk(b"IDAT", packed) + IEND)
    return path


def png_text_bomb(path: Path) -> Path:
    """Write a PNG of 9 px with a compressed text of 2 GB."""
    return png(path, 9, 9, zlib.compress(bytes(90)), _chunk(b"zTXt", b"a\0\0" + zeros(1 << 31)))


def gzip_bomb(path: Path) -> Path:
    """Write a GeoJSON after 4 GB of blanks, in 4 MB."""
    packed = gzip.compress(b" " * (1 << 24), 9)
    path.write_bytes(packed * 256)
    return path


LAUGHS = (
    '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY e0 "ha">'
    + "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 11))
    + "]>"
)  # expands to 20 GB


def fifo(path: Path) -> Path:
    """Make a pipe without a writer; a process that opens it waits for ever."""
    os.mkfifo(path)
    return path


def with_field(path: Path, tag: int, kind: int, count: int, value: bytes) -> Path:
    """Change the field of a TIFF's first page: type, count, and value or offset; longer values go to the file's end."""
    data = bytearray(path.read_bytes())
    order, big = "<" if data[:2] == b"II" else ">", data[2:4] in (b"+\0", b"\0+")
    letter, room, head = ("Q", 8, 12) if big else ("I", 4, 8)
    (at,) = struct.unpack_from(f"{order}{letter}", data, 8 if big else 4)
    (fields,) = struct.unpack_from(f"{order}{'Q' if big else 'H'}", data, at)
    for number in range(fields):
        start = at + (8 if big else 2) + number * (20 if big else 12)
        if struct.unpack_from(f"{order}H", data, start) == (tag,):
            struct.pack_into(f"{order}HH{letter}", data, start, tag, kind, count)
            if len(value) > room:
                value, data = struct.pack(f"{order}{letter}", len(data)), data + value
            data[start + head : start + head + room] = value.ljust(room, b"\0")
            path.write_bytes(data)
            return path
    raise LookupError(f"there is no field {tag}")
