"""Every value of a mask and its pixels; an error about values without a class names them all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from patchaug.core.arrays import Array
from patchaug.core.windows import Window
from patchaug.errors import LabelError
from patchaug.slides.class_numbers import unknown_of, unknown_values
from patchaug.slides.class_raster import ClassRaster
from patchaug.slides.labels import Labels

_BAND_PIXELS = 2**25
_MOST = 10_000  # values that are counted one by one


def require_known_classes(slide: str, mask: ClassRaster, labels: Labels, level: int) -> None:
    """Verify that every class number of an index has a name; nothing is checked without codes.

    Raises:
        LabelError: The mask holds a number that is neither a code nor `ignore_index`.
    """
    if mask.classes is None or mask.maps:  # mapped values were verified when they were read
        return
    if not unknown_of(dict.fromkeys(labels.runs, (0, (0, 0))), mask.classes, mask.ignore_index):
        return
    values = {value: (labels.pixels(value), labels.first(value)) for value in labels.runs}
    raise LabelError(f"{slide}: {unknown_values(values, mask.classes, mask.ignore_index, level)}")


@contextmanager
def explained(slide: str, mask: ClassRaster) -> Iterator[None]:
    """Replace an error about values of one window by one about those of the whole mask."""
    try:
        yield
    except LabelError:
        if mask.classes is None or not mask.maps:
            raise
        values = count_values(mask)
        if not unknown_of(values, mask.classes, mask.ignore_index):
            raise
        raise LabelError(f"{slide}: {unknown_values(values, mask.classes, mask.ignore_index)}") from None


def count_values(mask: ClassRaster) -> dict[int, tuple[int, tuple[int, int]]]:
    """Count the values of a mask's level 0, as its file holds them: {value: (pixels, the place of one)}."""
    width, height = mask.raster.level_dimensions[0]
    rows = max(_BAND_PIXELS // width, 1)
    values: dict[int, tuple[int, tuple[int, int]]] = {}
    for top in range(0, height, rows):
        window = Window(0, top, width, min(rows, height - top))
        add_values(values, mask.stored(window), window)
        if len(values) > _MOST:
            break
    return values


def add_values(values: dict[int, tuple[int, tuple[int, int]]], pixels: Array, window: Window) -> None:
    """Add the values of a window to a count."""
    if pixels.dtype == np.uint8:  # counting is many times as fast as sorting
        of_each = np.bincount(pixels.ravel())
        found = np.flatnonzero(of_each)
        counts = of_each[found]
    else:
        found, counts = np.unique(pixels, return_counts=True)
    for value, count in zip(found.tolist(), counts.tolist(), strict=True):
        if value in values:
            values[value] = (values[value][0] + count, values[value][1])
        else:
            y, x = divmod(int(np.argmax(pixels == value)), window.width)
            values[value] = (count, (window.x + x, window.y + y))
