"""Part of a slide that windows are drawn from, or that is predicted: a rectangle, a mask or polygons, or tissue."""

from __future__ import annotations

import os
from functools import partial
from typing import Any

import numpy as np

from patchaug.core.arrays import Array
from patchaug.core.memory.budget import budget
from patchaug.core.windows import Window
from patchaug.errors import OptionError, WindowError
from patchaug.readers import Raster, cached_bytes, open_mask
from patchaug.readers.georeference import georeference_of
from patchaug.slides.class_raster import ClassRaster
from patchaug.slides.index_mask import index_mask
from patchaug.slides.label_index import MaskReader, index_labels, read_at
from patchaug.slides.labels import Labels, Region
from patchaug.slides.mask_place import align
from patchaug.slides.read_around import Bounds, bounds_on
from patchaug.slides.slide import Slide
from patchaug.slides.tissue import tissue_labels

OUTSIDE = 1  # number of the pixels outside in the indexes of rectangles and masks; that of the tissue's is 0


def region_of(slide: Slide, region: Any, *, ram: int | None = None) -> Region | None:
    """Return the region that an option describes; None for the whole slide.

    Args:
        slide: The slide.
        region: "all", "tissue", a `Window`, a mask of the slide's extent, in which 0 is outside, or polygons.
        ram: Bytes of decoded pixels of the mask to cache; default: half of the free memory.

    Raises:
        OptionError: It is of another kind.
        WindowError: The window leaves the slide.
        PatchaugError: A mask or polygons cannot be opened, or do not fit the slide.
    """
    if isinstance(region, (Rectangle, Tissue, Painted)):  # of another slide of the same image
        return region
    if isinstance(region, Window):
        return Rectangle(slide, region)
    if isinstance(region, str) and region == "all":
        return None
    if isinstance(region, str) and region == "tissue":
        return Tissue()
    if isinstance(region, str) and "://" not in region and not os.path.exists(region):
        from difflib import get_close_matches

        near = get_close_matches(region, ["all", "tissue"], n=1)
        hint = f", did you mean {near[0]!r}?" if near else ""
        raise OptionError(
            f'region must be "all", "tissue", a Window, a mask or polygons, and {region!r} is no file{hint}'
        )
    if region is None or isinstance(region, (bool, int, float, tuple)):
        raise OptionError(f'region must be "all", "tissue", a Window, a mask or polygons, got {region!r}')
    return Painted(slide, region, budget("auto", cached_bytes()) if ram is None else ram)


class Rectangle:
    """A window; on other levels, the pixels that lie in it whole."""

    def __init__(self, slide: Slide, window: Window) -> None:
        width, height = slide.level_size(window.level)
        if not window.inside(width, height):
            raise WindowError(
                f"{slide.name}: the region x={window.x} y={window.y} {window.width} x {window.height} leaves level "
                f"{window.level}, which has {width} x {height} px; choose one inside"
            )
        self.window = window

    def bounds(self, slide: Slide, level: int) -> Bounds:
        """Return left, top, right and bottom on a level."""
        return bounds_on(self.window, slide.level_size(self.window.level), slide.level_size(level))

    def outside(self, slide: Slide, level: int) -> tuple[Labels, int]:
        """Return the index of the pixels outside; see `Region`."""
        width, height = slide.level_size(level)
        left, top, right, bottom = self.bounds(slide, level)
        columns, lines = np.unique([0, left, right, width]), np.unique([0, top, bottom, height])
        inside = np.outer((lines[:-1] >= top) & (lines[1:] <= bottom), (columns[:-1] >= left) & (columns[1:] <= right))
        mask = np.where(inside, 0, OUTSIDE).astype(np.uint8)  # one cell for each part, however large
        runs = index_mask(mask.shape[1], mask.shape[0], iter([mask]), partial(_cells, mask))
        return Labels(width, height, columns, lines, runs), OUTSIDE


def _cells(mask: Array, x: int, y: int, width: int, height: int) -> Array:
    return mask[y : y + height, x : x + width]


class Tissue:
    """The tissue of a slide, as its thumbnail shows it."""

    def outside(self, slide: Slide, level: int) -> tuple[Labels, int]:
        """Return the index of the tissue, in which glass is 0; see `Region`."""
        return tissue_labels(slide, level), 0


class Painted:
    """Pixels where a mask is not 0, or which lie in any polygon; what the mask does not cover is outside."""

    def __init__(self, slide: Slide, source: Any, ram: int) -> None:
        raster = open_mask(
            os.fspath(source) if isinstance(source, os.PathLike) else source, slide.level_dimensions,
            codes=["outside", "inside"], ram=ram, label=None, place=georeference_of(slide.image),
        )  # fmt: skip
        self._mask = _Outside(ClassRaster(raster, None, None, slide.name))
        self._alignment = align(slide.name, slide.image, self._mask.raster, OUTSIDE)

    def outside(self, slide: Slide, level: int) -> tuple[Labels, int]:
        """Return the index of the pixels outside; see `Region`."""
        reader = MaskReader(f"{slide.name} (its region)", self._mask, self._alignment, level, None)
        return slide.label_index("region", level, lambda: index_labels(reader)), OUTSIDE

    def inside(self, window: Window) -> Array:
        """Return whether each pixel of a window is inside, bool (height, width)."""
        columns = self._alignment.under(window.level, 0, window.x, window.right)
        rows = self._alignment.under(window.level, 1, window.y, window.bottom)
        return np.asarray(read_at(self._mask, columns, rows) != OUTSIDE)


class _Outside:
    """A mask as 0 inside and `OUTSIDE` elsewhere."""

    ignore_index: int | None = OUTSIDE  # of places beyond the mask

    def __init__(self, mask: ClassRaster) -> None:
        self._mask = mask

    @property
    def raster(self) -> Raster:
        """The mask as its file holds it."""
        return self._mask.raster

    def read(self, window: Window) -> Array:
        """Read a window, uint8 (height, width)."""
        return np.asarray(self._mask.read(window) == 0).view(np.uint8)
