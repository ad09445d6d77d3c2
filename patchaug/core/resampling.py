"""Pixels made fewer: images by the area mean, class numbers by the nearest pixel; and class numbers made more.

No pixel is invented: each that comes out is a mean of pixels that it covers, or one of them.
"""

from __future__ import annotations

import numpy as np

from patchaug.core.arrays import Array


def resized(image: Array, height: int, width: int) -> Array:
    """The area mean of an image, uint8 (height, width, channels), which is no larger than the image.

    Pixels that a new one covers in part count by that part, as scikit-image's `resize_local_mean` has it.
    """
    rows, columns = image.shape[:2]
    if (rows, columns) == (height, width):
        return image
    factor, rest = divmod(rows, height)
    if rest == 0 and columns == factor * width:
        return area_mean(image, factor)
    from skimage.transform import resize_local_mean  # heavy, and only a resolution between two levels needs it

    mean = resize_local_mean(
        image.astype(np.float32), (height, width), channel_axis=-1, preserve_range=True, grid_mode=True
    )  # type: ignore[no-untyped-call]
    return np.asarray(np.rint(mean), np.uint8)


def nearest(classes: Array, height: int, width: int) -> Array:
    """Class numbers (height, width) under the centres of as many, larger or smaller, pixels."""
    if classes.shape == (height, width):
        return classes
    rows, columns = (
        (2 * np.arange(n) + 1) * old // (2 * n) for n, old in zip((height, width), classes.shape, strict=True)
    )
    return np.asarray(classes[np.ix_(rows, columns)])


def area_mean(image: Array, factor: int) -> Array:
    """Mean over squares of factor x factor pixels, rounded; squares at the last edges hold what there is."""
    if factor == 1:
        return image
    sums = area_sums(image, factor)
    sides = (np.diff(np.arange(0, n, factor), append=n).astype(np.uint64) for n in image.shape[:2])
    counts = np.multiply.outer(*sides)[..., None]
    return np.asarray((sums + counts // 2) // counts, np.uint8)


def area_sums(pixels: Array, factor: int) -> Array:
    """Sums over squares of factor x factor pixels, uint64; squares at the last edges hold what there is."""
    starts = [np.arange(0, n, factor) for n in pixels.shape[:2]]
    rows = np.add.reduceat(pixels, starts[0], axis=0, dtype=np.uint32)  # a column of bytes stays far below 2^32
    return np.asarray(np.add.reduceat(rows, starts[1], axis=1, dtype=np.uint64))
