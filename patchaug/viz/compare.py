"""Truth and prediction at display size, and the window for a detailed view."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from patchaug.core.arrays import Array
from patchaug.core.display import displayed
from patchaug.core.resampling import area_sums
from patchaug.core.windows import Window
from patchaug.slides.slide import Patch, Slide
from patchaug.slides.thumbnail import reduced

_BLOCK_PIXELS = 2**24  # pixels read at a time
_CELL = 50  # step of the search for the detailed window, pixels


def resized_for_display(patch: Patch, shown: float) -> tuple[Array, Array | None]:
    """Resize a patch by a whole factor to 1 to 2 times its size on the screen, as RGB.

    A line one pixel wide then stays thin on a small patch and visible on a large one.

    Args:
        patch: Image, (height, width, channels) or (height, width), and mask.
        shown: Width on the screen in pixels.

    Returns:
        Image uint8 (height, width, 3): grey, or three channels, stretched unless they are 8-bit RGB; mask (height,
        width) or None.
    """
    image = patch.image if patch.image.ndim == 3 else patch.image[..., None]
    image = displayed(image)
    image = image if image.shape[2] == 3 else np.repeat(image, 3, axis=2)
    width = image.shape[1]
    if width > shown:
        return reduced(Patch(image, patch.mask), int(width // shown))
    times = int(-(-shown // width))
    mask = None if patch.mask is None else patch.mask.repeat(times, 0).repeat(times, 1)
    return image.repeat(times, 0).repeat(times, 1), mask


def class_borders(mask: Array) -> Array:
    """Find pixels with a neighbour of another class: bool (height, width); neighbours share an edge."""
    edge = np.zeros(mask.shape, bool)
    for turned, classes in ((edge, mask), (edge.T, mask.T)):
        change = classes[1:] != classes[:-1]
        turned[1:] |= change
        turned[:-1] |= change
    return edge


def truth_and_prediction(
    slide: Slide, prediction: Array, level: int, shape: tuple[int, ...], l0_per_pixel: float, *, side: int
) -> tuple[Array, Array, Window]:
    """Sample truth and prediction at the same pixels for a thumbnail, and choose a window for a detailed view.

    Args:
        slide: A slide with a mask.
        prediction: Predicted class map at `level`, integer (height, width).
        level: The level of the map.
        shape: (height, width) of the thumbnail.
        l0_per_pixel: Level-0 pixels per pixel of the thumbnail.
        side: Side of the detailed window, pixels of the level.

    Returns:
        Truth and prediction, integer (height, width), taken at the centres of the thumbnail's pixels; and the window
        that shows most of the truth, or of the prediction if the truth is empty.
    """
    per_pixel = l0_per_pixel / slide.level_downsamples[level]
    rows, columns = (  # 1e-6 keeps rounding errors from moving a whole number to the pixel before
        np.append(np.minimum(((np.arange(n) + 0.5) * per_pixel + 1e-6).astype(np.int64), whole - 1), whole)
        for n, whole in zip(shape, prediction.shape, strict=True)
    )
    width, height = slide.level_size(level)

    def mask(top: int, bottom: int) -> Array:
        return slide.read_mask(Window(0, top, width, bottom - top, level))

    truth, counts = _sampled(mask, rows, columns, _CELL, slide.ignore_index)
    guess, guessed = _sampled(lambda top, bottom: prediction[top:bottom], rows, columns, _CELL, slide.ignore_index)
    where = _informative_window(counts if counts.any() else guessed, _CELL, (width, height), side, level)
    return truth, guess, where


def _sampled(
    read: Callable[[int, int], Array], rows: Array, columns: Array, cell: int, ignore_index: int | None
) -> tuple[Array, Array]:
    """Sample pixels of a large class map, and count the labelled pixels in each of its cells.

    Args:
        read: Function of (top, bottom) that returns rows top to bottom - 1 of the map, integer (rows, width).
        rows: Rows to return, ascending, the map's height at the end.
        columns: Columns to return, ascending, the map's width at the end.
        cell: Side of a cell in pixels.
        ignore_index: Integer that means "no label", or None.

    Returns:
        The map at rows x columns without the ends; and the counts, int64, one per cell. The last cells may be smaller.
    """
    height, width = int(rows[-1]), int(columns[-1])
    band = max(_BLOCK_PIXELS // (width * cell), 1) * cell
    pixels, counts = [], []
    for top in range(0, height, band):
        part = read(top, min(top + band, height))
        here = rows[:-1][(rows[:-1] >= top) & (rows[:-1] < top + band)]
        pixels.append(part[np.ix_(here - top, columns[:-1])])
        labelled = part != 0
        if ignore_index is not None:
            labelled &= part != ignore_index
        counts.append(area_sums(labelled, cell))
    return np.concatenate(pixels), np.concatenate(counts).astype(np.int64)


def _informative_window(counts: Array, cell: int, size: tuple[int, int], side: int, level: int) -> Window:
    """Find the window with the most labels beside the most unlabelled pixels.

    It maximizes fraction * (1 - fraction). Where labels are sparse, this is the window with most of them; where they
    are dense, a window across their border.

    Args:
        counts: Labelled pixels per cell, as from `_sampled`.
        cell: Side of a cell in pixels.
        size: (width, height) of the level.
        side: Side of the window in pixels, reduced to the size of the level.
        level: The level.

    Returns:
        The window; the first of several equal ones.
    """
    lengths = [min(side, length) for length in size]
    starts = [np.append(np.arange(0, n - w, cell), n - w) for n, w in zip(size, lengths, strict=True)]
    (left, right), (top, bottom) = (
        (at // cell, -(-(at + w) // cell)) for at, w in zip(starts, lengths, strict=True)
    )  # the cells that a window touches
    table = np.pad(counts.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    rows = table[bottom] - table[top]
    fraction = np.minimum((rows[:, right] - rows[:, left]) / (lengths[0] * lengths[1]), 1)
    y, x = np.unravel_index(np.argmax(fraction * (1 - fraction)), fraction.shape)
    return Window(starts[0][x], starts[1][y], lengths[0], lengths[1], level)
