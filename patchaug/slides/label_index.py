"""Where the labels of a mask are: one pass over its pixels, in bands."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol

import numpy as np

from patchaug.core.arrays import Array
from patchaug.core.progress import progress
from patchaug.core.windows import Window
from patchaug.errors import ReadError
from patchaug.readers import Raster
from patchaug.readers.hooks import tile_size
from patchaug.slides.class_raster import ClassRaster
from patchaug.slides.class_runs import REST, ClassRuns
from patchaug.slides.index_mask import index_mask
from patchaug.slides.label_runs import BLOCK
from patchaug.slides.labels import Labels
from patchaug.slides.mask_alignment import Alignment, Cells

_BAND_PIXELS = 2**25  # of the rows of a mask that are indexed at a time, at most: 32 Mpx
_CACHED_PIXELS = 2**20


class Reads(Protocol):
    """A mask that is read by windows."""

    @property
    def raster(self) -> Raster:
        """The mask as its file holds it."""

    @property
    def ignore_index(self) -> int | None:
        """Label of places beyond the mask."""

    def read(self, window: Window) -> Array:
        """Read integers, (height, width)."""


@dataclass(frozen=True, eq=False)
class MaskReader:
    """Read the pixels of a mask that a level of the image asks for, again and again; it holds no arrays.

    Attributes:
        name: The slide, for errors.
        mask: The mask.
        alignment: The image's levels over the mask's.
        level: The level of the image.
        own: Level of the mask that has a pixel for each of the image's level; None for its level 0.
    """

    name: str
    mask: Reads = field(repr=False)
    alignment: Alignment = field(repr=False)
    level: int
    own: int | None

    @property
    def size(self) -> tuple[int, int]:
        """(columns, rows) of the mask that the level asks for."""
        if self.own is not None:
            return self.alignment.image[self.level]
        cells = _cells_of(self.alignment, self.level)
        return len(cells.columns), len(cells.rows)

    @property
    def edges(self) -> tuple[Array | None, Array | None]:
        """`columns` and `lines` of the `Labels` of the level."""
        cells = None if self.own is not None else _cells_of(self.alignment, self.level)
        return (None, None) if cells is None or cells.one_to_one else (cells.column_edges, cells.row_edges)

    @property
    def read_per_row(self) -> int:
        """Pixels of the mask that are read for a row of it."""
        if self.own is not None:
            return self.alignment.image[self.level][0]
        cells = _cells_of(self.alignment, self.level)
        return max(int(cells.columns[-1]) + 1, 1) * max(int(cells.rows[-1]) + 1, 1) // len(cells.rows)

    @property
    def band_rows(self) -> int:
        """Rows that are indexed at a time: whole tiles, so that none is decoded for two bands, and whole blocks."""
        if self.own is not None:  # little more than a processor's cache holds, where tiles are that small
            width, tile = self.size[0], tile_size(self.mask.raster, self.own)[1]
            step = math.lcm(tile, BLOCK)
            if step * width <= _BAND_PIXELS:
                return step * max(_CACHED_PIXELS // (step * width), 1)
        rows = max(_BAND_PIXELS // max(self.read_per_row, 1), BLOCK)
        return rows - rows % (1024 if rows >= 1024 else BLOCK)

    def __call__(self, x: int, y: int, width: int, height: int) -> Array:
        """Read integers, (height, width)."""
        try:
            if self.own is not None:
                return self.mask.read(Window(x, y, width, height, self.own))
            cells = _cells_of(self.alignment, self.level)
            return read_at(self.mask, cells.columns[x : x + width], cells.rows[y : y + height])
        except ReadError as error:
            raise ReadError(f"{error}; mask of slide {self.name}") from error


@lru_cache(maxsize=4)  # slides of one size share them, and no index holds its own
def _cells_of(alignment: Alignment, level: int) -> Cells:
    return alignment.cells(level)


def index_labels(reader: MaskReader, *, limit: float | None = None) -> Labels:
    """Index the labels of a mask on a level of the image; reads the mask once, in bands.

    Args:
        reader: Reads the mask.
        limit: Bytes per pixel that the index of one class may take, see `label_runs`.

    Raises:
        ReadError: The mask cannot be read.
    """
    width, height = reader.size
    rows = reader.band_rows
    tops = progress(range(0, height, rows), -(-height // rows), f"{reader.name}: indexing its mask")
    bands = (reader(0, top, width, min(rows, height - top)) for top in tops)
    runs = index_mask(width, height, bands, reader, limit, REST)
    classes = ClassRuns(width, height, runs, reader)
    return Labels(*reader.alignment.image[reader.level], *reader.edges, classes)


def read_at(mask: Reads, columns: Array, rows: Array) -> Array:
    """Read the integers of a mask's level 0 at rising columns and rows, in bands of bounded memory.

    Columns and rows outside the mask get its `ignore_index`.

    Args:
        mask: The mask.
        columns: int64, -1 and the mask's width stand for places beyond it.
        rows: The same for rows.

    Returns:
        Integer (rows, columns).
    """
    size = mask.raster.level_dimensions[0]
    inside = [(at >= 0) & (at < length) for at, length in ((columns, size[0]), (rows, size[1]))]
    if not (inside[0].all() and inside[1].all()):
        assert mask.ignore_index is not None  # `align` requires it
        filled = np.full((len(rows), len(columns)), mask.ignore_index, np.min_scalar_type(mask.ignore_index))
        if not (inside[0].any() and inside[1].any()):
            return filled
        part = read_at(mask, columns[inside[0]], rows[inside[1]])
        filled = filled.astype(np.result_type(filled, part))
        filled[np.ix_(inside[1], inside[0])] = part
        return filled
    x, width = int(columns[0]), int(columns[-1] - columns[0]) + 1
    height = int(rows[-1] - rows[0]) + 1
    if width * height <= _BAND_PIXELS or len(rows) == 1:
        part = mask.read(Window(x, int(rows[0]), width, height))
        if part.shape == (len(rows), len(columns)):
            return part  # one mask pixel for each
        return np.asarray(part[np.ix_(rows - rows[0], columns - x)])
    middle = len(rows) // 2
    return np.concatenate([read_at(mask, columns, rows[:middle]), read_at(mask, columns, rows[middle:])])


def same_labels(mask: ClassRaster, alignment: Alignment, level: int) -> bool:
    """Return whether the mask's own level of that size holds the level-0 labels under its pixels' centres.

    Args:
        mask: The mask.
        alignment: The image's levels over the mask's.
        level: Level of the image; the mask has one of its size.
    """
    own = alignment.same_level[level]
    assert own is not None
    width, height = alignment.image[level]
    rows = max(_BAND_PIXELS // max(width, 1), 1)
    for top in range(0, height, rows):
        stop = min(top + rows, height)
        columns, lines = alignment.under(level, 0, 0, width), alignment.under(level, 1, top, stop)
        if not np.array_equal(
            mask.stored(Window(0, top, width, stop - top, own)), read_at(_Stored(mask), columns, lines)
        ):
            return False
    return True


class _Stored:
    """A mask whose values are read as its file holds them."""

    def __init__(self, mask: ClassRaster) -> None:
        self.raster, self.ignore_index, self._mask = mask.raster, mask.ignore_index, mask

    def read(self, window: Window) -> Array:
        """Read the integers of the file."""
        return self._mask.stored(window)
