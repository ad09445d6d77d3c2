"""A rectangle of a slide as a small picture, read in blocks."""

from __future__ import annotations

import numpy as np

from patchaug.core.arrays import Array
from patchaug.core.display import displayed
from patchaug.core.resampling import resized
from patchaug.core.windows import Window
from patchaug.slides.slide import Slide

_BLOCK_PIXELS = 2**22  # that are read at a time


def picture_of(slide: Slide, l0_box: tuple[float, float, float, float], width: int, height: int) -> Array:
    """Read a rectangle of a slide, reduced to a size.

    The coarsest level is read that is at least twice as fine as the picture, or level 0.

    Args:
        slide: The slide; its mask is ignored.
        l0_box: Left, top, right and lower edge in pixels of level 0.
        width: Columns of the picture.
        height: Rows of the picture.

    Returns:
        uint8 (height, width, 3); other types than uint8 are stretched.

    Raises:
        ReadError: The slide cannot be read.

    Examples:
        >>> picture_of(slide, (0, 0, *slide.dimensions), 40, 30).shape
        (30, 40, 3)
    """
    left, top, right, bottom = l0_box
    step_x, step_y = (right - left) / width, (bottom - top) / height
    finest = min(step_x, step_y) / 2
    level = max((k for k, factor in enumerate(slide.level_downsamples) if factor <= finest), default=0)
    l0_width, l0_height = slide.dimensions
    level_width, level_height = slide.level_size(level)
    per_x, per_y = l0_width / level_width, l0_height / level_height
    rows = max(1, int((_BLOCK_PIXELS * per_x * per_y / (step_x * step_y)) ** 0.5))
    out: Array | None = None
    source = slide.without_mask()
    for y in range(0, height, rows):
        for x in range(0, width, rows):
            h, w = min(rows, height - y), min(rows, width - x)
            span_x = _span(left + x * step_x, left + (x + w) * step_x, per_x, level_width)
            span_y = _span(top + y * step_y, top + (y + h) * step_y, per_y, level_height)
            window = Window(span_x[0], span_y[0], span_x[1] - span_x[0], span_y[1] - span_y[0], level)
            block = _fitted(source.read(window).image, h, w)
            if out is None:
                out = np.empty((height, width, block.shape[2]), block.dtype)
            out[y : y + h, x : x + w] = block
    assert out is not None
    shown = displayed(out)
    return np.repeat(shown, 3, axis=2) if shown.shape[2] == 1 else shown


def _span(l0_start: float, l0_stop: float, per_pixel: float, length: int) -> tuple[int, int]:
    """Return the pixels of a level that an interval covers best, at least one."""
    start = min(max(round(l0_start / per_pixel), 0), length - 1)
    return start, min(max(round(l0_stop / per_pixel), start + 1), length)


def _fitted(image: Array, height: int, width: int) -> Array:
    """Shrink by the area mean; grow by repeating pixels."""
    rows, columns = image.shape[:2]
    if rows < height or columns < width:
        image = image[np.ix_(_repeated(rows, max(rows, height)), _repeated(columns, max(columns, width)))]
    return resized(image, height, width)


def _repeated(length: int, number: int) -> Array:
    found: Array = (2 * np.arange(number) + 1) * length // (2 * number)
    return found
