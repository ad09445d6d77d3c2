"""`Slide`: one image and its mask in one frame. The only file that reads both, through the same window.

Coordinate planes: a window counts pixels of its own level of the *image*. The mask may have other levels, or another
resolution: each pixel of the window gets the mask pixel under its centre (`patchaug.slides.mask_alignment`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from patchaug.core.arguments import names_arguments_of_init
from patchaug.core.arrays import Array
from patchaug.core.class_codes import ClassCodes
from patchaug.core.memory.anonymous import is_starting_process
from patchaug.core.validation import Size, checked_mpp, printable, refuses_old_names
from patchaug.core.windows import Window
from patchaug.errors import FrameError, MissingError, ReadError, WindowError, placed
from patchaug.readers import Raster, require_inside
from patchaug.readers.hooks import all_valid, path_of, read_ahead
from patchaug.readers.tiled import MORE_MEMORY
from patchaug.readers.urls import is_url
from patchaug.slides.aligned_mask import AlignedMask
from patchaug.slides.class_numbers import class_number
from patchaug.slides.labels import Labels, Region
from patchaug.slides.patch import Patch as Patch
from patchaug.slides.patch import resize_patch
from patchaug.slides.pixel_format import CheckedRaster
from patchaug.slides.read_around import Bounds, bounds_on, read_around
from patchaug.slides.slide_id import id_of as id_of
from patchaug.slides.slide_indexes import SlideIndexes
from patchaug.slides.valid_pixels import finite_where_invalid, ignore_invalid, require_ignore_index

Codes = Sequence[str] | Mapping[str, Any] | ClassCodes


@names_arguments_of_init
class Slide(SlideIndexes):
    """One image and its mask in one frame; `open_slide` makes it from paths and arrays.

    Args:
        image: Reads the image; any number of channels, of a type that `patchaug.readers.formats` lists.
        mask: Reads the class numbers, integers; None for a slide without labels.
        name: Name of the slide in errors; its windows are drawn by this name.
        codes: Class names in the order of the mask's integers, or a mapping from name to the values of the file.
        ignore_index: Integer that means "no label".
        path: Path of the image, None for arrays.
        mpp: Micrometres per pixel at level 0, or (x, y) of them; default: those of the image.

    Attributes:
        region: Where windows are drawn, see `open_slide`; None for everywhere.
        frame: Rectangle of level 0 that plans read, see `within`; None for the whole slide.

    Raises:
        FrameError: Image and mask do not show the same frame, or a raster has no levels.
        LabelError: The image leaves tiles out, and there is a mask without `ignore_index` for its labels there.
        OptionError: An argument is of a wrong type or out of its limits.

    Examples:
        >>> import numpy as np
        >>> from patchaug import Slide
        >>> from patchaug.readers import ArrayRaster
        >>> Slide(ArrayRaster(np.zeros((60, 80, 3), np.uint8)), name="liver")
        Slide('liver', 80 x 60 px, 1 levels, no mask)
    """

    @refuses_old_names
    def __init__(
        self,
        image: Raster,
        mask: Raster | None = None,
        *,
        name: str,
        codes: Codes | None = None,
        ignore_index: int | None = None,
        path: str | None = None,
        mpp: float | tuple[float, float] | None = None,
    ) -> None:
        self.name, self.path = printable(name), path
        classes = ClassCodes.of(codes)
        self.codes, self.ignore_index = None if classes is None else classes.names, ignore_index
        self._mpp = None if mpp is None else checked_mpp(mpp)
        self._image = CheckedRaster(image, "image", name)
        self._mask = None if mask is None else AlignedMask(name, image, mask, classes, ignore_index)
        if self._mask is not None:
            require_ignore_index(name, self._image, ignore_index)
        self._label_indexes: dict[tuple[str, int], Labels] = {}
        self.region: Region | None = None
        self.frame: Window | None = None

    @property
    def image(self) -> Raster:
        """The image's raster."""
        return self._image.raster

    @property
    def mask(self) -> Raster | None:
        """The mask's raster; None for a slide without labels."""
        return None if self._mask is None else self._mask.raster

    @property
    def members(self) -> tuple[Slide, ...]:
        """The slides that are read through one window; a `SlideGroup` has several."""
        return (self,)

    @property
    def id(self) -> int:
        """Hash of the name, below 2^32: the slide's word in the key of its samples."""
        return id_of(self.name)

    @property
    def dimensions(self) -> tuple[int, int]:
        """(width, height) of level 0 in pixels."""
        return self.image.level_dimensions[0]

    @property
    def level_dimensions(self) -> tuple[tuple[int, int], ...]:
        """(width, height) of each level in pixels."""
        return self.image.level_dimensions

    def level_size(self, level: int) -> tuple[int, int]:
        """Return (width, height) of a level in pixels.

        Raises:
            WindowError: There is no such level.
        """
        if not 0 <= level < len(self.level_dimensions):
            text = f"there is no level {level}; it has levels 0 to {len(self.level_dimensions) - 1}"
            raise WindowError(f"{self.name}: {text}")
        return self.level_dimensions[level]

    @property
    def level_downsamples(self) -> tuple[float, ...]:
        """Level-0 pixels per pixel of each level."""
        return self.image.level_downsamples

    @property
    def mpp(self) -> tuple[float, float] | None:
        """Micrometres per pixel at level 0, (x, y); None where neither the file nor `mpp=` states it."""
        return self.image.mpp if self._mpp is None else self._mpp

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the image's pixels."""
        return self._image.dtype

    @property
    def channels(self) -> int:
        """Number of the image's channels."""
        return self._image.channels

    @property
    def channel_names(self) -> tuple[str, ...] | None:
        """Names of the image's channels; None where the file does not store them."""
        return self._image.channel_names

    def __repr__(self) -> str:
        width, height = self.dimensions
        mask = "no mask" if self.mask is None else "mask"
        return f"Slide({self.name!r}, {width} x {height} px, {len(self.level_dimensions)} levels, {mask})"

    def __getstate__(self) -> dict[str, Any]:
        # Workers share the label indexes; any other copy of the slide makes them anew, so that it pickles small.
        return self.__dict__ if is_starting_process() else {**self.__dict__, "_label_indexes": {}}

    def without_mask(self) -> Slide:
        """Return the same image alone."""
        alone = Slide(self.image, name=self.name, path=self.path, mpp=self._mpp)
        alone.region, alone.frame = self.region, self.frame
        return alone

    def bounds(self, level: int) -> Bounds:
        """Return left, top, right and bottom of what plans read on a level: the pixels that lie in the frame whole."""
        width, height = self.level_size(level)
        return (0, 0, width, height) if self.frame is None else bounds_on(self.frame, self.dimensions, (width, height))

    def read(self, window: Window, size: Size | None = None) -> Patch:
        """Read image and mask of one window.

        Args:
            window: The window, in pixels of its level.
            size: Side of the patch in pixels, or (height, width), to resample the window to; default: the window's.

        Returns:
            The image, (height, width, channels) of the file's dtype, and the mask, integers (height, width) or None.
            Labels of invalid pixels (transparent, nodata, masked out, not stored or not scanned) are `ignore_index`.

        Raises:
            WindowError: The window leaves the slide.
            FrameError, LabelError: A raster returned pixels of a wrong format; or a pixel is invalid, and the slide has
                a mask and no ignore_index.
            ReadError, MissingError: A file cannot be read there; the last line of the text names the place.
        """
        patch, valid = self._read(window)
        if size is None or size == (window.height, window.width):
            return patch
        return resize_patch(patch, size, valid)

    def _read(self, window: Window) -> tuple[Patch, Array | None]:
        """Read a window, and whether each of its pixels is valid; None where all are."""
        try:
            image, valid = self._image.read_valid(window)
            mask = None if self._mask is None else self._read_labels(self._mask, window)
        except (ReadError, MissingError, MemoryError) as error:
            at = f"x={window.x} y={window.y} {window.width} x {window.height}"
            if isinstance(error, MemoryError):
                error = ReadError(f"no memory for {window.width} x {window.height} px; {MORE_MEMORY}")
            raise placed(error, f"slide {self.name}, level {window.level}, window {at}") from error
        if valid is not None:
            image = finite_where_invalid(image, valid)
            if mask is not None:
                mask = ignore_invalid(mask, valid, self.ignore_index, self.name, window)
        return Patch(image, mask), valid

    def _read_labels(self, mask: AlignedMask, window: Window) -> Array:
        """Read class numbers; those of a level that no index has verified are verified here."""
        numbers = mask.read(window)
        if not self.has_index("mask", window.level):
            mask.classes.require_known(numbers, window)
        return numbers

    def read_valid(self, window: Window) -> Array:
        """Return whether each pixel of a window is valid, bool (height, width); raises as `read` does."""
        require_inside(self.name, self.level_dimensions, window)
        valid = None if all_valid(self.image) else self._image.read_validity(window)
        return np.ones((window.height, window.width), bool) if valid is None else valid

    def read_around(self, window: Window, halo: tuple[int, int], size: Size) -> Patch:
        """Read a window and a halo around it; pixels beyond `bounds` are mirrored, their labels `ignore_index`.

        Args:
            window: The window, in pixels of its level.
            halo: Pixels (y, x) of the level on each side.
            size: Side of the patch with its halo in pixels, or (height, width); see `read`.

        Raises:
            FrameError: The halo leaves the bounds, and the slide has a mask and no ignore_index.
            ReadError: A file cannot be read there.
        """
        return read_around(self._read, self.bounds(window.level), window, halo, size, self.name, self.ignore_index)

    @property
    def remote(self) -> bool:
        """Whether image or mask are read from a URL."""
        rasters = [raster for one in self.members for raster in (one.image, one.mask) if raster is not None]
        return any(is_url(path_of(raster)) for raster in rasters)

    def read_ahead(self, window: Window, halo: tuple[int, int] = (0, 0)) -> None:
        """Start to fetch a window that will be read soon from a store, and return at once; local files need none.

        Args:
            window: The window, in pixels of its level.
            halo: Pixels (y, x) of the level that will be read around it.
        """
        left, top, right, bottom = self.bounds(window.level)
        x, y = max(window.x - halo[1], left), max(window.y - halo[0], top)
        width, height = min(window.right + halo[1], right) - x, min(window.bottom + halo[0], bottom) - y
        for member in self.members:
            read_ahead(member.image, Window(x, y, width, height, window.level))
            if member._mask is not None:
                member._mask.read_ahead(Window(x, y, width, height, window.level))

    def read_mask(self, window: Window) -> Array:
        """Read the class numbers of a window, by the nearest pixel where the mask has another grid.

        Returns:
            Integers (height, width).

        Raises:
            FrameError: The slide has no mask.
            WindowError: The window leaves the slide.
            LabelError: The mask holds no integers.
        """
        valid = self.read_valid(window)
        return ignore_invalid(self._require_mask().read(window), valid, self.ignore_index, self.name, window)

    def _require_mask(self) -> AlignedMask:
        if self._mask is None:
            raise FrameError(f"{self.name}: it has no mask to read")
        return self._mask

    def class_number(self, code: int | str) -> int:
        """Return the mask's integer for a class given by number or name.

        Raises:
            OptionError: There is no such class.
        """
        return class_number(self.name, self.codes, code)
