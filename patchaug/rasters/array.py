"""Arrays as rasters: pictures that are in memory already, and the double that tests use."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from patchaug.errors import OptionError
from patchaug.geometry import Window
from patchaug.rasters.base import Array, Sizes, downsamples, require_inside


class ArrayRaster:
    """A numpy array or memmap, or one array per level.

    Args:
        array: (height, width) or (height, width, channels), any dtype; or a sequence of those, finest level first.
        name: What errors call it.
        mpp: Micrometres per pixel at level 0 as (x, y).

    Raises:
        OptionError: An array has another number of axes or no pixels, or a level differs in dtype or channels.
    """

    def __init__(
        self, array: Array | Sequence[Array], *, name: str = "array", mpp: tuple[float, float] | None = None
    ) -> None:
        levels = (array,) if isinstance(array, np.ndarray) else tuple(array)
        if not levels:
            raise OptionError(f"{name}: at least one array is needed, got none")
        for level, pixels in enumerate(levels):
            if not isinstance(pixels, np.ndarray):
                raise OptionError(f"{name}: level {level} must be a numpy array, got {type(pixels).__name__}")
            if pixels.ndim not in (2, 3) or pixels.size == 0:
                raise OptionError(
                    f"{name}: level {level} must be (height, width) or (height, width, channels) with at least one "
                    f"pixel, got shape {pixels.shape}"
                )
            if (pixels.dtype, pixels.shape[2:]) != (levels[0].dtype, levels[0].shape[2:]):
                raise OptionError(
                    f"{name}: level {level} is {pixels.dtype} {pixels.shape}, level 0 is {levels[0].dtype} "
                    f"{levels[0].shape}; dtype and channels must be the same"
                )
        self.name = name
        self.mpp = mpp
        self.level_dimensions: Sizes = tuple((pixels.shape[1], pixels.shape[0]) for pixels in levels)
        self.level_downsamples = downsamples(self.level_dimensions)
        self._levels = levels

    def __repr__(self) -> str:
        return f"ArrayRaster({self.name!r}, {self.level_dimensions})"

    def read(self, window: Window) -> Array:
        """The window's pixels as a copy, so that nobody writes into the source.

        Raises:
            WindowError: The window leaves its level, or there is no such level.
        """
        require_inside(self.name, self.level_dimensions, window)
        part = self._levels[window.level][window.y : window.bottom, window.x : window.right]
        return np.array(part, order="C", subok=False)
