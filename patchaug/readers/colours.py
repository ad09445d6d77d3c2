"""Masks that are pictures: one colour for each class."""

from __future__ import annotations

from collections import Counter

import numpy as np

from patchaug.core.arrays import Array
from patchaug.core.windows import Window
from patchaug.errors import LabelError
from patchaug.readers.base import Raster, Sizes
from patchaug.readers.hooks import read_ahead, tile_size, uncached
from patchaug.readers.identity import Identity, identity_of

_SAMPLED = 16 << 20  # pixels in which colours are counted for an error's text


class ColourRaster:
    """Colours of a picture as integers 0xRRGGBB, uint32 (height, width).

    Args:
        picture: Raster of uint8, grey or RGB, or RGBA that is opaque.

    Examples:
        >>> import numpy as np
        >>> from patchaug import Window
        >>> from patchaug.readers import ArrayRaster
        >>> from patchaug.readers.colours import ColourRaster
        >>> red = np.full((4, 6, 3), (255, 0, 0), np.uint8)
        >>> hex(ColourRaster(ArrayRaster(red)).read(Window(0, 0, 1, 1))[0, 0])
        '0xff0000'
    """

    def __init__(self, picture: Raster) -> None:
        self.picture, self.name = picture, picture.name

    @property
    def path(self) -> str | None:
        """Path of the file; None for arrays."""
        path: str | None = getattr(self.picture, "path", None)
        return path

    @property
    def level_dimensions(self) -> Sizes:
        """(width, height) per level."""
        return self.picture.level_dimensions

    @property
    def level_downsamples(self) -> tuple[float, ...]:
        """Level-0 pixels per pixel of each level."""
        return self.picture.level_downsamples

    @property
    def mpp(self) -> tuple[float, float] | None:
        """Micrometres per pixel at level 0."""
        return self.picture.mpp

    @property
    def georeference(self) -> object:
        """Place on the map, where the file stores it."""
        return getattr(self.picture, "georeference", None)

    def tile_size(self, level: int) -> tuple[int, int]:
        """Return (width, height) of the storage tiles of a level."""
        return tile_size(self.picture, level)

    def uncached(self) -> ColourRaster:
        """Return a raster of the same pixels that caches none."""
        return ColourRaster(uncached(self.picture))

    def read_ahead(self, window: Window) -> None:
        """Start to fetch a window that will be read soon."""
        read_ahead(self.picture, window)

    def identity(self) -> Identity | None:
        """Return what identifies the pixels: those of the picture."""
        found = identity_of(self.picture)
        return None if found is None else ("colours", found)

    def __repr__(self) -> str:
        return f"ColourRaster({self.picture!r})"

    def read(self, window: Window) -> Array:
        """Read the colours of a window.

        Raises:
            LabelError: The picture is not 8-bit grey or RGB, or is transparent.
            WindowError, ReadError: As the picture raises them.
        """
        pixels = self.picture.read(window)
        if pixels.dtype != np.uint8 or (pixels.ndim == 3 and pixels.shape[2] not in (1, 3, 4)):
            raise LabelError(
                f"{self.name}: a mask of colours must be 8-bit grey or RGB, got {pixels.dtype} {pixels.shape}"
            )
        if pixels.ndim == 3 and pixels.shape[2] == 4:
            if (pixels[..., 3] != 255).any():
                raise LabelError(f"{self.name}: a mask of colours must be opaque, and its alpha is below 255; save RGB")
            pixels = pixels[..., :3]
        wide = pixels.astype(np.uint32)
        if wide.ndim == 2 or wide.shape[2] == 1:
            return np.asarray(wide.reshape(wide.shape[:2]) * np.uint32(0x010101))
        return np.asarray(wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2])


def common_colours(raster: Raster) -> list[int]:
    """Return the colours of the first pixels of a picture, the most frequent first."""
    width, height = raster.level_dimensions[0]
    rows = max(min(height, _SAMPLED // width), 1)
    values, counts = np.unique(ColourRaster(raster).read(Window(0, 0, width, rows)), return_counts=True)
    return [value for value, _ in Counter(dict(zip(values.tolist(), counts.tolist(), strict=True))).most_common()]
