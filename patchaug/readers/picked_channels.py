"""A raster with some channels of another raster, for readers that do not choose channels themselves."""

from __future__ import annotations

from typing import Any

import numpy as np

from patchaug.core.arrays import Array
from patchaug.core.windows import Window
from patchaug.readers.base import Raster, Sizes
from patchaug.readers.channels import Channels, channel_numbers
from patchaug.readers.hooks import (
    all_valid,
    channel_count,
    channel_names,
    codec_of,
    missing_tiles,
    path_of,
    read_valid,
    read_validity,
    tile_size,
    uncached,
)


class PickedChannels:
    """Some channels of a raster, in any order.

    Args:
        raster: The raster.
        channels: Numbers or names of its channels.

    Raises:
        OptionError: A channel does not exist.

    Examples:
        >>> import numpy as np
        >>> from patchaug import Window
        >>> from patchaug.readers import ArrayRaster
        >>> from patchaug.readers.picked_channels import PickedChannels
        >>> PickedChannels(ArrayRaster(np.zeros((40, 60, 6), np.uint16)), [3, 2]).read(Window(0, 0, 8, 4)).shape
        (4, 8, 2)
    """

    def __init__(self, raster: Raster, channels: Channels) -> None:
        names = channel_names(raster)
        self.raster, self.name = raster, raster.name
        self.numbers = channel_numbers(raster.name, channel_count(raster), names, channels)
        self.channel_names = None if names is None else tuple(names[number] for number in self.numbers)

    def __repr__(self) -> str:
        return f"PickedChannels({self.raster!r}, {list(self.numbers)})"

    @property
    def level_dimensions(self) -> Sizes:
        """(width, height) per level."""
        return self.raster.level_dimensions

    @property
    def level_downsamples(self) -> tuple[float, ...]:
        """Level-0 pixels per pixel of each level."""
        return self.raster.level_downsamples

    @property
    def mpp(self) -> tuple[float, float] | None:
        """Micrometres per pixel at level 0."""
        return self.raster.mpp

    @property
    def path(self) -> str | None:
        """Path of the file; None where there is none."""
        return path_of(self.raster)

    @property
    def codec(self) -> str:
        """How tiles are compressed."""
        return codec_of(self.raster)

    @property
    def channels(self) -> int:
        """Number of channels."""
        return len(self.numbers)

    def read(self, window: Window) -> Array:
        """Read a window, (height, width, channels)."""
        return self.read_valid(window)[0]

    @property
    def complete(self) -> bool:
        """Whether every pixel is known to be valid."""
        return all_valid(self.raster)

    def read_valid(self, window: Window) -> tuple[Array, Array | None]:
        """Read a window, and whether each of its pixels is valid, bool (height, width); None where all are."""
        pixels: Any
        pixels, valid = read_valid(self.raster, window)
        several = pixels[..., None] if getattr(pixels, "ndim", 3) == 2 else pixels
        return np.ascontiguousarray(several[..., list(self.numbers)]), valid

    def read_validity(self, window: Window) -> Array | None:
        """Return whether each pixel of a window is valid; None where all are."""
        return read_validity(self.raster, window)

    def tile_size(self, level: int) -> tuple[int, int]:
        """Return (width, height) of the storage tiles of a level."""
        return tile_size(self.raster, level)

    def missing_tiles(self) -> tuple[int, int]:
        """Return how many storage tiles are missing, and how many there are."""
        return missing_tiles(self.raster)

    def uncached(self) -> PickedChannels:
        """Return the same channels of a raster that caches no tiles."""
        other = object.__new__(PickedChannels)
        other.__dict__.update({**self.__dict__, "raster": uncached(self.raster)})
        return other
