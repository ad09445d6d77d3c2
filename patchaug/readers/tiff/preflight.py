"""Check the structure of a TIFF before a library parses it: the number of pages, and the fields that sizes follow from.

Libraries believe these fields. One lying entry keeps tifffile busy for minutes, and a tile of 46,000 px lets OpenSlide
end the whole process where memory is limited. So what fails here is passed to no other library.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import BinaryIO, Literal, NamedTuple

from patchaug.errors import PatchaugError, ReadError
from patchaug.readers.file import open_file

TILE_LIMIT = 64 << 20  # pixels
PAGES = 4096
_ENTRIES = 4096  # fields of a page
_WHOLE = {1: 1, 3: 2, 4: 4, 13: 4, 16: 8, 18: 8}  # bytes of unsigned whole numbers, by TIFF's number of the type
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_SIDE = (1 << 32) - 1
# Name, and the largest value, of fields that hold one number.
_NUMBERS = {
    256: ("ImageWidth", _SIDE), 257: ("ImageLength", _SIDE), 277: ("SamplesPerPixel", 65535),
    278: ("RowsPerStrip", (1 << 64) - 1), 322: ("TileWidth", _SIDE), 323: ("TileLength", _SIDE),
    32997: ("ImageDepth", 65535), 32998: ("TileDepth", 65535),
}  # fmt: skip
_LISTS = {258: "BitsPerSample", 273: "StripOffsets", 279: "StripByteCounts", 324: "TileOffsets", 325: "TileByteCounts",
          330: "SubIFDs"}  # fmt: skip
_NDPI = 65420  # Hamamatsu stores offsets in a layout of its own
_CHECKED = frozenset({*_NUMBERS, *_LISTS, _NDPI})
_BLOCK = 4096  # bytes that are read at a time


class _Entry(NamedTuple):
    """A field of a page: type of its values, how many there are, and where they are."""

    kind: int
    values: int
    at: int


class _Tiff:
    """The file with its byte order and the layout of classic TIFF or BigTIFF; read by blocks."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file, self.size = file, size
        self._block, self._at = b"", 0
        self.order: Literal["little", "big"] = "little" if self.read(0, 2) == b"II" else "big"
        self.big = self.number_at(2, 2) == 43
        self.wide = 8 if self.big else 4  # bytes of an offset, and of a value inside its field
        self.first = self.number_at(self.wide, self.wide)
        self.field = struct.Struct(("<" if self.order == "little" else ">") + ("HHQ8s" if self.big else "HHI4s"))

    def read(self, at: int, count: int) -> bytes:
        """Read bytes, fewer at the end of the file."""
        if not 0 <= at < self.size:
            return b""
        start = at - self._at
        if start < 0 or start + count > len(self._block):
            self.file.seek(at)
            self._block, self._at = self.file.read(min(max(count, _BLOCK), self.size - at)), at
            start = 0
        return self._block[start : start + count]

    def number_at(self, at: int, width: int) -> int:
        """Return the number of so many bytes at an offset; 0 beyond the end of the file."""
        data = self.read(at, width)
        return int.from_bytes(data, self.order) if len(data) == width else 0

    def numbers_at(self, at: int, width: int, count: int) -> list[int]:
        """Return as many numbers as the file holds, at most `count`."""
        data = self.read(at, width * count)
        starts = range(0, len(data) - width + 1, width)
        return [int.from_bytes(data[start : start + width], self.order) for start in starts]

    def page(self, at: int) -> tuple[dict[int, _Entry], int]:
        """Return the fields of a page that are checked, and the offset of the next page; 0 after the last."""
        start = at + (8 if self.big else 2)
        count = self.number_at(at, start - at)
        if count > _ENTRIES:
            raise ValueError(f"has {count} fields, at most {_ENTRIES} are read")
        length = self.field.size
        fields: dict[int, _Entry] = {}
        data = self.read(start, count * length)
        whole = len(data) - len(data) % length
        for number, (tag, kind, values, inside) in enumerate(self.field.iter_unpack(data[:whole]), 1):
            if tag in _CHECKED and tag not in fields:
                fits = _SIZES.get(kind, 1) * values <= self.wide
                place = start + number * length - self.wide if fits else int.from_bytes(inside, self.order)
                fields[tag] = _Entry(kind, values, place)
        return fields, self.number_at(start + count * length, self.wide)


def require_sound(path: str) -> bool:
    """Check the fields of all pages that sizes follow from; reads a few kilobytes.

    Args:
        path: A TIFF or BigTIFF.

    Returns:
        False for the layout of Hamamatsu's NDPI, which is not checked.

    Raises:
        ReadError: A field has no whole number, a number out of its limits, or more values than the file has bytes;
            a tile is too large; or there are too many pages.
    """
    page = 0
    try:
        with open_file(path, whole=False) as file:
            tiff = _Tiff(file, file.seek(0, os.SEEK_END))
            for page, fields in enumerate(_pages(tiff)):
                if page >= PAGES:
                    raise ReadError(
                        f"{path}: holds more than {PAGES} pages, the limit; save the picture as a TIFF of its own"
                    )
                if _NDPI in fields:
                    return False
                width, height = _require_sound_page(tiff, fields)
                if width * height > TILE_LIMIT:
                    raise ReadError(
                        f"{path}: tiles of {width} x {height} px are above the limit of {TILE_LIMIT >> 20} Mpx; "
                        f"save it with tiles of 256 px"
                    )
    except PatchaugError:
        raise
    except ValueError as error:
        raise ReadError(f"{path}: broken TIFF header (page {page} {error}); copy or export the file again") from None
    except OSError as error:
        raise ReadError(f"{path}: the system cannot read it ({error.strerror or error})") from error
    return True


def _pages(tiff: _Tiff) -> Iterator[dict[int, _Entry]]:
    """Iterate over the fields of all pages, and of the pages below them; each page once.

    Pages may lie anywhere in the file, and a page below another may also follow its neighbour. So a circle is a page
    that comes again in one chain; a page of an earlier chain ends a chain, because that one was followed to its end.
    """
    chains, visited = {tiff.first}, set()
    while chains:
        at, chain = chains.pop(), set()
        while 0 < at < tiff.size and at not in visited:
            chain.add(at)
            fields, following = tiff.page(at)
            yield fields
            if following in chain:  # tifffile would follow the circle for ever
                raise ValueError(
                    f"at byte {at} is followed by the page at byte {following}, which comes before it in the chain"
                )
            below = fields.get(330)
            if below is not None and below.kind in _WHOLE and len(chains) <= PAGES:  # so many exceed the limit
                offsets = tiff.numbers_at(below.at, _WHOLE[below.kind], min(below.values, PAGES + 1))
                chains.update(offset for offset in offsets if 0 < offset < tiff.size)
            at = following
        visited |= chain


def _require_sound_page(tiff: _Tiff, fields: dict[int, _Entry]) -> tuple[int, int]:
    """Return (width, height) of the tiles, (1, 1) without; raise ValueError for a field that cannot be true."""
    values = {}
    for tag, (name, most) in _NUMBERS.items():
        if tag not in fields:
            continue
        kind, count, at = fields[tag]
        if kind not in _WHOLE or count < 1:
            raise ValueError(f"has a field {name} of type {kind} with {count} values, it is one unsigned whole number")
        values[tag] = tiff.number_at(at, _WHOLE[kind])
        if not 1 <= values[tag] <= most:
            raise ValueError(f"has {name} {values[tag]}, it must be in 1..{most}")
    for tag, name in _LISTS.items():
        if tag not in fields:
            continue
        kind, count, at = fields[tag]
        if kind not in _WHOLE:
            raise ValueError(f"has a field {name} of type {kind}, it holds unsigned whole numbers")
        if at + count * _SIZES[kind] > tiff.size:
            raise ValueError(f"says that {count} numbers {name} begin at byte {at} of a file of {tiff.size} bytes")
    return values.get(322, 1), values.get(323, 1)
