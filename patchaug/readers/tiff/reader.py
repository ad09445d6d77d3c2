"""Tiled TIFF, BigTIFF, SVS and OME-TIFF: windows straight from the tiles."""

from __future__ import annotations

import math
import os
import threading
import weakref
from functools import partial
from typing import Any

import numpy as np

from patchaug.core.arrays import Array
from patchaug.core.windows import Window
from patchaug.errors import ReadError
from patchaug.readers.codecs.decompress import require_claims, unpack_tile, unwrap_lerc
from patchaug.readers.codecs.image_headers import first_rows, require_jpeg_end
from patchaug.readers.file import require_same
from patchaug.readers.file_handles import Descriptor, get_or_open
from patchaug.readers.georeference import Georeference
from patchaug.readers.tiff.header import Header, Level, read_header
from patchaug.readers.tiled import Layout, TiledRaster

_SMALL = 4 << 20  # bytes of a tile that each thread has room for
_thread = threading.local()


class TiffRaster(TiledRaster):
    """TIFF file, read tile by tile.

    Args:
        path: The file. Its header is read at the first use.
        mask: Read one integer a pixel, exactly as stored (also palette indices), and refuse lossy compression.
        name: Name in errors about windows; by default the file's name.
        ram: Bytes of decoded tiles that may be kept, see `TiledRaster`.

    Images are uint8, (height, width) for grey and (height, width, 3) for RGB. Masks keep their integer dtype; 1-bit
    ones become uint8 0 and 1.

    Example:
        >>> from patchaug import Window
        >>> from patchaug.readers import TiffRaster
        >>> raster = TiffRaster("slides/slide0.tiff")
        >>> raster.read(Window(10, 20, 64, 32)).shape
        (32, 64, 3)
    """

    _lazy = (*TiledRaster._lazy, "_parsed")

    def __init__(
        self, path: str | os.PathLike[str], *, mask: bool = False, name: str | None = None, ram: int = 0
    ) -> None:
        super().__init__(path, name=name, ram=ram)
        self.mask = mask
        self._parsed: tuple[Header, Layout] | None = None

    @property
    def header(self) -> Header:
        """Content of the tag tables.

        Raises:
            ReadError: The file cannot be opened, has changed, or is not supported.
        """
        return self._read_header()[0]

    def read_layout(self) -> Layout:
        """Return how the levels are cut into tiles."""
        return self._read_header()[1]

    def _read_header(self) -> tuple[Header, Layout]:
        if self._parsed is None:  # without a lock, which a fork could inherit: two threads get the same result
            self.require_unchanged()
            header = read_header(self.path, mask=self.mask)
            dtype = np.dtype(np.uint8) if header.dtype == bool else header.dtype.newbyteorder("=")
            channels = (header.samples,) if header.samples > 1 else ()
            self._parsed = header, Layout(tuple(level.grid for level in header.levels), dtype, channels)
        return self._parsed

    @property
    def codec(self) -> str:
        """Compression of the tiles: "JPEG", "LZW", "NONE", ..."""
        return self.header.codec

    def _cache_key(self) -> tuple[object, ...]:
        return (self.mask,)

    @property
    def mpp(self) -> tuple[float, float] | None:
        """Micrometres per pixel at level 0 as (x, y); None if the file does not store it."""
        return self.header.mpp

    @property
    def georeference(self) -> Georeference | None:
        """Place on the map; None if the file does not store it."""
        return self.header.georeference

    @property
    def white_is_0(self) -> bool:
        """Whether bits are stored as 0 for white, which readers show in two ways."""
        return self.header.white_is_0

    def decode_tile(self, level: int, number: int, window: Window) -> Array:
        """Decode one tile."""
        return self.decode_rows(level, number, window, self.header.levels[level].tile_height)

    def decode_rows(self, level: int, number: int, window: Window, rows: int) -> Array:
        """Decode at least the first rows of a tile."""
        header = self.header
        try:
            return self._pixels(header, header.levels[level], number, rows)
        except Exception as error:  # decoders raise errors of many libraries
            raise self.tile_error(level, number, window, error) from error

    def _pixels(self, header: Header, level: Level, number: int, rows: int) -> Array:
        offset, count = int(level.offsets[number]), int(level.counts[number])
        if count == 0:
            raise ReadError("missing: the header says 0 bytes")
        assert self._fingerprint is not None  # taken before the header was read
        size = self._fingerprint[0]
        if offset + count > size:  # before the bytes are allocated
            raise ReadError(f"cut off: bytes {offset} to {offset + count} of a file of {size} bytes")
        file = get_or_open(("tiff", self.path, self._fingerprint), self._open)
        if self._handle is None or self._handle() is not file:
            self._handle = weakref.ref(file)
        data = file.read(offset, count)
        if len(data) < count:
            raise ReadError(f"cut off: got {len(data)} of {count} bytes")
        require_jpeg_end(data)
        tile = None if level.jpeg is None else _jpeg_tile(data, level, header.samples, rows)
        if tile is None and level.packing is not None:
            tile = unpack_tile(data, level.packing, (level.tile_height, level.tile_width, header.samples))
            if tile is not None and header.samples == 1:
                tile = tile[..., 0]
        if tile is not None:
            return tile
        values = level.tile_width * level.tile_height * header.samples
        if header.codec == "LERC":
            data = unwrap_lerc(data, values * header.dtype.itemsize)
        require_claims(data, level.tile_width, level.tile_height, values)
        pixels: Any = level.decode(data, number, jpegtables=level.tables)[0]
        if header.dtype == bool and pixels.dtype == np.uint8:  # fax: one byte for each bit
            pixels = pixels.astype(bool)
        if pixels.dtype != header.dtype:
            raise ReadError(f"decodes to {pixels.dtype}, the header says {header.dtype}")
        plane: Array = pixels[0] if header.samples > 1 else pixels[0, :, :, 0]
        return plane

    def _open(self) -> Descriptor:
        return Descriptor(self.path, partial(require_same, self.path, self.require_unchanged()))


def _jpeg_tile(data: bytes, level: Level, samples: int, rows: int) -> Array | None:
    """Decode a tile of 8-bit JPEG, or at least its first rows, without tifffile.

    None for any other, which tifffile then looks at.
    """
    import imagecodecs

    height = level.tile_height
    if rows < height and (shorter := first_rows(data, height, rows)) is not None:
        data, height = shorter
    shape = (height, level.tile_width, *((samples,) if samples > 1 else ()))
    assert level.jpeg is not None
    try:
        tile: Array = imagecodecs.jpeg8_decode(data, out=_off_grid(shape), **level.jpeg)
    except Exception:  # an edge tile of the level's own size, or what tifffile will say in its words
        return None
    return tile


def _off_grid(shape: tuple[int, ...]) -> Array:
    """Return a uint8 array 16 bytes past a multiple of 32; small ones reuse the thread's buffer.

    Where rows begin at multiples of 32, libjpeg-turbo writes past the caches, which takes a third longer here, and
    what is written is read again at once: whoever asks for a tile copies from it before the thread decodes the next.
    """
    size = math.prod(shape)
    room: Array | None = getattr(_thread, "room", None)
    if room is None or room.size < size:
        room = np.empty(size + 32, np.uint8)
        start = (16 - room.ctypes.data) % 32
        room = room[start : start + size]
        if size <= _SMALL:
            _thread.room = room
    return room[:size].reshape(shape)
