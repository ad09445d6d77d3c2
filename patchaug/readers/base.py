"""The one seam between patchaug and files: what a raster is, and the check that every one of them makes first."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from patchaug.core.arrays import Array
from patchaug.core.windows import Window
from patchaug.errors import WindowError

Sizes = tuple[tuple[int, int], ...]


@runtime_checkable
class Raster(Protocol):
    """Pixels of one picture at one or more levels, read by window.

    Attributes:
        name: What errors call it: the file's name, or "array".
        level_dimensions: (width, height) per level in pixels, finest first: OpenSlide's order.
        level_downsamples: Level-0 pixels per pixel of the level; the mean of both axes, as OpenSlide has it.
        mpp: Micrometres per pixel at level 0 as (x, y), None where the file does not say.

    A raster opens its file at the first read in each process, never hands a handle through a fork, and pickles as
    path and options.
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
        """The window's pixels, (height, width, channels) or (height, width), in an array of its own.

        Raises:
            WindowError: The window leaves its level, or there is no such level.
            ReadError: The file cannot be opened or decoded there.
        """


def downsamples(dimensions: Sizes) -> tuple[float, ...]:
    """Level-0 pixels per pixel of each level, the mean of both axes (OpenSlide's definition)."""
    w0, h0 = dimensions[0]
    return tuple((w0 / w + h0 / h) / 2 for w, h in dimensions)


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
