"""Resample images by the area mean and masks by the nearest pixel.

Images only shrink; masks shrink or grow. Each output pixel is a mean of the pixels that it covers, or one of them.
"""

from __future__ import annotations

import numpy as np

from patchaug.core.arrays import Array


def resized(image: Array, height: int, width: int) -> Array:
    """Shrink an image by the area mean; partly covered pixels count by the covered part.

    Args:
        image: Integers or floats (rows, columns, channels).
        height: Rows of the output, at most those of the image.
        width: Columns of the output, at most those of the image.

    Returns:
        The same dtype (height, width, channels), as scikit-image's `resize_local_mean` computes it; integers are
        rounded.
    """
    rows, columns = image.shape[:2]
    if (rows, columns) == (height, width):
        return image
    factor, remainder = divmod(rows, height)
    if remainder == 0 and columns == factor * width:
        return area_mean(image, factor)
    from skimage.transform import resize_local_mean  # heavy, and only a resolution between two levels needs it

    mean = resize_local_mean(
        image.astype(np.float32), (height, width), channel_axis=-1, preserve_range=True, grid_mode=True
    )  # type: ignore[no-untyped-call]
    return np.asarray(mean if image.dtype.kind == "f" else np.rint(mean), image.dtype)


def nearest(classes: Array, height: int, width: int) -> Array:
    """Resample a mask by the nearest pixel.

    Args:
        classes: Class numbers, any dtype (rows, columns); or pixels (rows, columns, channels).
        height: Rows of the output.
        width: Columns of the output.

    Returns:
        The class numbers at the centres of the output's pixels, same dtype (height, width[, channels]).
    """
    if classes.shape[:2] == (height, width):
        return classes
    rows, columns = (
        (2 * np.arange(n) + 1) * old // (2 * n) for n, old in zip((height, width), classes.shape[:2], strict=True)
    )
    return np.asarray(classes[np.ix_(rows, columns)])


def area_mean(image: Array, factor: int) -> Array:
    """Average squares of factor x factor pixels; squares at the right and lower edges may be smaller.

    Args:
        image: Integers or floats (rows, columns, channels).
        factor: Side of a square in pixels.

    Returns:
        The same dtype (ceil(rows / factor), ceil(columns / factor), channels); integers are rounded.
    """
    if factor == 1:
        return image
    sums = area_sums(image, factor)
    sides = (np.diff(np.arange(0, n, factor), append=n).astype(np.uint64) for n in image.shape[:2])
    counts = np.multiply.outer(*sides)[..., None]
    if image.dtype.kind == "f":
        return np.asarray(sums / counts, image.dtype)
    if image.dtype.kind == "i":
        whole = counts.astype(np.int64)
        return np.asarray((sums + whole // 2) // whole, image.dtype)
    return np.asarray((sums + counts // 2) // counts, image.dtype)


def area_sums(pixels: Array, factor: int) -> Array:
    """Sum squares of factor x factor pixels; squares at the right and lower edges may be smaller.

    Args:
        pixels: Integers, bool or floats (rows, columns[, channels]).
        factor: Side of a square in pixels.

    Returns:
        (ceil(rows / factor), ceil(columns / factor)[, channels]): uint64, int64 for signed integers, float64 for
        floats.
    """
    starts = [np.arange(0, n, factor) for n in pixels.shape[:2]]
    first, last = {"f": ("f8", "f8"), "i": ("i8", "i8")}.get(pixels.dtype.kind, ("u8", "u8"))
    if pixels.dtype.itemsize == 1:
        first = "u4"  # a column of bytes stays far below 2^32
    rows = np.add.reduceat(pixels, starts[0], axis=0, dtype=first)
    return np.asarray(np.add.reduceat(rows, starts[1], axis=1, dtype=last))
