"""A slide: one image and its mask, in one frame. The only place that reads both, so that they cannot part.

Coordinate planes: a window counts pixels of its own level of the *image*. The mask may have other levels, or another
resolution: each of the window's pixels asks for the mask pixel under its centre (`patchaug.slides.mask_alignment`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from patchaug.core.arrays import Array
from patchaug.core.memory.anonymous import is_starting_process
from patchaug.core.memory.budget import budget
from patchaug.core.resampling import nearest, resized
from patchaug.core.validation import Size, checked_positive, refuses_old_names, sides
from patchaug.core.windows import Window
from patchaug.errors import FrameError, LabelError, MissingError, OptionError, ReadError, WindowError, placed
from patchaug.readers import Raster, ZarrRaster, kept, open_mask, open_raster
from patchaug.readers.base import require_inside
from patchaug.slides.label_index import index_labels, read_at
from patchaug.slides.labels import Labels
from patchaug.slides.mask_alignment import Alignment

Source = str | os.PathLike[str] | Array | Raster


class Patch(NamedTuple):
    """The pixels of one window.

    Attributes:
        image: uint8, (height, width, channels).
        mask: Class numbers, integer, (height, width); None for a slide without mask.
    """

    image: Array
    mask: Array | None


@refuses_old_names
def open_slide(
    image: Source,
    mask: Source | Mapping[str, Any] | list[Any] | None = None,
    *,
    name: str | None = None,
    codes: Sequence[str] | None = None,
    ignore_index: int | None = None,
    ram: int | str = "auto",
    mpp: float | tuple[float, float] | None = None,
) -> Slide:
    """Open a slide; reads headers only.

    Args:
        image: Path (of a file, or of a zarr folder), uint8 array (height, width) or (height, width, channels), torch
            tensor, `zarr.Array` on the disk, or `Raster`.
        mask: The same, with one integer per pixel (of the image's size, or coarser by a whole factor); or polygons, as
            a GeoJSON or ASAP file or as parsed GeoJSON, see docs/polygons.md.
        name: What the slide is called in errors; its windows are drawn by this name. Default: the file's name.
        codes: Class names, in the order of the mask's integers. With codes, any other number is an error.
        ignore_index: Integer of the mask that means "no label"; it need not be among the codes.
        ram: Bytes of decoded pixels to keep, or "8GB"; "auto": half of what is free, 0: none. It is one memory for all
            slides and workers, see `patchaug.core.memory.budget.budget`. PNG, JPEG and stripped TIFF must fit in whole.
        mpp: Micrometres per pixel at level 0, or (x, y) of them, where the file does not say so or is wrong.

    Raises:
        MissingError, ReadError: A file is not there, is no picture, or cannot be read.
        FrameError: Image and mask do not show the same frame.
        OptionError: An argument is of a wrong type or out of its limits.
    """
    room = budget(ram, kept())
    path = os.fspath(image) if isinstance(image, (str, os.PathLike)) else None
    opened = open_raster(image, ram=room)
    if isinstance(opened, ZarrRaster) and opened is not image:  # an array of zarr knows its place, and "0" is no name
        path, name = path or opened.path, name or opened.name
    if name is None:
        name = Path(path).name if path is not None else "array"
    labels = None
    if mask is not None:
        labels = open_mask(mask, opened.level_dimensions, codes=codes, ignore_index=ignore_index, ram=room)
    return Slide(opened, labels, name=name, codes=codes, ignore_index=ignore_index, path=path, mpp=mpp)


class Slide:
    """An image and its mask in one frame; see `open_slide`.

    Attributes:
        name: What errors call the slide, and what its windows are drawn by.
        path: Path of the image as given, None for arrays.
        image, mask: The rasters; mask is None for a slide without labels.
        codes: Class names in the order of the mask's integers, or None.
        ignore_index: Integer that means "no label", or None.
        kept: Where labels are, by what they are and level. Workers share it; any other copy finds it again.
    """

    @refuses_old_names
    def __init__(
        self,
        image: Raster,
        mask: Raster | None = None,
        *,
        name: str,
        codes: Sequence[str] | None = None,
        ignore_index: int | None = None,
        path: str | None = None,
        mpp: float | tuple[float, float] | None = None,
    ) -> None:
        if isinstance(codes, str):
            raise OptionError(f"codes must be a list of class names, got the text {codes!r}")
        self.name, self.path = name, path
        self.image, self.mask = image, mask
        self.codes = None if codes is None else tuple(str(code) for code in codes)
        self.ignore_index = ignore_index
        self._mpp = None if mpp is None else _both(mpp)
        self.kept: dict[tuple[str, int], Labels] = {}
        self._alignment = (
            None if mask is None else Alignment.of(name, image.level_dimensions, mask.level_dimensions, mask.name)
        )

    @property
    def id(self) -> int:
        """A number below 2^32 that follows from the name alone: the slide's word in the key of its samples."""
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
        """(width, height) of a level in pixels.

        Raises:
            WindowError: There is no such level.
        """
        if not 0 <= level < len(self.level_dimensions):
            raise WindowError(
                f"{self.name}: there is no level {level}; it has levels 0 to {len(self.level_dimensions) - 1}"
            )
        return self.level_dimensions[level]

    @property
    def level_downsamples(self) -> tuple[float, ...]:
        """Level-0 pixels per pixel of each level."""
        return self.image.level_downsamples

    @property
    def mpp(self) -> tuple[float, float] | None:
        """Micrometres per pixel at level 0, (x, y); None where neither the file nor the user says."""
        return self.image.mpp if self._mpp is None else self._mpp

    def __repr__(self) -> str:
        width, height = self.dimensions
        mask = "no mask" if self.mask is None else "mask"
        return f"Slide({self.name!r}, {width} x {height} px, {len(self.level_dimensions)} levels, {mask})"

    def __getstate__(self) -> dict[str, Any]:
        # Workers share the index; elsewhere it is found again where it is needed, so a slide pickles small.
        return self.__dict__ if is_starting_process() else {**self.__dict__, "kept": {}}

    def without_mask(self) -> Slide:
        """The same image alone."""
        return Slide(self.image, name=self.name, path=self.path, mpp=self._mpp)

    def read(self, window: Window, size: Size | None = None) -> Patch:
        """Image and mask of one window.

        Args:
            window: The window, in pixels of its level.
            size: Side of the patch, or (height, width), where it is to be smaller than the window: the image is then
                resampled by its area mean, and the mask by the nearest pixel.

        Raises:
            WindowError: The window leaves the slide.
            ReadError, MissingError: A file cannot be read there; the last line of the text says where.
        """
        try:
            image = self.image.read(window)
            mask = None if self.mask is None else self.read_mask(window)
        except (ReadError, MissingError) as error:
            at = f"x={window.x} y={window.y} {window.width} x {window.height}"
            raise placed(error, f"slide {self.name}, level {window.level}, window {at}") from error
        image = image[..., None] if image.ndim == 2 else image
        return self._sized(Patch(image, mask), size)

    @staticmethod
    def _sized(patch: Patch, size: Size | None) -> Patch:
        if size is None:
            return patch
        height, width = sides(size)
        image, mask = patch
        return Patch(resized(image, height, width), None if mask is None else nearest(mask, height, width))

    def read_around(self, window: Window, halo: tuple[int, int], size: Size) -> Patch:
        """Read a window and a halo around it; pixels beyond the slide are mirrored, their labels `ignore_index`.

        Args:
            window: The window, in pixels of its level.
            halo: Pixels (y, x) of the level on each side.
            size: Side of the patch with its halo, or (height, width); see `read`.

        Raises:
            FrameError: The halo leaves the slide, which has a mask and no ignore_index.
            ReadError: A file cannot be read there.
        """
        length_x, length_y = self.level_size(window.level)
        left, right = min(window.x, halo[1]), min(length_x - window.right, halo[1])
        above, below = min(window.y, halo[0]), min(length_y - window.bottom, halo[0])
        inside = Window(
            window.x - left, window.y - above, window.width + left + right, window.height + above + below, window.level
        )
        if (left, right, above, below) == (halo[1], halo[1], halo[0], halo[0]):
            return self.read(inside, size)
        image, mask = self.read(inside)
        beyond = (halo[0] - above, halo[0] - below), (halo[1] - left, halo[1] - right)
        image = np.pad(image, (*beyond, (0, 0)), mode="reflect")
        if mask is not None:
            if self.ignore_index is None:
                raise FrameError(
                    f"{self.name}: a halo leaves the slide, and mirrored pixels need an ignore_index for their labels: "
                    f"open_slide(..., ignore_index=255)"
                )
            if self.ignore_index > np.iinfo(mask.dtype).max:
                mask = mask.astype(np.min_scalar_type(self.ignore_index))
            mask = np.pad(mask, beyond, constant_values=self.ignore_index)
        return self._sized(Patch(image, mask), size)

    def read_mask(self, window: Window) -> Array:
        """The window's class numbers, integer, (height, width); nearest pixel where the mask has another grid."""
        if self.mask is None or self._alignment is None:
            raise FrameError(f"{self.name}: it has no mask to read")
        require_inside(self.name, self.level_dimensions, window)
        columns = self._alignment.under(window.level, 0, window.x, window.right)
        rows = self._alignment.under(window.level, 1, window.y, window.bottom)
        return read_at(self.mask, columns, rows, self._alignment.mask_level(window.level))

    def labels(self, level: int = 0) -> Labels:
        """Where the labels of a level are; reads the whole mask once, and checks it against the codes.

        Raises:
            FrameError: There is no mask.
            WindowError: There is no such level.
            LabelError: The mask holds a number that is neither a code nor `ignore_index`.
        """
        if ("mask", level) not in self.kept:
            if self.mask is None or self._alignment is None:
                raise FrameError(f"{self.name}: it has no mask to index")
            self.level_size(level)
            labels = index_labels(self.name, self.mask, self._alignment, level)
            self._check(labels, level)
            self.kept["mask", level] = labels
        return self.kept["mask", level]

    def number_of(self, code: int | str) -> int:
        """The mask's integer for a class given by number or name.

        Raises:
            OptionError: There is no such class.
        """
        if not isinstance(code, str):
            return int(code)
        if self.codes is None or code not in self.codes:
            known = "the slide has no codes" if self.codes is None else f"codes are {', '.join(self.codes)}"
            raise OptionError(f"{self.name}: there is no class {code!r}; {known}")
        return self.codes.index(code)

    def _check(self, labels: Labels, level: int) -> None:
        if self.codes is None:
            return
        for value in labels.runs:
            if value != self.ignore_index and not 0 <= value < len(self.codes):
                x, y = labels.first(value)
                at = "" if level == 0 else f" of level {level}"
                # How image editors save a mask of two classes.
                editor = "; a mask of 0 and 255 must be divided by 255" if set(labels.runs) <= {0, 255} else ""
                raise LabelError(
                    f"{self.name}: the mask holds class {value} at x={x} y={y}{at} ({labels.pixels(value)} px), "
                    f"but codes name 0 to {len(self.codes) - 1} ({', '.join(self.codes)}); add the class to codes, "
                    f"or name it ignore_index{editor}"
                )


def _both(mpp: float | tuple[float, float]) -> tuple[float, float]:
    x, y = mpp if isinstance(mpp, (tuple, list)) else (mpp, mpp)
    unit = "micrometres per pixel"
    return checked_positive("mpp", x, unit), checked_positive("mpp", y, unit)


def id_of(name: str) -> int:
    """Hash of a slide's name, below 2^32; the same on every machine."""
    return int.from_bytes(blake2b(name.encode(), digest_size=4).digest(), "little")
