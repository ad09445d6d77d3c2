"""Arrays among the items of a loader, which workers take from their slides."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from patchaug.data.slide_items import LazySlideItem, SlideImage, SlideMask
from patchaug.readers import ArrayRaster
from patchaug.slides.slide import Slide


class SharedSources:
    """Replace arrays of items by references while a process is being started: slides already share their pixels.

    Args:
        items: For each slide, its `SlideImage` and, where it has one, its `SlideMask`.
        slides: The slides that were opened from them.
    """

    def __init__(self, items: Sequence[Iterable[Any]], slides: Sequence[Slide]) -> None:
        self._rasters: dict[int, ArrayRaster] = {}
        for item, slide in zip(items, slides, strict=True):
            images, masks = iter(slide.members), iter(slide.members)
            for element in item:
                raster = None
                if isinstance(element, SlideImage):
                    raster = next(images).image
                elif isinstance(element, SlideMask):
                    raster = next(masks).mask
                source = getattr(element, "source", None)
                if isinstance(source, np.ndarray) and isinstance(raster, ArrayRaster) and raster.dtype == source.dtype:
                    self._rasters[id(source)] = raster

    def swapped(self, item: Any) -> Any:
        """Return the item with each array replaced by one that unpickles as the slide's own array."""
        if isinstance(item, np.ndarray):
            raster = self._rasters.get(id(item))
            return item if raster is None else _ArrayOfRaster(raster)
        if isinstance(item, LazySlideItem):
            new = copy.copy(item)
            new.source = self.swapped(item.source)
            return new
        if isinstance(item, tuple) and hasattr(item, "_fields"):
            return type(item)(*map(self.swapped, item))
        return type(item)(map(self.swapped, item)) if type(item) in (tuple, list) else item


class _ArrayOfRaster:
    """Unpickles as the array of a raster."""

    def __init__(self, raster: ArrayRaster) -> None:
        self.raster = raster

    def __reduce__(self) -> tuple[Any, ...]:
        return ArrayRaster.array, (self.raster,)
