"""`AlignedMask`: the labels of a slide, in the pixels of its image's levels."""

from __future__ import annotations

from functools import partial

from patchaug.core.arrays import Array
from patchaug.core.class_codes import ClassCodes
from patchaug.core.progress import progress
from patchaug.core.windows import Window
from patchaug.readers import Raster
from patchaug.readers.hooks import read_ahead
from patchaug.slides.class_raster import ClassRaster
from patchaug.slides.class_runs import REST, ClassRuns
from patchaug.slides.index_mask import index_mask
from patchaug.slides.label_index import MaskReader, index_labels, read_at, same_labels
from patchaug.slides.label_runs import Read
from patchaug.slides.labels import Labels
from patchaug.slides.mask_place import align
from patchaug.slides.mask_values import explained, require_known_classes
from patchaug.slides.valid_pixels import INVALID, ignore_invalid, valid_area, valid_bands


class AlignedMask:
    """Read class numbers under the pixels of an image.

    Args:
        slide: Name of the slide, for errors.
        image: The image.
        mask: The mask, as its file holds it.
        classes: Class names and their values; None where every number is a class.
        ignore_index: Class number that means "no label".

    Raises:
        FrameError: Image and mask do not show the same frame.
    """

    def __init__(
        self, slide: str, image: Raster, mask: Raster, classes: ClassCodes | None, ignore_index: int | None
    ) -> None:
        self.slide, self.ignore_index = slide, ignore_index
        self.classes = ClassRaster(mask, classes, ignore_index, slide)
        self.alignment = align(slide, image, self.classes.raster, ignore_index)
        self.same_labels: dict[int, bool] = {}  # whether the mask's own level holds those of its level 0

    @property
    def raster(self) -> Raster:
        """The mask as its file holds it."""
        return self.classes.raster

    def with_raster(self, raster: Raster) -> AlignedMask:
        """Return the same mask, read by another raster of the same pixels."""
        other = object.__new__(AlignedMask)
        classes = ClassRaster(raster, self.classes.classes, self.ignore_index, self.slide)
        other.__dict__.update({**self.__dict__, "classes": classes, "same_labels": dict(self.same_labels)})
        return other

    def read(self, window: Window) -> Array:
        """Read the class numbers of a window of the image, integer (height, width)."""
        level = self._own_level(window.level)
        if level is not None:  # one mask pixel for each pixel of the image's level
            same = window.level == level
            return self.classes.read(window if same else Window(window.x, window.y, window.width, window.height, level))
        columns = self.alignment.under(window.level, 0, window.x, window.right)
        rows = self.alignment.under(window.level, 1, window.y, window.bottom)
        return read_at(self.classes, columns, rows)

    def read_ahead(self, window: Window) -> None:
        """Start to fetch what a window of the image will read."""
        level = self._own_level(window.level)
        if level is not None:
            return read_ahead(self.raster, Window(window.x, window.y, window.width, window.height, level))
        spans = []
        for axis, start, stop in ((0, window.x, window.right), (1, window.y, window.bottom)):
            places = self.alignment.under(window.level, axis, start, stop)
            inside = places[(places >= 0) & (places < self.raster.level_dimensions[0][axis])]
            if not len(inside):  # the window lies outside the mask
                return None
            spans.append((int(inside[0]), int(inside[-1]) + 1))
        (x, right), (y, bottom) = spans
        return read_ahead(self.raster, Window(x, y, right - x, bottom - y))

    def _own_level(self, level: int) -> int | None:
        """The mask's level that holds the labels of an image level pixel by pixel; None where it must be level 0."""
        own = self.alignment.same_level[level]
        if own is None or own == 0 or self.classes.exact_levels or self.same_labels.get(level):
            return own
        return None

    def index(self, level: int, invalid: Labels) -> Labels:
        """Index the labels of a level of the image.

        Args:
            level: The level.
            invalid: Its pixels without data, see `index_invalid`; their label is `ignore_index`.

        Raises:
            LabelError: The mask holds a value that no class names; or pixels are invalid, and there is no ignore_index.
            ReadError: The mask cannot be read.
        """
        if self.alignment.same_level[level] and not self.classes.exact_levels and level not in self.same_labels:
            self.same_labels[level] = same_labels(self.classes, self.alignment, level)
        with explained(self.slide, self.classes):
            reader = self.reader(level, invalid)
            labels = index_labels(reader) if isinstance(reader, MaskReader) else self._index_valid(invalid, reader)
        require_known_classes(self.slide, self.classes, labels, level)
        return labels

    def reader(self, level: int, invalid: Labels) -> Read:
        """Return what reads the labels that `index` indexes, in the coordinates of its runs."""
        if INVALID in invalid.runs:
            return partial(_read_valid, self, invalid, level)
        return MaskReader(self.slide, self.classes, self.alignment, level, self._own_level(level))

    def _index_valid(self, invalid: Labels, read: Read) -> Labels:
        """Index the labels pixel by pixel of the image's level, where those of invalid pixels are ignored."""
        width, height = invalid.width, invalid.height
        bands = list(valid_bands(invalid))
        each = progress(bands, len(bands), f"{self.slide}: indexing its mask")
        runs = index_mask(width, height, (read(0, top, width, rows) for top, rows in each), read, rest=REST)
        return Labels(width, height, None, None, ClassRuns(width, height, runs, read))


def _read_valid(mask: AlignedMask, invalid: Labels, level: int, x: int, y: int, width: int, height: int) -> Array:
    """Read class numbers of a rectangle, `ignore_index` where pixels are invalid."""
    window = Window(x, y, width, height, level)
    valid = valid_area(invalid, x, y, width, height)
    return ignore_invalid(mask.read(window), valid, mask.ignore_index, mask.slide, window)
