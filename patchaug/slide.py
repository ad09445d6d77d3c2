"""A slide: one image and its mask, in one frame. The only place that reads both, so that they cannot part.

Coordinate planes: a window counts pixels of its own level of the *image*. The mask may have other levels, or another
resolution: each of the window's pixels asks for the mask pixel under its centre, in exact integer arithmetic from
level 0 (`_mask_index`), so nothing drifts where a downsample is 16.0056.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from fractions import Fraction
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from patchaug.errors import FrameError, LabelError, OptionError, ReadError, WindowError
from patchaug.foreground import Labels
from patchaug.geometry import Window
from patchaug.ram import budget
from patchaug.rasters import Raster, open_raster
from patchaug.rasters.base import require_inside

Array = np.ndarray[Any, np.dtype[Any]]
Source = str | os.PathLike[str] | Array | Raster

_BAND_PIXELS = 2**25  # rows of a mask that are indexed at a time: 32 Mpx


class Patch(NamedTuple):
    """The pixels of one window.

    Attributes:
        image: uint8, (height, width, channels).
        mask: Class numbers, integer, (height, width); None for a slide without mask.
    """

    image: Array
    mask: Array | None


def open_slide(
    image: Source,
    mask: Source | None = None,
    *,
    name: str | None = None,
    codes: Sequence[str] | None = None,
    void: int | None = None,
    ram: int | str = "auto",
) -> Slide:
    """Open a slide; reads headers only.

    Args:
        image: Path, array (height, width) or (height, width, channels) of uint8, or a `Raster`.
        mask: The same, with one integer per pixel; of the image's size, or coarser by a whole factor.
        name: What the slide is called in errors; its windows are drawn by this name. Default: the file's name.
        codes: Class names, in the order of the mask's integers. With codes, any other number is an error.
        void: Integer of the mask that means "no label"; it need not be among the codes.
        ram: Budget for decoded pixels kept in memory, in bytes or as "8GB"; "auto" is half of what is free, 0 none.
            Needed by formats without random access (PNG, JPEG, stripped TIFF), which are decoded once.

    Raises:
        MissingError: There is no such file.
        ReadError: A file is no picture, or cannot be read.
        FrameError: Image and mask do not show the same frame.
        OptionError: An argument is of a wrong type or out of its limits.
    """
    room = budget(ram)
    path = os.fspath(image) if isinstance(image, (str, os.PathLike)) else None
    if name is None:
        name = Path(path).name if path is not None else "array"
    opened = open_raster(image, ram=room)
    labels = None if mask is None else open_raster(mask, mask=True, ram=room)
    return Slide(opened, labels, name=name, codes=codes, void=void, path=path)


class Slide:
    """An image and its mask in one frame; see `open_slide`.

    Attributes:
        name: What errors call the slide, and what its windows are drawn by.
        path: Path of the image as given, None for arrays.
        image, mask: The rasters; mask is None for a slide without labels.
        codes: Class names in the order of the mask's integers, or None.
        void: Integer that means "no label", or None.
    """

    def __init__(
        self,
        image: Raster,
        mask: Raster | None = None,
        *,
        name: str,
        codes: Sequence[str] | None = None,
        void: int | None = None,
        path: str | None = None,
    ) -> None:
        if isinstance(codes, str):
            raise OptionError(f"codes must be a list of class names, got the text {codes!r}")
        self.name, self.path = name, path
        self.image, self.mask = image, mask
        self.codes = None if codes is None else tuple(str(code) for code in codes)
        self.void = void
        self._labels: dict[int, Labels] = {}
        self._mask_scale = None if mask is None else _mask_scale(name, image, mask)

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
        """Micrometres per pixel at level 0, (x, y); None where the file does not say."""
        return self.image.mpp

    def __repr__(self) -> str:
        width, height = self.dimensions
        mask = "no mask" if self.mask is None else "mask"
        return f"Slide({self.name!r}, {width} x {height} px, {len(self.level_dimensions)} levels, {mask})"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_labels": {}}  # found again where they are needed: a slide pickles small

    def read(self, window: Window) -> Patch:
        """Image and mask of one window.

        Raises:
            WindowError: The window leaves the slide.
            ReadError: A file cannot be read there.
        """
        try:
            image = self.image.read(window)
            mask = None if self.mask is None else self.read_mask(window)
        except ReadError as error:
            raise ReadError(
                f"{error}; slide {self.name}, level {window.level}, window x={window.x} y={window.y} "
                f"{window.width} x {window.height}"
            ) from error
        return Patch(image[..., None] if image.ndim == 2 else image, mask)

    def read_mask(self, window: Window) -> Array:
        """The window's class numbers, integer, (height, width); nearest pixel where the mask has another grid."""
        if self.mask is None or self._mask_scale is None:
            raise FrameError(f"{self.name}: it has no mask to read")
        require_inside(self.name, self.level_dimensions, window)
        level, columns, rows = self._mask_index(window)
        x, y = int(columns[0]), int(rows[0])
        part = self.mask.read(Window(x, y, int(columns[-1]) - x + 1, int(rows[-1]) - y + 1, level))
        if part.shape == (window.height, window.width):
            return part  # one mask pixel per image pixel
        return np.asarray(part[np.ix_(rows - y, columns - x)])

    def _mask_index(self, window: Window) -> tuple[int, Array, Array]:
        """Level, columns and rows of the mask pixels under the centres of the window's pixels."""
        assert self.mask is not None
        assert self._mask_scale is not None
        here = self.level_dimensions[window.level]
        if here in self.mask.level_dimensions:
            level = self.mask.level_dimensions.index(here)
            return level, np.arange(window.x, window.right), np.arange(window.y, window.bottom)
        # The coarsest mask level that still has a pixel for each of the window's: nearest needs no finer one.
        sizes = self.mask.level_dimensions
        level = max((k for k, size in enumerate(sizes) if size[0] >= here[0] and size[1] >= here[1]), default=0)
        index = []
        for axis, (start, stop) in enumerate(((window.x, window.right), (window.y, window.bottom))):
            l0_length, length = self.dimensions[axis], sizes[level][axis]
            # Level-0 pixels per mask pixel at this level; exact for the whole factor of level 0, else by the sizes.
            per = self._mask_scale if level == 0 else Fraction(l0_length, length)
            at = 2 * np.arange(start, stop, dtype=np.int64) + 1  # twice the pixels' centres
            l0_from_l = Fraction(l0_length, here[axis])
            ratio = l0_from_l / per / 2
            index.append(np.minimum(at * ratio.numerator // ratio.denominator, length - 1))
        return level, index[0], index[1]

    def labels(self, level: int = 0) -> Labels:
        """Where the labels of a level are; reads the whole mask once, and checks it against the codes.

        Raises:
            WindowError: There is no such level.
            LabelError: The mask holds a number that is neither a code nor the void.
        """
        if level not in self._labels:
            width, height = self.level_size(level)
            labels = Labels.from_bands(width, height, self._mask_bands(level))
            self._check(labels, level)
            self._labels[level] = labels
        return self._labels[level]

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

    def _mask_bands(self, level: int) -> Iterator[Array]:
        width, height = self.level_dimensions[level]
        _, columns, lines = self._mask_index(Window(0, 0, width, height, level))
        read = (int(columns[-1]) + 1) * (int(lines[-1]) + 1) // height  # mask pixels for a row of the level
        rows = max(_BAND_PIXELS // read, 1)
        if rows > 1024:  # a multiple of the usual tile heights, so that no tile is decoded for two bands
            rows -= rows % 1024
        for top in range(0, height, rows):
            yield self.read_mask(Window(0, top, width, min(rows, height - top), level))

    def _check(self, labels: Labels, level: int) -> None:
        if self.codes is None:
            return
        for value in labels.runs:
            if value != self.void and not 0 <= value < len(self.codes):
                x, y = labels.first(value)
                at = "" if level == 0 else f" of level {level}"
                raise LabelError(
                    f"{self.name}: the mask holds class {value} at x={x} y={y}{at} ({labels.runs[value].pixels} px), "
                    f"but codes name 0 to {len(self.codes) - 1} ({', '.join(self.codes)}); add the class to codes, "
                    f"or name it void"
                )


def id_of(name: str) -> int:
    """Hash of a slide's name, below 2^32; the same on every machine."""
    return int.from_bytes(blake2b(name.encode(), digest_size=4).digest(), "little")


def _mask_scale(name: str, image: Raster, mask: Raster) -> Fraction:
    """Level-0 pixels of the image per level-0 pixel of the mask; 1 where they are of one size."""
    (width, height), (mask_width, mask_height) = image.level_dimensions[0], mask.level_dimensions[0]
    if (width, height) == (mask_width, mask_height):
        return Fraction(1)
    if (mask_width, mask_height) in image.level_dimensions:
        return Fraction(width, mask_width)
    # A whole factor, the last mask pixel cut or kept: both are common among writers of pyramids.
    factor = round(width / mask_width)
    if factor >= 2 and all(
        side in (whole // factor, -(-whole // factor)) for side, whole in ((mask_width, width), (mask_height, height))
    ):
        return Fraction(factor)
    raise FrameError(
        f"{name}: the image has {width} x {height} px, its mask ({mask.name}) {mask_width} x {mask_height} px; "
        f"a mask must be of the image's size, of the size of one of its levels, or smaller by a whole factor"
    )
