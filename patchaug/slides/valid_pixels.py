"""Pixels without data (transparent, nodata, masked out, not stored or not scanned): their labels and their index."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from patchaug.core.arrays import Array
from patchaug.core.progress import progress
from patchaug.core.windows import Window
from patchaug.errors import LabelError, ReadError
from patchaug.readers import Raster, missing_tiles
from patchaug.readers.hooks import all_valid
from patchaug.slides.class_runs import REST, ClassRuns
from patchaug.slides.index_mask import index_mask
from patchaug.slides.label_runs import BLOCK
from patchaug.slides.labels import Labels
from patchaug.slides.pixel_format import CheckedRaster

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

INVALID = 1  # its number in an index of pixels without data
_BAND_PIXELS = 2**25  # validity that is indexed at a time
_READ_PIXELS = 2**22  # pixels that each thread reads at a time


def ignore_invalid(mask: Array, valid: Array | None, ignore_index: int | None, name: str, window: Window) -> Array:
    """Set the labels of invalid pixels to `ignore_index`.

    Args:
        mask: Class numbers, integer (height, width).
        valid: Whether each pixel is valid, bool (height, width); None where all are.
        ignore_index: Integer that means "no label"; None where the slide has none.
        name: The slide, for errors.
        window: Where the pixels lie, for errors.

    Returns:
        The mask itself where all pixels are valid; else a new one, of a wider dtype where `ignore_index` needs one.

    Raises:
        LabelError: A pixel is invalid, and the slide has no ignore_index.
    """
    if valid is None or valid.all():
        return mask
    if ignore_index is None:
        at = f"level {window.level}, window x={window.x} y={window.y} {window.width} x {window.height}"
        raise LabelError(no_ignore_index(name, f"{valid.size - np.count_nonzero(valid)} px of {at}"))
    fits = np.iinfo(mask.dtype).min <= ignore_index <= np.iinfo(mask.dtype).max
    dtype = mask.dtype if fits else np.promote_types(mask.dtype, np.min_scalar_type(ignore_index))
    return np.where(valid, mask, np.asarray(ignore_index, dtype)).astype(dtype, copy=False)


def no_ignore_index(name: str, what: str) -> str:
    """Return the text of the error about pixels without data on a slide with a mask and no `ignore_index`."""
    return (
        f"{name}: {what} hold no data (transparent, nodata, masked out, not stored or not scanned), so their labels "
        f"mean nothing; set ignore_index=255, a number of no class, which becomes their label (--ignore-index 255)"
    )


def missing_text(raster: Raster, *, mask: bool = False) -> str | None:
    """Return what to report of tiles that a sparse file does not store; None where all are stored."""
    missing, total = (0, 0) if all_valid(raster) else missing_tiles(raster)
    if not missing:
        return None
    if mask:
        return (
            f"{missing} of {total} tiles of its mask are not stored (sparse file); their labels are nodata, or 0, as "
            f"GDAL reads them"
        )
    return (
        f"{missing} of {total} tiles are not stored (sparse file); their pixels are nodata, or 0, and invalid: labels "
        f"there are ignore_index"
    )


def require_ignore_index(name: str, image: CheckedRaster, ignore_index: int | None) -> None:
    """Raise LabelError if the image's header states invalid pixels, and labels have no `ignore_index`."""
    if ignore_index is None and not all_valid(image.raster):
        missing, total = missing_tiles(image.raster)
        if missing:
            raise LabelError(no_ignore_index(name, f"{missing} of {total} tiles"))


def finite_where_invalid(image: Array, valid: Array) -> Array:
    """Replace NaN and infinity by 0 where pixels are invalid: networks would spread them to their neighbours.

    Args:
        image: (height, width, channels), any dtype.
        valid: Whether each pixel is valid, bool (height, width).
    """
    if image.dtype.kind != "f":
        return image
    odd = ~valid[..., None] & ~np.isfinite(image)
    return np.where(odd, image.dtype.type(0), image) if odd.any() else image


def index_invalid(name: str, image: CheckedRaster, level: int) -> Labels:
    """Index the invalid pixels of a level of an image.

    Reads the level once, unless the file's header tells that every pixel is valid.

    Args:
        name: The slide, for errors and the progress bar.
        image: The image.
        level: The level.

    Returns:
        The index; its one class is `INVALID`, which is absent where every pixel is valid.

    Raises:
        ReadError: The image cannot be read.
    """
    width, height = image.raster.level_dimensions[level]
    if all_valid(image.raster):
        return Labels(width, height, None, None, {})
    rows = band_rows(width)
    tops = progress(range(0, height, rows), -(-height // rows), f"{name}: finding its valid pixels")
    read = partial(read_invalid, name, image, level)
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor() as threads:
        bands = (_band(threads, read, top, width, min(rows, height - top)) for top in tops)
        runs = index_mask(width, height, bands, read, rest=REST)
    return Labels(width, height, None, None, ClassRuns(width, height, runs, read))


def band_rows(width: int) -> int:
    """Return how many rows are indexed at a time: whole blocks, and whole tiles of usual heights."""
    rows = max(_BAND_PIXELS // width, BLOCK)
    return rows - rows % (1024 if rows >= 1024 else BLOCK)


def _band(threads: ThreadPoolExecutor, read: partial[Array], top: int, width: int, rows: int) -> Array:
    """Read a band of full rows in pieces: pixels are many times larger than their validity."""
    high, wide = min(rows, 1024), 1024 * max(_READ_PIXELS // (1024 * min(rows, 1024)), 1)
    pieces = [
        (x, y, min(wide, width - x), min(high, rows - y)) for y in range(0, rows, high) for x in range(0, width, wide)
    ]
    band = np.empty((rows, width), np.uint8)
    found = threads.map(lambda piece: read(piece[0], top + piece[1], piece[2], piece[3]), pieces)
    for (x, y, across, down), invalid in zip(pieces, found, strict=True):
        band[y : y + down, x : x + across] = invalid
    return band


def read_invalid(name: str, image: CheckedRaster, level: int, x: int, y: int, width: int, height: int) -> Array:
    """Return `INVALID` where pixels are invalid and 0 elsewhere, uint8 (height, width)."""
    try:
        valid = image.read_validity(Window(x, y, width, height, level))
    except ReadError as error:
        raise ReadError(f"{error}; slide {name}") from error
    return np.zeros((height, width), np.uint8) if valid is None else (~valid).view(np.uint8)


def valid_area(invalid: Labels, x: int, y: int, width: int, height: int) -> Array:
    """Return whether each pixel of a rectangle is valid, bool (height, width), from the index of those that are not."""
    if INVALID not in invalid.runs:
        return np.ones((height, width), bool)
    rows, starts, lasts = invalid.runs[INVALID].stretches(x, y, x + width, y + height)
    touch = (lasts >= x) & (starts < x + width)
    rows, starts, lasts = rows[touch] - y, starts[touch] - x, lasts[touch] - x
    steps = np.zeros((height, width + 1), np.int8)
    steps[rows, np.maximum(starts, 0)] += 1  # in one row no two runs start, or end, at one place
    steps[rows, np.minimum(lasts + 1, width)] -= 1
    return np.asarray(np.cumsum(steps[:, :-1], axis=1, dtype=np.int8) == 0)


def valid_bands(invalid: Labels) -> Iterator[tuple[int, int]]:
    """Yield the first row and the number of rows of the bands in which a level is indexed."""
    rows = band_rows(invalid.width)
    yield from ((top, min(rows, invalid.height - top)) for top in range(0, invalid.height, rows))
