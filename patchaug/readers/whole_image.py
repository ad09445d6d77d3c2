"""Formats without random access (PNG, JPEG, BMP, stripped TIFF): decoded whole, once for all processes."""

from __future__ import annotations

import gc
import math
import os
from typing import NamedTuple

import numpy as np

from patchaug.core.arguments import names_arguments_of_init
from patchaug.core.arrays import Array
from patchaug.core.memory.anonymous import LostDescriptorError
from patchaug.core.memory.arena import UNIT
from patchaug.core.memory.tile_cache import TileCache
from patchaug.core.windows import Window
from patchaug.errors import OptionError, ReadError
from patchaug.readers.channels import Channels, channel_numbers, split_alpha
from patchaug.readers.file import UnsupportedError, open_file
from patchaug.readers.file_handles import open_with_room
from patchaug.readers.georeference import Georeference
from patchaug.readers.hooks import BLOCK
from patchaug.readers.identity import Identity, identify_file
from patchaug.readers.tiff.header import is_tiff
from patchaug.readers.tiff.reader import TiffRaster
from patchaug.readers.tiff.scenes import Scene
from patchaug.readers.tile_grid import Layout, TileGrid
from patchaug.readers.tiled import TiledRaster
from patchaug.readers.whole_file import decode_picture, read_format

_BAND = 4 << 20  # pixels converted at a time


class _Info(NamedTuple):
    """What a header says: layout as stored, mpp, whether transparency comes last, channels to pick, their names.

    `tiff` is the file as a TIFF, which tells valid pixels from others.
    """

    layout: Layout
    mpp: tuple[float, float] | None
    alpha: bool
    chosen: tuple[int, ...] | None
    names: tuple[str, ...] | None
    tiff: TiffRaster | None = None


@names_arguments_of_init
class ImageRaster(TiledRaster):
    """Image file of one level that can only be decoded as a whole.

    Args:
        path: The file. Its header is read at the first use, its pixels at the first read.
        mask: Keep the integers as stored: indices of a palette, grey values, 0 and 1 of 1-bit files.
        ram: Bytes that may be kept, see `TiledRaster`; the decoded pixels must fit in.
        name: Name in errors about windows; by default the file's name.
        channels: Channels of an image to read, by number or name; None for all but transparency.
        series: Picture of a TIFF to read, by number or name; None for the only full one.
        tiff: The same file as an uncached TIFF, its header parsed already; None for another format, or to parse it.

    Images have one of the types of `patchaug.readers.formats`: (height, width) for one channel, else (height, width,
    channels). Transparent pixels of 8 bits are white. The EXIF orientation is applied.

    Examples:
        >>> import numpy as np
        >>> from PIL import Image
        >>> from patchaug import Window
        >>> from patchaug.readers import ImageRaster
        >>> Image.fromarray(np.zeros((40, 60, 3), np.uint8)).save("a.png")
        >>> ImageRaster("a.png", mask=False, ram=1 << 30).read(Window(10, 20, 8, 4)).shape
        (4, 8, 3)
    """

    _lazy = (*TiledRaster._lazy, "_parsed", "_tiff")
    needs_all = True

    def __init__(
        self, path: str | os.PathLike[str], *, mask: bool, ram: int, name: str | None = None,
        channels: Channels | None = None, series: Scene | None = None, tiff: TiffRaster | None = None,
    ) -> None:  # fmt: skip
        super().__init__(path, name=name, ram=ram)
        self.mask, self.chosen, self.series = mask, channels, series
        self._parsed: _Info | None = None
        # (raster,) of a TIFF in strips and (None,) of other formats; None before the first use in a process.
        self._tiff: tuple[TiffRaster | None] | None = None if tiff is None else (tiff,)
        if tiff is not None:
            self.expect(tiff.require_unchanged())

    @property
    def _info(self) -> _Info:
        """Layout, mpp and channels; from the header alone."""
        if self._parsed is None:
            self.require_unchanged()
            tiff = self._stripped_tiff()
            if tiff is not None:
                (width, height), colours = tiff.level_dimensions[0], tiff.header.colours
                layout = Layout((TileGrid(width, height, width, height),), tiff.layout.dtype, tiff.layout.channels)
                self._parsed = _Info(layout, tiff.mpp, colours.alpha, None, colours.names, tiff)
            else:
                self._parsed = self._picture_info()
        return self._parsed

    def _picture_info(self) -> _Info:
        if self.series not in (None, 0):
            raise OptionError(f"{self.path}: there is no series {self.series!r}; the file holds one picture")
        found = read_format(self.path, mask=self.mask)
        channels = (found.channels,) if found.channels > 1 else ()
        layout = Layout((TileGrid(found.width, found.height, found.width, found.height),), found.dtype, channels)
        if self.chosen is None:
            return _Info(layout, None, found.alpha, None, None)
        numbers = channel_numbers(self.path, found.channels, None, self.chosen)
        return _Info(layout, None, False, None if numbers == tuple(range(found.channels)) else numbers, None)

    def read_layout(self) -> Layout:
        """Return one tile that holds the whole image."""
        return self._info.layout

    @property
    def mpp(self) -> tuple[float, float] | None:
        """Micrometres per pixel as (x, y), where a TIFF stores it."""
        return self._info.mpp

    @property
    def channel_names(self) -> tuple[str, ...] | None:
        """Names of the channels; None where the file does not name them."""
        return self._info.names

    @property
    def georeference(self) -> Georeference | None:
        """Place on the map, where a TIFF stores it."""
        tiff = self._stripped_tiff()
        return None if tiff is None else tiff.georeference

    @property
    def white_is_0(self) -> bool:
        """Whether bits of a TIFF are stored as 0 for white, which readers show in two ways."""
        tiff = self._stripped_tiff()
        return tiff is not None and tiff.white_is_0

    @property
    def channels(self) -> int:
        """Number of channels that are read."""
        info = self._info
        stored = info.layout.channels[0] if info.layout.channels else 1
        return stored - info.alpha if info.chosen is None else len(info.chosen)

    @property
    def complete(self) -> bool:
        """Whether every pixel is known to be valid."""
        info = self._info
        return not info.alpha if info.tiff is None else info.tiff.complete

    def missing_tiles(self) -> tuple[int, int]:
        """Return how many strips of a TIFF are not stored, and how many there are."""
        tiff = self._info.tiff
        return (0, 1) if tiff is None else tiff.missing_tiles()

    def read(self, window: Window) -> Array:
        """Read a window. Transparent pixels of 8 bits are white."""
        return self.read_valid(window)[0]

    def read_valid(self, window: Window) -> tuple[Array, Array | None]:
        """Read a window, and whether each of its pixels is valid, bool (height, width); None where all are."""
        stored, info = super().read(window), self._info
        if info.chosen is not None:
            several = stored if stored.ndim == 3 else stored[..., None]
            return np.ascontiguousarray(several[..., list(info.chosen)]), None
        if info.tiff is not None and not info.tiff.complete:
            return info.tiff.split_valid(stored, window)
        if not info.alpha:
            return stored, None
        return split_alpha(self.path, stored, strict=True, place=f", window x={window.x} y={window.y}")

    def identity(self) -> Identity:
        """Return what identifies the pixels: file and options."""
        return "image", identify_file(self.path), self._cache_key(), repr(self.layout), self.require_unchanged()[:2]

    def _cache_key(self) -> tuple[object, ...]:
        return self.mask, self.series, repr(self.chosen)

    def _cache_limit(self) -> int:
        return self.ram + 2 * UNIT  # the table, and rounding: the pixels alone count

    def tile_size(self, level: int) -> tuple[int, int]:
        """Return (width, height) of the windows to read one by one: any, because the pixels are decoded once."""
        width, height = self.level_dimensions[level]
        return min(width, BLOCK), min(height, BLOCK)

    def uncached(self) -> ImageRaster:
        """Return the raster itself: it reads nothing without room for all of its pixels."""
        return self

    def require_fits(self) -> None:
        """Check from the header that the decoded pixels fit into the budget, and take the room for them.

        Raises:
            ReadError: The pixels do not fit, or the file is not supported.
        """
        self._reserve()

    def _reserve(self) -> TileCache:
        layout = self.layout
        grid, shape = layout.grids[0], layout.shapes[0]
        size = layout.dtype.itemsize * math.prod(layout.channels)
        whole = grid.width * grid.height * size
        store = self._room(whole)
        if store is None and whole <= self.ram:
            gc.collect()  # deleted slides in reference cycles, such as those of a fastai learner, still hold theirs
            store = self._room(whole)
        if store is None:
            kind = "deflate" if self.mask else "jpeg"
            taken = "" if whole > self.ram else ", which other slides have taken already"
            raise ReadError(
                f"{self.path}: {grid.width} x {grid.height} px x {size} bytes = {whole:,} bytes must be decoded "
                f"whole, and the budget is ram={self.ram:,}{taken}; raise ram=, or convert to a tiled TIFF (vips "
                f"tiffsave in.png out.tiff --tile --pyramid --compression {kind}), or pass an array"
            )
        assert shape[:2] == (grid.height, grid.width)
        return store

    def _room(self, size: int) -> TileCache | None:
        store = self._open_cache() if size <= self.ram else None
        return store if store is not None and store.reserve(0, size) else None

    def _fetch_tile(self, store: TileCache | None, level: int, number: int, window: Window, rows: int) -> Array:
        layout = self.layout
        try:
            return self._reserve().fill(0, layout.shapes[0], layout.dtype, self._decode)
        except LostDescriptorError:  # decode again, into memory that another part of the program has not closed
            return self._reserve().fill(0, layout.shapes[0], layout.dtype, self._decode)

    def _decode(self, out: Array) -> None:
        """Decode all pixels into a given array."""
        height, width = out.shape[:2]
        tiff = self._stripped_tiff()
        if tiff is not None:
            tiff = tiff.uncached()  # this raster caches its pixels, and holds the lock of the cache
            rows = tiff.layout.grids[0].tile_height  # each strip is decoded for one band alone
            rows *= max(1, _BAND // (rows * width))
            for top in range(0, height, rows):
                out[top : top + rows] = tiff.read_stored(Window(0, top, width, min(rows, height - top)))
            return
        self.require_unchanged()
        open_with_room(self.path, lambda: decode_picture(self.path, out, mask=self.mask))
        self.require_unchanged()

    def _stripped_tiff(self) -> TiffRaster | None:
        """Return the file as a stripped TIFF; None for other formats and for a TIFF that only Pillow reads."""
        if self._tiff is None:
            self._tiff = (self._parse_tiff(),)
        return self._tiff[0]

    def _parse_tiff(self) -> TiffRaster | None:
        """Parse the header of a TIFF; see `_stripped_tiff`."""
        with open_file(self.path, whole=False) as file:
            if not is_tiff(file.read(4)):
                return None
        tiff = TiffRaster(self.path, mask=self.mask, name=self.name, channels=self.chosen, series=self.series)
        tiff.expect(self._fingerprint)
        try:
            tiff.header  # noqa: B018 - reads it
        except UnsupportedError:
            if self.mask:
                raise
            return None
        return tiff
