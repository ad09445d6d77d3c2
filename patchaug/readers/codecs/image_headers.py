"""Sizes and checksums in the headers of compressed images, checked before decoding.

Decoders allocate what the data claim: a tile of 4 kB may say that it has 10 GB. And Pillow looks at no checksum of a
PNG's pixels, and fills them up with zeros where the data end too early.
"""

from __future__ import annotations

import struct
import zlib

from patchaug.errors import ReadError
from patchaug.readers.file import open_file

_EOI = b"\xff\xd9"
_JXL = b"\0\0\0\x0cJXL \r\n\x87\n"
_FRAMES = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}  # JPEG: start of frame, of any process
_SEQUENTIAL = {0xC0, 0xC1}  # JPEG: of those, baseline and extended, Huffman
_ALONE = {0x01, *range(0xD0, 0xD9)}  # JPEG: markers without a length
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_DECISIVE = {b"IHDR", b"PLTE", b"IDAT", b"tRNS", b"eXIf", b"IEND"}  # PNG: what pixels follow from
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by PNG's type of colour

_SCALED = {1: 1, 2: 85, 4: 17}  # Pillow spreads grey of so many bits over 0 to 255


def frame_size(data: bytes) -> tuple[int, int] | None:
    """Return the (width, height) that compressed image data declare; None for data of an unknown format."""
    try:
        if data[:6] == b"Lerc2 " or data[:10] == b"CntZImage ":
            return _lerc_size(data)[:2]
        if data[4:8] == b"ftyp":
            at = data.index(b"ispe") + 8
            width, height = struct.unpack_from(">II", data, at)
            return width, height
        if data[:4] == b"qoif":
            width, height = struct.unpack_from(">II", data, 4)
            return width, height
        if data[:2] == b"\xff\xd8":
            return _jpeg_size(data)
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _webp_size(data)
        if data[:2] == b"\xff\x0a" or data[:12] == _JXL:
            return _jpegxl_size(data)
        if data[:8] == b"\x89PNG\r\n\x1a\n":
            width, height = struct.unpack_from(">II", data, 16)
            return width, height
        start = _inside(data, b"jp2c") if data[4:8] == b"jP  " else 0
        if data[start : start + 4] == b"\xff\x4f\xff\x51":
            right, bottom, left, top = struct.unpack_from(">4I", data, start + 8)
            return right - left, bottom - top
    except (struct.error, IndexError, ValueError):  # cut off: the decoder says so
        pass
    return None


def frame_channels(data: bytes) -> int | None:
    """Return how many numbers a pixel has in JPEG, JPEG 2000 or LERC data; None for other data."""
    try:
        if data[:6] == b"Lerc2 " or data[:10] == b"CntZImage ":
            return _lerc_size(data)[2]
        if data[:2] == b"\xff\xd8":
            at = _jpeg_frame(data)
            return None if at is None else data[at + 9]
        start = _inside(data, b"jp2c") if data[4:8] == b"jP  " else 0
        if data[start : start + 4] == b"\xff\x4f\xff\x51":
            (channels,) = struct.unpack_from(">H", data, start + 40)
            return int(channels)
    except (struct.error, IndexError):
        pass
    return None


def _lerc_size(data: bytes) -> tuple[int, int, int]:
    """Return (width, height, numbers a pixel) of LERC; data may hold several bands one after the other."""
    if data[:10] == b"CntZImage ":
        height, width = struct.unpack_from("<ii", data, 18)
        return width, height, max(1, data.count(b"CntZImage "))
    (version,) = struct.unpack_from("<i", data, 6)
    at = 14 if version >= 3 else 10
    height, width = struct.unpack_from("<ii", data, at)
    values = struct.unpack_from("<i", data, at + 8)[0] if version >= 4 else 1
    return width, height, values * max(1, data.count(b"Lerc2 "))


def require_jpeg_end(data: bytes) -> None:
    """Raise ReadError for JPEG data without an end: libjpeg would fill the rest up with grey in silence."""
    if data[:2] == b"\xff\xd8" and _EOI not in data[-64:] and data.rfind(_EOI) < 0:
        raise ReadError("JPEG data without an end")


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    at = _jpeg_frame(data)
    if at is None:
        return None
    height, width = struct.unpack_from(">HH", data, at + 5)
    return width, height


def _jpeg_frame(data: bytes) -> int | None:
    """Return the offset of the start of frame."""
    at = 2
    while (at := data.find(b"\xff", at)) >= 0:  # what lies between two segments decoders skip
        marker = data[at + 1]
        if marker in _FRAMES:
            return at
        if marker == 0xFF:  # a byte that fills
            at += 1
        else:
            at += 2 if marker in _ALONE else 2 + int(struct.unpack_from(">H", data, at + 2)[0])
    return None


def first_rows(data: bytes, height: int, rows: int) -> tuple[bytes, int] | None:
    """Shorten the declared height of JPEG data, so that a decoder stops soon after the first rows.

    A row's colours are interpolated from the rows next to it: those of the second group below still come along, and
    the wanted rows keep all of their values. Data in which each scan runs over the whole picture cannot be cut.

    Args:
        data: A picture, or a tile without its tables.
        height: Rows that it must have.
        rows: How many are wanted.

    Returns:
        The data, and the rows that they now claim; None where nothing can be left out.
    """
    try:
        at = _jpeg_frame(data)
        if at is None or data[at + 1] not in _SEQUENTIAL or struct.unpack_from(">H", data, at + 5)[0] != height:
            return None
        components = data[at + 9]
        groups = max(data[at + 11 + 3 * number] & 15 for number in range(components))  # rows that share colour
    except (struct.error, IndexError, ValueError):
        return None
    claimed = rows + 2 * groups
    if claimed >= height:
        return None
    return data[: at + 5] + struct.pack(">H", claimed) + data[at + 7 :], claimed


def _inside(data: bytes, *kinds: bytes) -> int:
    """Return the offset of the content of the first box of those kinds."""
    at = 0
    while True:
        length, kind = struct.unpack_from(">I4s", data, at)
        head = 16 if length == 1 else 8
        if kind in kinds:
            return at + head
        length = struct.unpack_from(">Q", data, at + 8)[0] if length == 1 else length
        if length < head:
            raise IndexError  # the last box, or none
        at += length


def _webp_size(data: bytes) -> tuple[int, int] | None:
    """Return the size in the first chunk: the canvas of an extended file, or an image."""
    kind = data[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if kind == b"VP8L":
        bits = struct.unpack_from("<I", data, 21)[0]
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    return None


def _jpegxl_size(data: bytes) -> tuple[int, int] | None:
    """Return the size in the first bits of the codestream, which a file stores in one or more boxes."""
    at = 2
    if data[:12] == _JXL:
        at = _inside(data, b"jxlc", b"jxlp")
        at += 2 if data[at : at + 2] == b"\xff\x0a" else 6  # the parts of several are numbered
    head, place = data[at : at + 16], 0
    bits = int.from_bytes(head, "little")

    def take(number: int) -> int:
        nonlocal place
        place += number
        if place > 8 * len(head):
            raise IndexError
        return bits >> (place - number) & ((1 << number) - 1)

    def side(small: int) -> int:
        return 8 * (1 + take(5)) if small else 1 + take((9, 13, 18, 30)[take(2)])

    small = take(1)
    height = side(small)
    ratio = take(3)
    if ratio == 0:
        return side(small), height
    over, under = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))[ratio - 1]
    return height * over // under, height


def require_whole_png(path: str) -> None:
    """Raise ReadError unless the chunks that pixels follow from have the right CRC-32, and inflate to enough bytes."""
    with open_file(path) as file:
        file.seek(16)
        width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", file.read(13))
        passes = _ADAM7 if interlaced else ((0, 0, 1, 1),)
        sizes = [(max(width - x + dx - 1, 0) // dx, max(height - y + dy - 1, 0) // dy) for x, y, dx, dy in passes]
        wanted = sum(rows * (1 + -(-columns * depth * _SAMPLES[colour] // 8)) for columns, rows in sizes if columns)
        file.seek(8)
        unpack, found, kind = zlib.decompressobj(), 0, b""
        while kind != b"IEND" and len(head := file.read(8)) == 8:
            left, kind = int.from_bytes(head[:4], "big"), head[4:]
            if kind not in _DECISIVE:
                file.seek(left + 4, 1)
                continue
            crc = zlib.crc32(kind)
            while left and (part := file.read(min(left, 1 << 20))):
                left, crc = left - len(part), zlib.crc32(part, crc)
                while part and found < wanted and kind == b"IDAT":
                    found += len(unpack.decompress(part, 1 << 22))
                    part = unpack.unconsumed_tail
            if file.read(4) != crc.to_bytes(4, "big"):
                raise ReadError(f"{path}: its {kind.decode()} chunk has a wrong CRC-32; copy the file again")
    if found < wanted:
        raise ReadError(f"{path}: the picture's data end after {found} of {wanted} bytes; copy the file again")


def grey_divisor(path: str) -> int:
    """Return Pillow's factor for the grey values of a PNG of 2 or 4 bits; 1 for other files."""
    with open_file(path, whole=False) as file:
        head = file.read(26)
    grey_png = head.startswith(b"\x89PNG") and head[25] == 0
    return _SCALED.get(head[24], 1) if grey_png else 1
