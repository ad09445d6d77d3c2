"""Tiled TIFF, BigTIFF, SVS and OME-TIFF: windows straight from the tiles."""

from __future__ import annotations

import os
from hashlib import blake2b
from typing import Self

import numpy as np

from patchaug.core.arguments import names_arguments_of_init
from patchaug.core.arrays import Array
from patchaug.core.windows import Window
from patchaug.readers.channels import Channels, split_alpha
from patchaug.readers.georeference import Georeference
from patchaug.readers.identity import Identity, identify_file
from patchaug.readers.tiff.header import Header, read_header
from patchaug.readers.tiff.inside_mask import InsideMask
from patchaug.readers.tiff.missing_values import has_data
from patchaug.readers.tiff.scenes import Scene
from patchaug.readers.tiff.tiles import TiffTiles

_SAMPLE = 8  # tiles that are decoded to see whether a channel is transparency


@names_arguments_of_init
class TiffRaster(TiffTiles):
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

    _lazy = (*TiffTiles._lazy, "_inside")

    def __init__(
        self, path: str | os.PathLike[str], *, mask: bool = False, name: str | None = None, ram: int = 0,
        channels: Channels | None = None, series: Scene | None = None,
    ) -> None:  # fmt: skip
        super().__init__(path, name=name, ram=ram)
        self.mask, self.chosen, self.series = mask, channels, series
        self._inside: InsideMask | None = None

    def parse_header(self, *, decoders: bool = False) -> Header:
        """Read the tag tables, see `read_header`."""
        return read_header(self.path, mask=self.mask, channels=self.chosen, series=self.series, decoders=decoders)

    def uncached(self) -> Self:
        """Return a raster of the same file that caches no tiles."""
        other = super().uncached()
        other._inside = None
        return other

    @property
    def codec(self) -> str:
        """Compression of the tiles: "JPEG", "LZW", "NONE", ..."""
        return self.header.codec

    def identity(self) -> Identity:
        """Return what identifies the pixels: file, options, and where each tile lies."""
        tables = blake2b(digest_size=16)
        for part in (part for level in self.header.levels for part in level.parts):
            tables.update(part.offsets.tobytes() + part.counts.tobytes())
        options = self._cache_key(), repr(self.layout), str(self.header.nodata), tables.hexdigest()
        return "tiff", identify_file(self.path), *options, self.require_unchanged()[:2]

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

    @property
    def complete(self) -> bool:
        """Whether every pixel is known to be valid: no alpha, nodata value, internal mask or missing tile.

        Of a mask: whether all of its tiles are stored.
        """
        return not self.missing_tiles()[0] if self.mask else self.header.complete

    def read(self, window: Window) -> Array:
        """Read a window; see `TiledRaster`. Transparent pixels of 8 bits are white."""
        return self.read_valid(window)[0]

    def read_valid(self, window: Window) -> tuple[Array, Array | None]:
        """Read a window, and whether each of its pixels is valid, bool (height, width); None where all are."""
        stored = super().read(window)
        if self.mask or (self._parsed or self._read_header())[0].complete:
            return stored, None
        return self.split_valid(stored, window)

    def split_valid(self, stored: Array, window: Window) -> tuple[Array, Array | None]:
        """Split the stored pixels of a window into pixels and validity.

        An internal mask overrides a nodata value, as in GDAL.

        Args:
            stored: The pixels, with transparency as their last channel where the picture has it.
            window: Where they lie.

        Returns:
            The pixels, and whether each is valid, bool (height, width); None where all are.
        """
        header, pixels, valid = self.header, stored, None
        if header.colours.alpha:
            place = f", level {window.level}, window x={window.x} y={window.y}"
            pixels, valid = split_alpha(self.path, stored, strict=window.level == 0, place=place)
        elif header.nodata is not None and header.inside is None and header.colours.palette is None:
            valid = has_data(pixels, header.nodata)
        known = self._read_known(window)
        if known is not None:
            valid = known if valid is None else valid & known
        return pixels, None if valid is None or valid.all() else valid

    def read_validity(self, window: Window) -> Array | None:
        """Return whether each pixel of a window is valid, bool (height, width); None where all are.

        The picture is decoded only where its pixels determine that.
        """
        header = self.header
        if header.colours.alpha or (header.nodata is not None and header.inside is None):
            return self.read_valid(window)[1]
        known = self._read_known(window)
        return None if known is None or known.all() else known

    def _read_known(self, window: Window) -> Array | None:
        """Return which pixels the internal mask and the table of tiles permit; None for all."""
        header = self.header
        valid = None
        if header.inside is not None:
            if self._inside is None:
                self._inside = InsideMask(self, header)
            valid = self._inside.read_valid(window)
        absent = header.missing[window.level]
        if absent is None:
            return valid
        grid = header.levels[window.level].grid
        across, down = (
            np.arange(start, stop) // side
            for start, stop, side in (
                (window.x, window.right, grid.tile_width), (window.y, window.bottom, grid.tile_height)
            )
        )  # fmt: skip
        stored = ~absent.reshape(-1, grid.across)[np.ix_(down, across)]
        return stored if valid is None else valid & stored

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
