"""The indexes of a slide: labels of its mask, invalid pixels, tissue; each is built once, and shared with workers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from patchaug.readers import Raster
from patchaug.readers.hooks import all_valid
from patchaug.slides.aligned_mask import AlignedMask
from patchaug.slides.index_cache import fetch_index
from patchaug.slides.index_tasks import IndexTask, InvalidIndex, MaskIndex
from patchaug.slides.labels import Labels
from patchaug.slides.pixel_format import CheckedRaster


class SlideIndexes:
    """The part of a `Slide` that indexes its pixels."""

    name: str
    _image: CheckedRaster
    _label_indexes: dict[tuple[str, int], Labels]

    if TYPE_CHECKING:

        @property
        def image(self) -> Raster:
            """The image's raster."""

        def level_size(self, level: int) -> tuple[int, int]:
            """Return (width, height) of a level in pixels."""

        def _require_mask(self) -> AlignedMask: ...

    def labels(self, level: int = 0) -> Labels:
        """Return the label index of a level; the first call reads the whole mask and checks it against the codes.

        It also reads the image where pixels may be invalid (alpha, nodata), whose labels are `ignore_index`.

        Raises:
            FrameError: There is no mask.
            WindowError: There is no such level.
            LabelError: The mask holds a value that is neither a code nor `ignore_index`; or a pixel is invalid, and
                there is no ignore_index.
        """
        self._require_mask()
        return self.label_index("mask", level, lambda: self.index_task("mask", level))

    def index_task(self, kind: str, level: int) -> IndexTask:
        """Return what builds the "mask" index or the "invalid" index of a level; see `labels` and `invalid_pixels`."""
        self.level_size(level)
        if kind == "invalid":
            return InvalidIndex(self.name, self._image, level)
        image = None if all_valid(self.image) else self._image
        return MaskIndex(self._require_mask(), image, level, self.invalid_pixels(level))

    def label_index(self, kind: str, level: int, task_of: Callable[[], IndexTask | Labels]) -> Labels:
        """Return a label index of the slide; at the first request, build it or take it from the cache of indexes.

        Started workers share the indexes of their parent.

        Args:
            kind: What is indexed, such as "mask" or "tissue".
            level: Level of the image.
            task_of: Returns what builds the index, or the index itself.

        Raises:
            WindowError: There is no such level.
        """
        if (kind, level) not in self._label_indexes:
            self.level_size(level)
            task = task_of()
            self._label_indexes[kind, level] = task if isinstance(task, Labels) else fetch_index(task)
        return self._label_indexes[kind, level]

    @property
    def may_be_invalid(self) -> bool:
        """Whether pixels of the image may be invalid, as far as its header tells."""
        return not all_valid(self.image)

    def has_index(self, kind: str, level: int) -> bool:
        """Return whether an index is in memory."""
        return (kind, level) in self._label_indexes

    def put_index(self, kind: str, level: int, labels: Labels) -> None:
        """Take an index that was built elsewhere."""
        self._label_indexes[kind, level] = labels

    def invalid_pixels(self, level: int = 0) -> Labels:
        """Return the index of the invalid pixels of a level, see `index_invalid`; the first call may read the image.

        Raises:
            WindowError: There is no such level.
            ReadError: The file cannot be read.
        """
        if all_valid(self.image):
            return Labels(*self.level_size(level), None, None, {})
        return self.label_index("invalid", level, lambda: self.index_task("invalid", level))
