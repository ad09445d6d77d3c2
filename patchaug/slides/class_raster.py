"""Masks as class numbers: what a file holds, mapped by the codes, in each window."""

from __future__ import annotations

import numpy as np

from patchaug.core.arrays import Array
from patchaug.core.class_codes import ClassCodes
from patchaug.core.windows import Window
from patchaug.errors import LabelError
from patchaug.readers import Raster
from patchaug.readers.colours import ColourRaster
from patchaug.readers.hooks import exact_levels, holds_classes
from patchaug.slides.class_numbers import unknown_values
from patchaug.slides.pixel_format import CheckedRaster


class ClassRaster:
    """Read windows of a mask as class numbers.

    Args:
        raster: The mask, as its file holds it.
        classes: Class names and their values; None where every number is a class.
        ignore_index: Class number that means "no label".
        slide: Name of the slide, for errors.

    Raises:
        FrameError: The raster has no levels.
    """

    def __init__(self, raster: Raster, classes: ClassCodes | None, ignore_index: int | None, slide: str) -> None:
        if classes is not None and classes.colours and not holds_classes(raster):
            raster = raster if isinstance(raster, ColourRaster) else ColourRaster(raster)
        if classes is not None and holds_classes(raster):
            classes = ClassCodes(classes.names)
        self._checked = CheckedRaster(raster, "mask", slide)
        self.slide, self.ignore_index = slide, ignore_index
        self.classes = classes
        self.exact_levels = exact_levels(raster)
        self.maps = classes is not None and not classes.identity

    @property
    def raster(self) -> Raster:
        """The mask as its file holds it."""
        return self._checked.raster

    def require_known(self, numbers: Array, window: Window) -> None:
        """Raise LabelError if class numbers that no mapping has verified hold one without a name."""
        if self.classes is None or self.maps or not numbers.size:
            return
        count = len(self.classes.names)
        if int(numbers.max()) < count and (numbers.dtype.kind == "u" or int(numbers.min()) >= 0):
            return
        unknown = (numbers < 0) | (numbers >= count)
        if self.ignore_index is not None:
            unknown &= numbers != self.ignore_index
        if unknown.any():
            raise LabelError(self._text_of_unknown(numbers, unknown, window))

    def _text_of_unknown(self, values: Array, unknown: Array, window: Window) -> str:
        assert self.classes is not None
        rows, columns = np.nonzero(unknown)
        found, first, counts = np.unique(values[rows, columns], return_index=True, return_counts=True)
        places = {
            int(value): (int(count), (window.x + int(columns[at]), window.y + int(rows[at])))
            for value, at, count in zip(found, first, counts, strict=True)
        }
        return f"{self.slide}: {unknown_values(places, self.classes, self.ignore_index, window.level)}"

    def stored(self, window: Window) -> Array:
        """Read the integers of the file, (height, width)."""
        return self._checked.read(window)

    def read(self, window: Window) -> Array:
        """Read class numbers, integer (height, width).

        Raises:
            LabelError: The window holds a value that no class names.
        """
        values = self._checked.read(window)
        if not self.maps:
            return values
        assert self.classes is not None
        numbers, unknown = self.classes.mapped(values, self.ignore_index)
        if unknown is not None:
            raise LabelError(self._text_of_unknown(values, unknown, window))
        return numbers
