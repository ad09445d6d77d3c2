"""Truth and prediction at the size of a picture, and the place that is worth a closer look."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from patchaug.core.arrays import Array
from patchaug.core.resampling import area_sums
from patchaug.core.windows import Window
from patchaug.slides.slide import Patch, Slide
from patchaug.slides.thumbnail import reduced

_BLOCK_PIXELS = 2**24  # pixels that are read at a time
_CELL = 50  # steps in which the place for a closer look is sought, pixels


def resized_for_display(patch: Patch, shown: float) -> tuple[Array, Array | None]:
    """Red, green and blue of a patch, and its mask, at about the size at which they are shown.

    They are made smaller or larger by a whole factor, to 1 to 2 times that size: so a line one pixel wide is thin on a
    small patch, and not lost on a large one.

    Args:
        patch: Image, uint8 (height, width, channels) or (height, width), and mask.
        shown: Width on the screen in pixels.

    Returns:
        Image uint8 (height, width, 3): the first three channels, or grey; mask (height, width) or None.
    """
    image = patch.image if patch.image.ndim == 3 else patch.image[..., None]
    image = image[..., :3] if image.shape[2] >= 3 else np.repeat(image[..., :1], 3, axis=2)
    width = image.shape[1]
    if width > shown:
        return reduced(Patch(image, patch.mask), int(width // shown))
    times = int(-(-shown // width))
    mask = None if patch.mask is None else patch.mask.repeat(times, 0).repeat(times, 1)
    return image.repeat(times, 0).repeat(times, 1), mask


def class_borders(mask: Array) -> Array:
    """Which pixels, bool (height, width), have a neighbour above, below, left or right of another class."""
    edge = np.zeros(mask.shape, bool)
    for turned, classes in ((edge, mask), (edge.T, mask.T)):
        change = classes[1:] != classes[:-1]
        turned[1:] |= change
        turned[:-1] |= change
    return edge


def truth_and_prediction(
    slide: Slide, prediction: Array, level: int, shape: tuple[int, ...], l0_per_pixel: float, *, side: int
) -> tuple[Array, Array, Window]:
    """Truth and prediction at the size of a thumbnail, from the same pixels, and where to look closer.

    Args:
        slide: A slide with a mask.
        prediction: Its class map at `level`, integer (height, width).
        level: The level of the map.
        shape: (height, width) of the thumbnail.
        l0_per_pixel: Level-0 pixels per pixel of the thumbnail.
        side: Side of the closer look, pixels of the level.

    Returns:
        Two class maps of that shape: the pixels of the level under the centres of the thumbnail's; and a window where
        the truth, or if it is empty the prediction, has much to see.
    """
    per_pixel = l0_per_pixel / slide.level_downsamples[level]
    rows, columns = (  # with a little more than nothing added: what is a whole number may not be rounded below it
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
    """Some pixels of a large class map, and how many labelled ones there are in each of its cells.

    Args:
        read: Gives the map's rows from a first to before a last one, integer (rows, width).
        rows: Rows to return, ascending, the map's height at the end.
        columns: Columns to return, ascending, the map's width at the end.
        cell: Side of a cell in pixels.
        ignore_index: Integer that means "no label", or None.

    Returns:
        The map at rows x columns without the ends, and the counts, int64, one per cell; the last cells may be cut.
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
    """The window that shows most labels beside most of what is not labelled.

    That is the largest share * (1 - share): where labels are sparse, the window with most of them; where they are
    dense, one across their border rather than one that they fill.

    Args:
        counts: Labelled pixels per cell, as from `_sampled`.
        cell: Side of a cell in pixels.
        size: (width, height) of the level.
        side: Side of the window in pixels; less where the level is smaller.
        level: The level.

    Returns:
        The window; the first one where all are alike.
    """
    lengths = [min(side, length) for length in size]
    starts = [np.append(np.arange(0, n - w, cell), n - w) for n, w in zip(size, lengths, strict=True)]
    (left, right), (top, bottom) = (
        (at // cell, -(-(at + w) // cell)) for at, w in zip(starts, lengths, strict=True)
    )  # the cells that a window touches
    table = np.pad(counts.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    rows = table[bottom] - table[top]
    share = np.minimum((rows[:, right] - rows[:, left]) / (lengths[0] * lengths[1]), 1)
    y, x = np.unravel_index(np.argmax(share * (1 - share)), share.shape)
    return Window(starts[0][x], starts[1][y], lengths[0], lengths[1], level)
