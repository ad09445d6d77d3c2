"""Pictures whose pixels say where they belong, so that a wrong crop, level, swap or shift shows at once."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from patchaug.core.arrays import Array

PERIOD = 4096  # level-0 pixels an axis after which the code of 12 bits begins again


def _l0_from_l(width: int, height: int, downsample: int) -> tuple[Array, Array]:
    """Level-0 coordinates of the middles of a level's pixels, as a row and a column that broadcast."""
    x0 = np.arange(width, dtype=np.int64)[None, :] * downsample + downsample // 2
    y0 = np.arange(height, dtype=np.int64)[:, None] * downsample + downsample // 2
    return x0 % PERIOD, y0 % PERIOD


def coordinate_image(width: int, height: int, downsample: int = 1) -> Array:
    """A level whose pixels hold their level-0 coordinate: uint8 (height, width, 3), 12 bits x then 12 bits y.

    Args:
        width: Columns of the level.
        height: Rows of the level.
        downsample: Level-0 pixels per pixel of the level.
    """
    x0, y0 = _l0_from_l(width, height, downsample)
    pixels = np.empty((height, width, 3), np.uint8)
    pixels[..., 0] = x0 >> 4
    pixels[..., 1] = (x0 & 15) << 4 | y0 >> 8
    pixels[..., 2] = y0 & 255
    return pixels


def places(pixels: Array) -> tuple[Array, Array]:
    """Level-0 coordinates (x0, y0) that the pixels of a coordinate image hold, int64 (height, width), 0 to 4095."""
    red, green, blue = (pixels[..., channel].astype(np.int64) for channel in range(3))
    return red << 4 | green >> 4, (green & 15) << 8 | blue


def mask_at(x0: Array, y0: Array, classes: int = 5) -> Array:
    """Class of the coordinate mask at level-0 coordinates: uint8, 0 to classes-1, pseudo-random and always the same."""
    word = (np.asarray(x0, np.uint64) % PERIOD) << np.uint64(12) | np.asarray(y0, np.uint64) % PERIOD
    with np.errstate(over="ignore"):  # splitmix64 wraps on purpose: each bit depends on all of the coordinate
        for factor in (0xBF58476D1CE4E5B9, 0x94D049BB133111EB):
            word = (word ^ word >> np.uint64(30)) * np.uint64(factor)
    return ((word ^ word >> np.uint64(31)) % np.uint64(classes)).astype(np.uint8)


def coordinate_mask(width: int, height: int, downsample: int = 1, classes: int = 5) -> Array:
    """The mask that belongs to `coordinate_image` of the same arguments: uint8 (height, width)."""
    return mask_at(*_l0_from_l(width, height, downsample), classes)


def write_pyramid(
    path: str | os.PathLike[str],
    levels: Sequence[Array],
    *,
    tile: int = 64,
    compression: str | None = "deflate",
    mpp: float | None = 0.5,
) -> None:
    """Write a tiled pyramidal TIFF.

    Args:
        path: The file to write.
        levels: (height, width) or (height, width, 3) arrays, finest first.
        tile: Side of the tiles in pixels, a multiple of 16.
        compression: tifffile's word, None for raw tiles.
        mpp: Micrometres per pixel at level 0 for the resolution tags; None for none.
    """
    import tifffile

    with tifffile.TiffWriter(path) as writer:
        for number, pixels in enumerate(levels):
            l0_per_pixel = levels[0].shape[1] / pixels.shape[1]
            per_cm = 1e4 / (mpp * l0_per_pixel) if mpp else 1.0
            writer.write(
                pixels,
                tile=(tile, tile),
                photometric="rgb" if pixels.ndim == 3 else "minisblack",
                compression=compression,
                subfiletype=1 if number else 0,
                resolution=(per_cm, per_cm),
                resolutionunit="CENTIMETER" if mpp else "NONE",
                metadata=None,
            )
