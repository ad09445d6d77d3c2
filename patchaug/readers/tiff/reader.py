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
from patchaug.readers.channels import Channels, split_alpha
from patchaug.readers.codecs.decompress import require_claims, unpack_tile, unwrap_lerc
from patchaug.readers.codecs.image_headers import first_rows, require_jpeg_end
from patchaug.readers.file import require_same
from patchaug.readers.file_handles import Descriptor, get_or_open
from patchaug.readers.georeference import Georeference
from patchaug.readers.tiff.header import Header, Level, Part, read_header
from patchaug.readers.tiff.scenes import Scene
from patchaug.readers.tiled import Layout, TiledRaster

_SAMPLE = 8  # tiles that are decoded to see whether a channel is transparency
_SMALL = 4 << 20  # bytes of a tile that each thread has room for
_thread = threading.local()


class TiffRaster(TiledRaster):
    """TIFF file, read tile by tile.

    Args:
        path: The file. Its header is read at the first use.
        mask: Read one integer a pixel, exactly as stored (also palette indices), and refuse lossy compression.
        name: Name in errors about windows; by default the file's name.
        ram: Bytes of decoded tiles that may be kept, see `TiledRaster`.
        channels: Channels of an image to read, by number or name; None for all but transparency.
        series: Picture to read, by number or name; None for the only full one.

    Images have one of the types of `patchaug.readers.formats`: (height, width) for one channel, else (height, width,
    channels). Masks keep their integer dtype; 1-bit ones become uint8 0 and 1.

    Examples:
        >>> from patchaug import Window
        >>> from patchaug.readers import TiffRaster
        >>> raster = TiffRaster("slides/slide0.tiff")
        >>> raster.read(Window(10, 20, 64, 32)).shape
        (32, 64, 3)
    """

    _lazy = (*TiledRaster._lazy, "_parsed")

    def __init__(
        self, path: str | os.PathLike[str], *, mask: bool = False, name: str | None = None, ram: int = 0,
        channels: Channels | None = None, series: Scene | None = None,
    ) -> None:  # fmt: skip
        super().__init__(path, name=name, ram=ram)
        self.mask, self.chosen, self.series = mask, channels, series
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
            header = read_header(self.path, mask=self.mask, channels=self.chosen, series=self.series)
            dtype = np.dtype(np.uint8) if header.dtype == bool else header.dtype.newbyteorder("=")
            grids = tuple(level.grid for level in header.levels)
            self._parsed = header, Layout(grids, dtype, header.colours.channels)
        return self._parsed

    @property
    def codec(self) -> str:
        """Compression of the tiles: "JPEG", "LZW", "NONE", ..."""
        return self.header.codec

    def _cache_key(self) -> tuple[object, ...]:
        return self.mask, self.header.colours.samples, self.series

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

    @property
    def channels(self) -> int:
        """Number of channels that are read."""
        colours = self.header.colours
        return (colours.channels[0] if colours.channels else 1) - colours.alpha

    @property
    def channel_names(self) -> tuple[str, ...] | None:
        """Names of the channels that are read; None where the file does not name them."""
        return self.header.colours.names

    def read(self, window: Window) -> Array:
        """Read a window; see `TiledRaster`. Transparent pixels of 8 bits are white."""
        return self.read_valid(window)[0]

    def read_valid(self, window: Window) -> tuple[Array, Array | None]:
        """Read a window, and whether each of its pixels is valid, bool (height, width); None where all are."""
        stored = super().read(window)
        if not self.header.colours.alpha:
            return stored, None
        place = f", level {window.level}, window x={window.x} y={window.y}"
        return split_alpha(self.path, stored, strict=window.level == 0, place=place)

    def check_alpha(self) -> None:
        """Decode a sample of tiles of level 0 where a channel is tagged as alpha, and check that it is.

        Raises:
            ReadError: The channel holds data, see `split_alpha`; or a tile cannot be read.
        """
        if not self.header.colours.alpha:
            return
        grid = self.header.levels[0].grid
        for number in {int(at) for at in np.linspace(0, grid.tiles - 1, _SAMPLE)}:
            x, y = number % grid.across * grid.tile_width, number // grid.across * grid.tile_height
            size = min(grid.tile_width, grid.width - x), min(grid.tile_height, grid.height - y)
            self.uncached().read(Window(x, y, *size))

    def read_stored(self, window: Window) -> Array:
        """Read a window with transparency as its last channel, where the picture has it."""
        return super().read(window)

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
        colours, first = header.colours, level.parts[0]
        if len(level.parts) == 1:
            tile = self._part(header, level, first, number, rows)
            if colours.palette is not None:
                return np.asarray(colours.palette[tile] if colours.channels else colours.palette[tile, 0])
            if colours.plain:
                return tile
            return np.asarray((tile if first.samples > 1 else tile[..., None])[..., _picked(colours.samples)])
        chosen = [divmod(sample, first.samples) for sample in colours.samples]
        pixels: Array | None = None
        for part in sorted({part for part, _ in chosen}):
            tile = self._part(header, level, level.parts[part], number, rows)
            tile = tile if first.samples > 1 else tile[..., None]
            if pixels is None:
                pixels = np.empty((*tile.shape[:2], len(chosen)), tile.dtype)
            height, width = (min(tile.shape[axis], pixels.shape[axis]) for axis in (0, 1))
            pixels = pixels[:height, :width]
            for channel in (k for k, (one, _) in enumerate(chosen) if one == part):
                pixels[..., channel] = tile[:height, :width, chosen[channel][1]]
        assert pixels is not None
        return pixels[..., 0] if len(chosen) == 1 else pixels

    def _part(self, header: Header, level: Level, part: Part, number: int, rows: int) -> Array:
        """Decode the tile of one part, (rows, columns[, samples])."""
        offset, count = int(part.offsets[number]), int(part.counts[number])
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
        tile = None if part.jpeg is None else _jpeg_tile(data, level, part, rows)
        if tile is None and part.packing is not None:
            tile = unpack_tile(data, part.packing, (level.tile_height, level.tile_width, part.samples))
            if tile is not None and part.samples == 1:
                tile = tile[..., 0]
        if tile is not None:
            return tile
        values = level.tile_width * level.tile_height * part.samples
        if header.codec == "LERC":
            data = unwrap_lerc(data, values * header.dtype.itemsize)
        require_claims(data, level.tile_width, level.tile_height, values)
        pixels: Any = part.decode(data, part.first + number, jpegtables=part.tables)[0]
        if header.dtype == bool and pixels.dtype == np.uint8:  # fax: one byte for each bit
            pixels = pixels.astype(bool)
        if pixels.dtype.newbyteorder("=") != header.dtype.newbyteorder("="):
            raise ReadError(f"decodes to {pixels.dtype}, the header says {header.dtype}")
        pixels = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
        plane: Array = pixels[0] if part.samples > 1 else pixels[0, :, :, 0]
        return plane

    def _open(self) -> Descriptor:
        return Descriptor(self.path, partial(require_same, self.path, self.require_unchanged()))


def _picked(samples: tuple[int, ...]) -> Any:
    """Return an index of the last axis: one sample without its axis, or a list of them."""
    return samples[0] if len(samples) == 1 else list(samples)


def _jpeg_tile(data: bytes, level: Level, part: Part, rows: int) -> Array | None:
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
