"""A whole slide made small enough to look at."""

from __future__ import annotations

import numpy as np

from patchaug.core.resampling import area_mean
from patchaug.core.windows import Window
from patchaug.errors import OptionError
from patchaug.slides.slide import Patch, Slide

_BLOCK_PIXELS = 2**24  # pixels that are read at a time


def thumbnail(slide: Slide, *, max_size: int = 1024) -> tuple[Patch, float]:
    """Reduce a whole slide to at most max_size pixels on its longer side.

    The coarsest level that is still as large as that is read in blocks, and reduced by a whole factor: the image by
    its area mean (the last row and column of squares may be cut short, none is dropped), the mask by the pixel in the
    middle of each square.

    Args:
        slide: The slide.
        max_size: Longer side of the picture, in pixels.

    Returns:
        Image uint8 (height, width, channels) and mask (height, width) or None; level-0 pixels per pixel of theirs.

    Raises:
        OptionError: max_size is below 1.
        ReadError: A file cannot be read.
    """
    level, factor = thumbnail_level(slide, max_size)
    width, height = slide.level_dimensions[level]
    # Blocks, not whole rows: squares of a large factor times a wide slide would be a large part of it. Their sides
    # are whole numbers of squares, so only the slide's own last squares are cut short.
    columns = min(max(_BLOCK_PIXELS // factor**2, 1) * factor, -(-width // factor) * factor)
    rows = max(_BLOCK_PIXELS // (columns * factor), 1) * factor
    bands = []
    for top in range(0, height, rows):
        h = min(rows, height - top)
        blocks = [
            reduced(slide.read(Window(left, top, min(columns, width - left), h, level)), factor)
            for left in range(0, width, columns)
        ]
        bands.append(_joined(blocks, axis=1))
    return _joined(bands, axis=0), slide.level_downsamples[level] * factor


def thumbnail_level(slide: Slide, max_size: int) -> tuple[int, int]:
    """Return the level that a thumbnail reads, and the factor by which it is reduced.

    Raises:
        OptionError: max_size is below 1.
    """
    if max_size < 1:
        raise OptionError(f"max_size must be at least 1 px, got {max_size}")
    sizes = slide.level_dimensions
    level = max((k for k, size in enumerate(sizes) if max(size) >= max_size), default=0)
    return level, -(-max(sizes[level]) // max_size)


def reduced(patch: Patch, factor: int) -> Patch:
    """Reduce a patch by a whole factor: the image by its area mean, the mask by the middle of each square."""
    image, mask = patch
    if mask is not None:
        middles = (np.minimum(np.arange(0, n, factor) + factor // 2, n - 1) for n in mask.shape)
        mask = mask[np.ix_(*middles)]
    return Patch(area_mean(image, factor), mask)


def _joined(patches: list[Patch], *, axis: int) -> Patch:
    masks = [patch.mask for patch in patches if patch.mask is not None]
    return Patch(np.concatenate([p.image for p in patches], axis), np.concatenate(masks, axis) if masks else None)
