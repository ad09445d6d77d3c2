"""Tiled TIFF, BigTIFF, SVS and OME-TIFF: windows straight from the tiles."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from patchaug.errors import ReadError
from patchaug.geometry import Window
from patchaug.rasters.base import Array, Sizes, downsamples, require_inside
from patchaug.rasters.file import FileRaster, one_line
from patchaug.rasters.handles import Descriptor, handle
from patchaug.rasters.tiffheader import Header, Level, read_header

_EOI = b"\xff\xd9"


class TiffRaster(FileRaster):
    """A TIFF file, read tile by tile.

    Args:
        path: The file. Its header is read at the first use.
        mask: Read one integer a pixel, exactly as stored (also palette indices), and refuse lossy compression.
        name: What window errors call it; the file's name by default.

    Images are uint8, (height, width) for grey and (height, width, 3) for RGB. Masks keep their integer dtype; 1-bit
    ones become uint8 0 and 1.
    """

    _lazy = ("_known",)

    def __init__(self, path: str | os.PathLike[str], *, mask: bool = False, name: str | None = None) -> None:
        super().__init__(path, name=name)
        self.mask = mask
        self._known: Header | None = None

    @property
    def header(self) -> Header:
        """What the tag tables say.

        Raises:
            ReadError: The file cannot be opened, has changed, or is none that this class reads.
        """
        if self._known is None:  # two threads may both parse it: the same result, and no lock to be left over in a fork
            self._same_file()
            self._known = read_header(self.path, mask=self.mask)
        return self._known

    @property
    def level_dimensions(self) -> Sizes:
        """(width, height) per level in pixels, finest first."""
        return self.header.dimensions

    @property
    def level_downsamples(self) -> tuple[float, ...]:
        """Level-0 pixels per pixel of each level."""
        return downsamples(self.header.dimensions)

    @property
    def mpp(self) -> tuple[float, float] | None:
        """Micrometres per pixel at level 0 as (x, y); None where the file does not say."""
        return self.header.mpp

    def read(self, window: Window) -> Array:
        """The window's pixels; each tile that it touches is decoded once.

        Raises:
            WindowError: The window leaves its level, or there is no such level.
            ReadError: A tile is missing, cut short or cannot be decoded, or the file has changed.
        """
        header = self.header
        require_inside(self.name, header.dimensions, window)
        level = header.levels[window.level]
        tw, th = level.tile_width, level.tile_height
        channels = (header.samples,) if header.samples > 1 else ()
        dtype = np.dtype(np.uint8) if header.dtype == bool else header.dtype
        out: Array = np.empty((window.height, window.width, *channels), dtype)
        for row in range(window.y // th, (window.bottom - 1) // th + 1):
            top, bottom = max(window.y, row * th), min(window.bottom, (row + 1) * th)
            for column in range(window.x // tw, (window.right - 1) // tw + 1):
                left, right = (max(window.x, column * tw), min(window.right, (column + 1) * tw))
                tile = self._tile(header, level, row * level.across + column, window)
                part = tile[top - row * th : bottom - row * th, left - column * tw : right - column * tw]
                out[top - window.y : bottom - window.y, left - window.x : right - window.x] = part
        return out

    def _tile(self, header: Header, level: Level, number: int, window: Window) -> Array:
        """One decoded tile, (rows, columns[, channels]) of the header's dtype."""
        try:
            return self._decoded(header, level, number)
        except Exception as error:  # decoders raise errors of many libraries
            why = str(error) if isinstance(error, ReadError) else one_line(error)
            raise ReadError(
                f"{self.path}: tile {number} of level {window.level} cannot be read ({why}), wanted for window "
                f"x={window.x} y={window.y} {window.width} x {window.height}; copy or export the file again"
            ) from error

    def _decoded(self, header: Header, level: Level, number: int) -> Array:
        offset, count = int(level.offsets[number]), int(level.counts[number])
        if count == 0:
            raise ReadError("missing: the header says 0 bytes")
        assert self._fingerprint is not None  # taken before the header was read
        size = self._fingerprint[0]
        if offset + count > size:  # before the bytes are allocated
            raise ReadError(f"cut off: bytes {offset} to {offset + count} of a file of {size} bytes")
        data = handle(("tiff", self.path, self._fingerprint), self._open).read(offset, count)
        if len(data) < count:
            raise ReadError(f"cut off: got {len(data)} of {count} bytes")
        if data[:2] == b"\xff\xd8" and _EOI not in data[-64:] and data.rfind(_EOI) < 0:
            raise ReadError("JPEG data without an end")  # libjpeg would fill up with grey in silence
        pixels: Any = level.decode(data, number, jpegtables=level.tables)[0]
        if pixels.dtype != header.dtype:
            raise ReadError(f"decodes to {pixels.dtype}, the header says {header.dtype}")
        plane: Array = pixels[0] if header.samples > 1 else pixels[0, :, :, 0]
        return plane

    def _open(self) -> Descriptor:
        self._same_file()
        return Descriptor(self.path)
