"""GDAL's internal masks: pages of a TIFF that say which pixels of a picture are valid."""

from __future__ import annotations

import numpy as np

from patchaug.core.arrays import Array
from patchaug.core.windows import Window
from patchaug.readers.base import Sizes
from patchaug.readers.tiff.header import Header
from patchaug.readers.tiff.tiles import TiffTiles


class InsideMask(TiffTiles):
    """Internal mask of a picture, read by windows of the picture.

    Args:
        of: The raster of the picture.
        header: Its header, which has an internal mask.
    """

    def __init__(self, of: TiffTiles, header: Header) -> None:
        assert header.inside is not None
        super().__init__(of.path, name=of.name)
        self.ram, self._arena = of.ram, of._arena
        self.expect(of._fingerprint)
        self._header, self.picture = header.inside, header.dimensions

    def parse_header(self, *, decoders: bool = False) -> Header:
        """Return the header of the mask's pages."""
        return self._header

    def _cache_key(self) -> tuple[object, ...]:
        return "internal mask", self._header.levels[0].parts[0].offsets[:4].tolist()

    def read_valid(self, window: Window) -> Array:
        """Return whether each pixel of a window of the picture is valid, bool (height, width).

        A level of the picture without a mask takes the pixels of the mask's level 0 under its pixels' centres.
        """
        sizes: Sizes = self.level_dimensions
        size = self.picture[window.level]
        if size in sizes:
            own = Window(window.x, window.y, window.width, window.height, sizes.index(size))
            return np.asarray(self.read(own) != 0)
        columns, rows = (
            (2 * np.arange(start, stop) + 1) * whole // (2 * length)
            for start, stop, whole, length in zip(
                (window.x, window.y), (window.right, window.bottom), sizes[0], size, strict=True
            )
        )
        left, top = int(columns[0]), int(rows[0])
        found = self.read(Window(left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top))
        return np.asarray(found[np.ix_(rows - top, columns - left)] != 0)
