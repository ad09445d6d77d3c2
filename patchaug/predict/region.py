"""The part of a slide that is predicted."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from patchaug.core.arrays import Array
from patchaug.core.windows import Window
from patchaug.errors import OptionError
from patchaug.predict.layout import Layout
from patchaug.slides import regions
from patchaug.slides.slide import Slide
from patchaug.slides.tissue import TISSUE, tissue_labels


class Region(Protocol):
    """The windows to predict, and the pixels of the map that are kept."""

    def selected(self, layout: Layout, rows: range) -> Array:
        """Decide which windows of some rows of the grid are predicted.

        Args:
            layout: The windows and the map.
            rows: Rows of the grid.

        Returns:
            bool (len(rows), columns of the grid that the map needs).
        """

    def inside(self, window: Window) -> Array | None:
        """Return the pixels of a window that are kept, bool (height, width); None for all of them."""


def region_of(slide: Slide, region: Any) -> Region:
    """Return the region that an option describes.

    Args:
        slide: The slide.
        region: See `PredictOptions`.

    Raises:
        OptionError: It is of another kind.
        PatchaugError: A mask or polygons cannot be opened, or do not fit the slide.
    """
    if region is None:
        raise OptionError('region must be "all", "tissue", a Window, a mask or polygons, got None')
    if isinstance(region, Window):
        return Everywhere()  # the map is that rectangle
    found = regions.region_of(slide, region)
    if found is None:
        return Everywhere()
    return Painted(found) if isinstance(found, regions.Painted) else Tissue(slide)


class Everywhere:
    """All pixels; see `Region`."""

    def selected(self, layout: Layout, rows: range) -> Array:
        """Select all windows."""
        return np.ones((len(rows), len(layout.across)), bool)

    def inside(self, window: Window) -> Array | None:
        """Keep all pixels."""
        return None


class Tissue:
    """Windows with tissue, whole: its outline comes from a thumbnail; see `Region`."""

    def __init__(self, slide: Slide) -> None:
        self.slide = slide

    def selected(self, layout: Layout, rows: range) -> Array:
        """Select the windows in which there is tissue."""
        labels = tissue_labels(self.slide, layout.rectangle.level)
        places = [[layout.window(row, column) for column in layout.across] for row in rows]
        counts = [[labels.count(TISSUE, w.x, w.y, w.width, w.height) > 0 for w in line] for line in places]
        return np.array(counts, bool).reshape(len(rows), len(layout.across))

    def inside(self, window: Window) -> Array | None:
        """Keep all pixels of the windows."""
        return None


class Painted:
    """Pixels where a mask is not 0, or which lie inside any polygon; see `Region`."""

    def __init__(self, region: regions.Painted) -> None:
        self._region = region

    def selected(self, layout: Layout, rows: range) -> Array:
        """Select the windows that hold a pixel of the region that the map shows."""
        chosen = np.zeros((len(rows), len(layout.across)), bool)
        map_ = layout.rectangle
        for k, row in enumerate(rows):
            top, bottom = layout.rows.spans[row]
            top, bottom = max(top, map_.y), min(bottom, map_.bottom)
            strip = self.inside(Window(map_.x, top, map_.width, bottom - top, map_.level))
            columns: Array = np.logical_or.reduce(strip, axis=0)
            for j, column in enumerate(layout.across):
                left, right = layout.columns.spans[column]
                chosen[k, j] = columns[max(left - map_.x, 0) : right - map_.x].any()
        return chosen

    def inside(self, window: Window) -> Array:
        """Keep the pixels of the region."""
        return self._region.inside(window)
