"""The protocol between patchaug and files, and the window check that every raster makes first."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any, Protocol, TypeGuard, runtime_checkable

from patchaug.core.arguments import names_arguments
from patchaug.core.arrays import Array
from patchaug.core.windows import Window
from patchaug.errors import FrameError, WindowError

Sizes = tuple[tuple[int, int], ...]


@runtime_checkable
class Raster(Protocol):
    """Pixels of one image at one or more levels, read by window.

    Attributes:
        name: Name in errors: the file's name, or "array".
        level_dimensions: (width, height) per level in pixels, finest first: OpenSlide's order.
        level_downsamples: Level-0 pixels per pixel of the level; the mean of both axes, as OpenSlide has it.
        mpp: Micrometres per pixel at level 0 as (x, y), None if the file does not store it.

    A raster opens its file at the first read in each process, reads through no handle that a fork inherited, and
    pickles as path and options. `patchaug.readers.hooks` lists optional methods.

    Examples:
        >>> import numpy as np
        >>> from patchaug import Raster, Window
        >>> class Noise:
        ...     name, level_dimensions, level_downsamples, mpp = "noise", ((600, 400),), (1.0,), None
        ...     def read(self, window: Window) -> np.ndarray:
        ...         return np.full((window.height, window.width, 3), window.x % 256, np.uint8)
        >>> isinstance(Noise(), Raster)
        True
    """

    name: str

    @property
    def level_dimensions(self) -> Sizes:
        """(width, height) per level."""

    @property
    def level_downsamples(self) -> tuple[float, ...]:
        """Level-0 pixels per pixel of each level."""

    @property
    def mpp(self) -> tuple[float, float] | None:
        """Micrometres per pixel at level 0."""

    def read(self, window: Window) -> Array:
        """Read the pixels of a window into a new array, (height, width, channels) or (height, width).

        Raises:
            WindowError: The window leaves its level, or the level does not exist.
            ReadError: The file cannot be opened or decoded there.
        """


_NAMES = ("level_dimensions", "level_downsamples", "mpp", "name", "read")


def is_raster(source: Any) -> TypeGuard[Raster]:
    """Return `isinstance(source, Raster)`, which Python takes long for, before 3.12.

    Examples:
        >>> import numpy as np
        >>> from patchaug.readers import ArrayRaster
        >>> is_raster(ArrayRaster(np.zeros((4, 4), np.uint8))), is_raster("a.tiff")
        (True, False)
    """
    if isinstance(source, (str, PurePath)):
        return False
    return (all(hasattr(source, name) for name in _NAMES) and source.read is not None) or isinstance(source, Raster)


@names_arguments
def downsamples(dimensions: Sizes) -> tuple[float, ...]:
    """Return the level-0 pixels per pixel of each level, the mean of both axes (OpenSlide's definition)."""
    if not dimensions:
        raise FrameError("a raster must have at least one level")
    w0, h0 = dimensions[0]
    return tuple((w0 / w + h0 / h) / 2 for w, h in dimensions)


@names_arguments
def require_inside(name: str, dimensions: Sizes, window: Window) -> None:
    """Raise WindowError unless the window lies in one of the levels."""
    if window.level >= len(dimensions):
        raise WindowError(f"{name}: there is no level {window.level}; it has levels 0 to {len(dimensions) - 1}")
    width, height = dimensions[window.level]
    if not window.inside(width, height):
        raise WindowError(
            f"{name}: window x={window.x} y={window.y} {window.width} x {window.height} leaves level {window.level}, "
            f"which has {width} x {height} px"
        )
