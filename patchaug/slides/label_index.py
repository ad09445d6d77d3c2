"""Where the labels of a mask are: one pass over its pixels, in bands."""

from __future__ import annotations

from functools import partial

import numpy as np

from patchaug.core.arrays import Array
from patchaug.core.progress import progress
from patchaug.core.windows import Window
from patchaug.errors import ReadError
from patchaug.slides.label_runs import BLOCK, index_mask
from patchaug.slides.labels import Labels
from patchaug.slides.mask_alignment import Alignment, Cells
from patchaug.slides.pixel_format import CheckedRaster

_BAND_PIXELS = 2**25  # rows of a mask that are indexed at a time: 32 Mpx


def index_labels(name: str, mask: CheckedRaster, alignment: Alignment, level: int) -> Labels:
    """Index the labels of a mask on a level of the image; reads the mask once, in bands.

    Args:
        name: The slide, for errors and the progress bar.
        mask: The mask.
        alignment: The image's levels over the mask's.
        level: The level of the image.

    Raises:
        ReadError: The mask cannot be read.
    """
    cells = alignment.cells(level)
    width, height = len(cells.columns), len(cells.rows)
    # A multiple of the usual tile heights, so that no tile is decoded for two bands; of a block at least.
    read_per_row = (int(cells.columns[-1]) + 1) * (int(cells.rows[-1]) + 1) // height
    rows = max(_BAND_PIXELS // max(read_per_row, 1), BLOCK)
    rows -= rows % (1024 if rows >= 1024 else BLOCK)
    read = partial(_read_cells, name, mask, cells)
    tops = progress(range(0, height, rows), -(-height // rows), f"{name}: indexing its mask")
    runs = index_mask(width, height, (read(0, top, width, min(rows, height - top)) for top in tops), read)
    columns, lines = (None, None) if cells.one_to_one else (cells.column_edges, cells.row_edges)
    return Labels(*alignment.image[level], columns, lines, runs)


def _read_cells(name: str, mask: CheckedRaster, cells: Cells, x: int, y: int, width: int, height: int) -> Array:
    """The mask's integers that a level of the image asks for, (height, width) of them."""
    try:
        return read_at(mask, cells.columns[x : x + width], cells.rows[y : y + height], cells.level)
    except ReadError as error:
        raise ReadError(f"{error}; mask of slide {name}") from error


def read_at(mask: CheckedRaster, columns: Array, rows: Array, level: int) -> Array:
    """Read the mask's integers at rising columns and rows, integer (rows, columns)."""
    x, y = int(columns[0]), int(rows[0])
    part = mask.read(Window(x, y, int(columns[-1]) - x + 1, int(rows[-1]) - y + 1, level))
    if part.shape == (len(rows), len(columns)):
        return part  # one mask pixel for each
    return np.asarray(part[np.ix_(rows - y, columns - x)])
