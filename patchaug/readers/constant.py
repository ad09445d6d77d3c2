"""One class number everywhere: the mask of a slide without anything, or of one that is all of one kind."""

from __future__ import annotations

import numpy as np

from patchaug.core.arrays import Array
from patchaug.core.windows import Window
from patchaug.readers.base import Sizes, downsamples, require_inside
from patchaug.readers.identity import Identity


class ConstantRaster:
    """Mask with one class number everywhere.

    Args:
        value: The class number.
        sizes: (width, height) of the image's levels, finest first.
        name: Name in errors.

    Examples:
        >>> from patchaug import Window
        >>> from patchaug.readers.constant import ConstantRaster
        >>> ConstantRaster(1, ((60, 40),)).read(Window(0, 0, 2, 1)).tolist()
        [[1, 1]]
    """

    mpp = None
    holds_classes = True
    exact_levels = True

    def __init__(self, value: int, sizes: Sizes, *, name: str | None = None) -> None:
        self.value, self.name = value, f"class {value}" if name is None else name
        self.level_dimensions = tuple(sizes)

    @property
    def level_downsamples(self) -> tuple[float, ...]:
        """Level-0 pixels per pixel of each level."""
        return downsamples(self.level_dimensions)

    def identity(self) -> Identity:
        """Return what identifies the pixels: all of them."""
        return "constant", self.value, tuple((int(width), int(height)) for width, height in self.level_dimensions)

    def __repr__(self) -> str:
        return f"ConstantRaster({self.value}, {self.level_dimensions})"

    def read(self, window: Window) -> Array:
        """Return the class number, integer (height, width).

        Raises:
            WindowError: The window leaves its level, or there is no such level.
        """
        require_inside(self.name, self.level_dimensions, window)
        return np.full((window.height, window.width), self.value, np.min_scalar_type(self.value))
