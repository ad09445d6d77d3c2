"""A whole slide made small enough to look at."""

from __future__ import annotations

from typing import Any

import numpy as np

from patchaug.geometry import Window
from patchaug.slide import Patch, Slide

Array = np.ndarray[Any, np.dtype[Any]]

_BAND_PIXELS = 2**24  # pixels that are read at a time


def overview(slide: Slide, *, max_size: int = 1024) -> tuple[Patch, float]:
    """The whole slide, at most max_size pixels on its longer side.

    The coarsest level that is still as large as that is read in bands, and reduced by a whole factor: the image by
    its area mean (the last row and column of squares may be cut short, none is dropped), the mask by the pixel in the
    middle of each square.

    Args:
        slide: The slide.
        max_size: Longer side of the picture, in pixels.

    Returns:
        Image uint8 (height, width, channels) and mask (height, width) or None; level-0 pixels per pixel of theirs.

    Raises:
        ReadError: A file cannot be read.
    """
    sizes = slide.level_dimensions
    level = max((k for k, size in enumerate(sizes) if max(size) >= max_size), default=0)
    width, height = sizes[level]
    factor = max(1, -(-max(width, height) // max_size))
    rows = max(_BAND_PIXELS // (width * factor), 1) * factor
    images, masks = [], []
    for top in range(0, height, rows):
        image, mask = slide.read(Window(0, top, width, min(rows, height - top), level))
        images.append(area_mean(image, factor))
        if mask is not None:
            down, across = (np.minimum(np.arange(0, n, factor) + factor // 2, n - 1) for n in mask.shape)
            masks.append(mask[np.ix_(down, across)])
    small = Patch(np.concatenate(images), np.concatenate(masks) if masks else None)
    return small, slide.level_downsamples[level] * factor


def area_mean(image: Array, factor: int) -> Array:
    """Mean over squares of factor x factor pixels, rounded; squares at the last edges hold what there is."""
    if factor == 1:
        return image
    height, width = image.shape[:2]
    starts = np.arange(0, height, factor), np.arange(0, width, factor)
    sums = np.add.reduceat(np.add.reduceat(image, starts[0], axis=0, dtype=np.uint64), starts[1], axis=1)
    counts = np.diff(starts[0], append=height)[:, None, None] * np.diff(starts[1], append=width)[None, :, None]
    return ((sums + counts.astype(np.uint64) // 2) // counts.astype(np.uint64)).astype(np.uint8)
