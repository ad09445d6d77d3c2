"""Coordinate-coded images: pixels encode their position, so that a wrong crop, level, swap or shift is visible."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from patchaug.core.arguments import names_arguments
from patchaug.core.arrays import Array
from patchaug.core.atomic import atomic_write
from patchaug.core.validation import checked_integer
from patchaug.errors import OptionError
from patchaug.testing.own_tiff import SOFTWARE, is_own_tiff

_MOST = 1 << 31  # pixels of a coordinate image
PERIOD = 4096  # level-0 pixels per axis after which the 12-bit code repeats


def _l0_from_l(width: int, height: int, downsample: int) -> tuple[Array, Array]:
    """Return level-0 coordinates of the pixel centres of a level, as a row and a column that broadcast."""
    for name, value in (("width", width), ("height", height), ("downsample", downsample)):
        checked_integer(name, value, 1, 1 << 31)
    if width * height > _MOST:
        raise OptionError(f"a coordinate image has at most {_MOST:,} pixels, got {width} x {height}")
    x0 = np.arange(width, dtype=np.int64)[None, :] * downsample + downsample // 2
    y0 = np.arange(height, dtype=np.int64)[:, None] * downsample + downsample // 2
    return x0 % PERIOD, y0 % PERIOD


@names_arguments
def coordinate_image(width: int, height: int, downsample: int = 1) -> Array:
    """Create a level whose pixels encode their level-0 coordinates: 12 bits of x, then 12 bits of y.

    Args:
        width: Columns of the level.
        height: Rows of the level.
        downsample: Level-0 pixels per pixel of the level.

    Returns:
        uint8 (height, width, 3).

    Examples:
        >>> coordinate_image(640, 480).shape
        (480, 640, 3)
    """
    x0, y0 = _l0_from_l(width, height, downsample)
    pixels = np.empty((height, width, 3), np.uint8)
    pixels[..., 0] = x0 >> 4
    pixels[..., 1] = (x0 & 15) << 4 | y0 >> 8
    pixels[..., 2] = y0 & 255
    return pixels


@names_arguments
def decode_coordinates(pixels: Array) -> tuple[Array, Array]:
    """Decode the level-0 coordinates (x0, y0) of the pixels of a coordinate image.

    Args:
        pixels: Part of a `coordinate_image`, uint8 (..., 3).

    Returns:
        Two arrays, int64 (...), from 0 to 4095.

    Examples:
        >>> x0, y0 = decode_coordinates(coordinate_image(640, 480)[100:110, 200:220])
        >>> int(x0[0, 0]), int(y0[0, 0])
        (200, 100)
    """
    if np.shape(pixels)[-1:] != (3,) or pixels.dtype != np.uint8:
        raise OptionError(f"pixels must be uint8 (..., 3), got {getattr(pixels, 'dtype', '')} {np.shape(pixels)}")
    red, green, blue = (pixels[..., channel].astype(np.int64) for channel in range(3))
    return red << 4 | green >> 4, (green & 15) << 8 | blue


@names_arguments
def mask_at(x0: Array, y0: Array, classes: int = 5) -> Array:
    """Return the class of the coordinate mask at level-0 coordinates: pseudo-random and reproducible.

    Args:
        x0: Columns, integers of any shape.
        y0: Rows, of a shape that broadcasts with `x0`.
        classes: Number of classes.

    Returns:
        uint8, 0 to classes-1.

    Examples:
        >>> image, mask = coordinate_image(64, 64), coordinate_mask(64, 64)
        >>> bool((mask_at(*decode_coordinates(image)) == mask).all())
        True
    """
    checked_integer("classes", classes, 1, 256)
    try:
        np.broadcast_shapes(np.shape(x0), np.shape(y0))
    except ValueError:
        raise OptionError(f"x0 and y0 must broadcast, got shapes {np.shape(x0)} and {np.shape(y0)}") from None
    for name, values in (("x0", x0), ("y0", y0)):
        if np.asarray(values).dtype.kind not in "iu":
            raise OptionError(f"{name} must be integers, got {np.asarray(values).dtype}")
    word = (np.asarray(x0, np.uint64) % PERIOD) << np.uint64(12) | np.asarray(y0, np.uint64) % PERIOD
    with np.errstate(over="ignore"):  # splitmix64 wraps by design: each bit depends on the whole coordinate
        for factor in (0xBF58476D1CE4E5B9, 0x94D049BB133111EB):
            word = (word ^ word >> np.uint64(30)) * np.uint64(factor)
    return ((word ^ word >> np.uint64(31)) % np.uint64(classes)).astype(np.uint8)


@names_arguments
def coordinate_mask(width: int, height: int, downsample: int = 1, classes: int = 5) -> Array:
    """Create the mask that belongs to `coordinate_image` with the same arguments.

    Args:
        width: Columns of the level.
        height: Rows of the level.
        downsample: Level-0 pixels per pixel of the level.
        classes: Number of classes.

    Returns:
        uint8 (height, width), 0 to classes-1.

    Examples:
        >>> coordinate_mask(640, 480, classes=3).max()
        np.uint8(2)
    """
    return mask_at(*_l0_from_l(width, height, downsample), classes)


@names_arguments
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
        path: File to write.
        levels: Arrays (height, width) or (height, width, 3), finest first.
        tile: Side of the tiles in pixels, a multiple of 16.
        compression: Name of the codec in tifffile; None for raw tiles.
        mpp: Micrometres per pixel at level 0 for the resolution tags, or None.

    Raises:
        WriteError: The file exists and was not written by this package, or cannot be written.

    Examples:
        >>> write_pyramid("pyramid.tiff", [coordinate_image(256, 256), coordinate_image(64, 64, 4)])
        >>> open_slide("pyramid.tiff").level_downsamples
        (1.0, 4.0)
    """
    import tifffile

    checked_integer("tile", tile, 16, 1 << 15)
    if tile % 16 or not levels or any(np.ndim(pixels) not in (2, 3) or not np.size(pixels) for pixels in levels):
        raise OptionError(
            f"levels must be arrays (height, width[, 3]) in tiles of a multiple of 16 px, got {len(levels)} levels and "
            f"tile={tile}"
        )
    with atomic_write(path, "slide", replace=is_own_tiff) as temporary, tifffile.TiffWriter(temporary) as writer:
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
                software=SOFTWARE,
            )
