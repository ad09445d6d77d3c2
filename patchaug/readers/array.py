"""Rasters of arrays in memory; tests use them in place of files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from patchaug.core.arrays import Array
from patchaug.core.memory.anonymous import is_starting_process
from patchaug.core.memory.mapped_arrays import MappedArray
from patchaug.core.memory.shared_arrays import LARGE, SharedArray
from patchaug.core.windows import Window
from patchaug.errors import OptionError
from patchaug.readers.base import Sizes, downsamples, require_inside


class ArrayRaster:
    """Raster of a numpy array or memmap, or of one array per level.

    Args:
        array: (height, width) or (height, width, channels), any dtype; or a sequence of those, finest level first.
        name: Name in errors.
        mpp: Micrometres per pixel at level 0 as (x, y).

    Arrays must not change while they are read. Processes that are started by spawn or forkserver share one copy of an
    array above `LARGE` bytes, from which this process then reads as well; of a memory map they map the file again.

    Raises:
        OptionError: An array has another number of axes or no pixels, or a level differs in dtype or channels.

    Examples:
        >>> import numpy as np
        >>> from patchaug import Window
        >>> from patchaug.readers import ArrayRaster
        >>> raster = ArrayRaster([np.zeros((40, 60, 3), np.uint8), np.zeros((20, 30, 3), np.uint8)], mpp=(0.5, 0.5))
        >>> raster.level_downsamples
        (1.0, 2.0)
        >>> raster.read(Window(2, 3, 8, 4, level=1)).shape
        (4, 8, 3)
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
        self.dtype = levels[0].dtype
        self.channels = levels[0].shape[2] if levels[0].ndim == 3 else 1
        self.level_dimensions: Sizes = tuple((pixels.shape[1], pixels.shape[0]) for pixels in levels)
        self.level_downsamples = downsamples(self.level_dimensions)
        self._levels: list[Array | Callable[[], Array]] = [
            MappedArray.from_memmap(pixels) or pixels for pixels in levels
        ]
        self._shared: dict[int, SharedArray] = {}

    @classmethod
    def from_callable(cls, pixels: Callable[[], Array], *, name: str) -> ArrayRaster:
        """Create a raster that fetches its array at each read, for memory that may move, such as a tensor's."""
        raster = cls(pixels(), name=name)
        raster._levels = [pixels]
        return raster

    def array(self, level: int = 0) -> Array:
        """Return the array itself, (height, width[, channels]); it must not be written to."""
        source = self._levels[level]
        return source() if callable(source) else source

    def __getstate__(self) -> dict[str, Any]:
        starting = is_starting_process()
        state = {**self.__dict__, "_shared": {}, "_levels": []}
        for level, pixels in enumerate(self._levels):
            array = None if isinstance(pixels, MappedArray) else self.array(level)
            if starting and array is not None and (level in self._shared or array.nbytes >= LARGE):
                if level not in self._shared:
                    self._shared[level] = SharedArray(array)
                    self._levels[level] = self._shared[level].array()  # the private copy goes, if nobody else has it
                state["_shared"][level] = self._shared[level]
                state["_levels"].append(None)
            else:
                state["_levels"].append(pixels if array is None and starting else self.array(level))
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        for level, shared in self._shared.items():
            self._levels[level] = shared.array()

    def __repr__(self) -> str:
        return f"ArrayRaster({self.name!r}, {self.level_dimensions})"

    def read(self, window: Window) -> Array:
        """Copy the pixels of a window.

        Raises:
            WindowError: The window leaves its level, or the level does not exist.
        """
        require_inside(self.name, self.level_dimensions, window)
        part = self.array(window.level)[window.y : window.bottom, window.x : window.right]
        return np.array(part, order="C", subok=False)
