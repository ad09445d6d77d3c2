"""Tiles of a TIFF: their bytes, and the pixels that they decode to."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from patchaug.core.arrays import Array
from patchaug.core.windows import Window
from patchaug.errors import ReadError
from patchaug.readers.codecs.decompress import require_claims, unwrap_lerc
from patchaug.readers.codecs.image_headers import require_jpeg_end
from patchaug.readers.file import open_source
from patchaug.readers.file_handles import Descriptor, get_or_open
from patchaug.readers.remote.source import Range, RemoteSource
from patchaug.readers.tiff.adjacent import read_adjacent
from patchaug.readers.tiff.decode import jpeg_tile, lossless_tile
from patchaug.readers.tiff.header import Header
from patchaug.readers.tiff.levels import Level, Part
from patchaug.readers.tile_grid import Layout
from patchaug.readers.tiled import TiledRaster

_WHOLE = slice(None), slice(None)
_thread = threading.local()


class TiffTiles(TiledRaster):
    """Base class of rasters of TIFF pages. Subclasses define `parse_header`.

    Args:
        path: The file. Its header is read at the first use.
        name: Name in errors about windows; by default the file's name.
        ram: Bytes of decoded tiles that may be kept, see `TiledRaster`.
    """

    _lazy = (*TiledRaster._lazy, "_parsed")
    _parsed: tuple[Header, Layout] | None = None

    def parse_header(self, *, decoders: bool = False) -> Header:
        """Read the tag tables; with decoders for odd tiles, too, if they are asked for."""
        raise NotImplementedError

    @property
    def header(self) -> Header:
        """Content of the tag tables.

        Raises:
            ReadError: The file cannot be opened, has changed, or is not supported.
        """
        return (self._parsed or self._read_header())[0]

    def read_layout(self) -> Layout:
        """Return how the levels are cut into tiles."""
        return self._read_header()[1]

    def _read_header(self) -> tuple[Header, Layout]:
        if self._parsed is None:  # without a lock, which a fork could inherit: two threads get the same result
            self.require_unchanged()
            self._parsed = parsed = (header := self.parse_header()), _layout(header)
            return parsed
        return self._parsed

    def _read(self, window: Window) -> Array:
        try:
            return super()._read(window)
        finally:
            _thread.together = None

    def read_together(self, level: int, numbers: Sequence[int]) -> None:
        """Read small tiles by one call of the system where they lie side by side in the file."""
        if self.remote:
            return
        assert self._fingerprint is not None  # taken before the header was read
        header, size = self.header, self._fingerprint[0]
        parts = [header.levels[level].parts[number] for number in header.parts]
        _thread.together = (
            self,
            {
                part: read_adjacent(self._file, part.offsets, part.counts, numbers, size, part.packing is not None)
                for part in parts
            },
        )

    def decode_tile(self, level: int, number: int, window: Window) -> Array:
        """Decode one tile."""
        header = self.header
        return self._decoded(header, level, number, window, header.levels[level].tile_height, _WHOLE)

    def decode_rows(self, level: int, number: int, window: Window, rows: int) -> Array:
        """Decode at least the first rows of a tile, of which only pixels of the window may be set."""
        header, grid = (self._parsed or self._read_header())[0], self.layout.grids[level]
        y, column = divmod(number, grid.across)
        x, y = column * grid.tile_width, y * grid.tile_height
        part = slice(max(window.y - y, 0), rows), slice(max(window.x - x, 0), max(window.right - x, 0))
        return self._decoded(header, level, number, window, rows, part)

    def _decoded(
        self, header: Header, level: int, number: int, window: Window, rows: int, part: tuple[slice, slice]
    ) -> Array:
        one = header.levels[level]
        try:
            if header.direct:
                return self._part(header, one, one.parts[0], number, rows, part[0])
            return self._pixels(header, one, number, rows, part)
        except Exception as error:  # decoders raise errors of many libraries
            raise self.tile_error(level, number, window, error) from error

    def is_stored(self, level: int, number: int) -> bool:
        """Return whether the file stores a tile."""
        absent = self.header.missing[level]
        return absent is None or not absent[number]

    def missing_tiles(self) -> tuple[int, int]:
        """Return how many tiles of all levels are not stored, and how many there are."""
        missing = sum(int(absent.sum()) for absent in self.header.missing if absent is not None)
        return missing, self.layout.firsts[-1]

    def _pixels(self, header: Header, level: Level, number: int, rows: int, inside: tuple[slice, slice]) -> Array:
        colours, first = header.colours, level.parts[0]
        if len(level.parts) == 1:
            tile = self._part(header, level, first, number, rows, _WHOLE[0])
            if colours.palette is not None:
                return np.asarray(colours.palette[tile] if colours.channels else colours.palette[tile, 0])
            if colours.plain:
                return tile
            return np.asarray((tile if first.samples > 1 else tile[..., None])[..., _picked(colours.samples)])
        chosen = [divmod(sample, first.samples) for sample in colours.samples]
        pixels: Array | None = None
        for part in sorted({part for part, _ in chosen}):
            tile = self._part(header, level, level.parts[part], number, rows, inside[0])
            tile = tile if first.samples > 1 else tile[..., None]
            if pixels is None:
                pixels = np.empty((*tile.shape[:2], len(chosen)), tile.dtype)
            height, width = (min(tile.shape[axis], pixels.shape[axis]) for axis in (0, 1))
            pixels = pixels[:height, :width]
            for channel in (k for k, (one, _) in enumerate(chosen) if one == part):
                pixels[(*inside, channel)] = tile[:height, :width, chosen[channel][1]][inside]
        assert pixels is not None
        return pixels[..., 0] if len(chosen) == 1 else pixels

    def _part(self, header: Header, level: Level, part: Part, number: int, rows: int, needed: slice) -> Array:
        """Decode the tile of one part, (rows, columns[, samples]); rows that are not needed may be wrong."""
        together: _Together | None = getattr(_thread, "together", None)
        data = None if together is None or together[0] is not self else together[1].get(part, {}).get(number)
        if data is None:
            offset, count = int(part.offsets[number]), int(part.counts[number])
            if count == 0 and offset:
                raise ReadError("missing: the header says 0 bytes")
            if count == 0:  # not stored: GDAL and tifffile read it as nodata, or as 0
                fill = np.zeros((), _dtype(header)) if header.nodata is None else np.asarray(header.nodata)
                shape = level.tile_height, level.tile_width, *((part.samples,) if part.samples > 1 else ())
                return np.broadcast_to(fill, shape)
            data = self._stored(offset, count)
        if part.packing is None:  # uncompressed pixels may begin as JPEG does
            data = bytes(data)
            require_jpeg_end(data)
        tile = None if part.jpeg is None else _whole(jpeg_tile(bytes(data), level, part, rows), level, number, rows)
        if tile is None and part.packing is not None:
            tile = part.uniform.find(data)
            if tile is None:
                tile = lossless_tile(data, level, part, needed, strict=header.tiled)
        if tile is not None:
            return tile
        values, data = level.tile_width * level.tile_height * part.samples, bytes(data)
        if header.codec == "LERC":
            data = unwrap_lerc(data, values * header.dtype.itemsize)
        require_claims(data, level.tile_width, level.tile_height, values)
        decode = part.decode or self._decoder(header.levels.index(level), level.parts.index(part))
        pixels: Any = decode(data, part.first + number, jpegtables=part.tables)[0]
        if header.dtype == bool and pixels.dtype == np.uint8:  # fax: one byte for each bit
            pixels = pixels.astype(bool)
        if pixels.dtype.newbyteorder("=") != header.dtype.newbyteorder("="):
            raise ReadError(f"decodes to {pixels.dtype}, the header says {header.dtype}")
        pixels = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
        plane = _whole(pixels[0] if part.samples > 1 else pixels[0, :, :, 0], level, number, rows)
        assert plane is not None
        return plane

    def _decoder(self, level: int, part: int) -> Callable[..., Any]:
        """Return tifffile's decoder of a part; the tag tables are read again, with all decoders."""
        self.require_unchanged()
        header = self.parse_header(decoders=True)
        self._parsed = header, _layout(header)
        decode = header.levels[level].parts[part].decode
        assert decode is not None
        return decode

    def _stored(self, offset: int, count: int) -> bytes:
        """Read the bytes of one tile."""
        assert self._fingerprint is not None  # taken before the header was read
        size = self._fingerprint[0]
        if offset + count > size:  # before the bytes are allocated
            raise ReadError(f"cut off: bytes {offset} to {offset + count} of a file of {size} bytes")
        data = self._file().read(offset, count)
        if len(data) < count:
            raise ReadError(f"cut off: got {len(data)} of {count} bytes")
        return data

    def _file(self) -> Descriptor | RemoteSource:
        file = get_or_open(("tiff", self.path, self._fingerprint), self._open)
        if isinstance(file, Descriptor) and (self._handle is None or self._handle() is not file):
            self._handle = weakref.ref(file)
        return file

    def _open(self) -> Descriptor | RemoteSource:
        assert self._fingerprint is not None
        return open_source(self.path, self._fingerprint, self.require_unchanged)

    def stored_ranges(self, level: int, numbers: Iterable[int]) -> list[Range]:
        """Return where the tiles of a level lie in the file."""
        header, found = self.header, []
        assert self._fingerprint is not None
        size, _, tag = self._fingerprint
        one = header.levels[level]
        for part in (one.parts[number] for number in header.parts):
            for number in numbers:
                offset, count = int(part.offsets[number]), int(part.counts[number])
                if count and offset + count <= size:
                    found.append(Range(self.path, str(tag), offset, count))
        return found


_Together = tuple[
    TiffTiles, dict[Part, dict[int, bytes | memoryview]]
]  # bytes that a thread has read, by part and tile


def _layout(header: Header) -> Layout:
    return Layout(tuple(level.grid for level in header.levels), _dtype(header), header.colours.channels)


def _whole(tile: Array | None, level: Level, number: int, rows: int) -> Array | None:
    """Return a decoded tile.

    Raises:
        ReadError: It has fewer rows, of those that were asked for, or columns than the level has there.
    """
    if tile is not None and tile.shape[:2] != (level.tile_height, level.tile_width):
        y, x = divmod(number, level.grid.across)
        height = min(rows, level.height - y * level.tile_height)
        width = min(level.tile_width, level.width - x * level.tile_width)
        if tile.shape[0] < height or tile.shape[1] < width:
            raise ReadError(f"decodes to {tile.shape[1]} x {tile.shape[0]} px, {width} x {height} px are there")
    return tile


def _dtype(header: Header) -> np.dtype[Any]:
    """Return the type of the pixels in memory."""
    return np.dtype(np.uint8) if header.dtype == bool else header.dtype.newbyteorder("=")


def _picked(samples: tuple[int, ...]) -> Any:
    """Return an index of the last axis: one sample without its axis, or a list of them."""
    return samples[0] if len(samples) == 1 else list(samples)
