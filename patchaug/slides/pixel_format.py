"""Pixel formats that `Slide` accepts: one check for the rasters of this package and for those of users.

`Slide` reads every raster through a `CheckedRaster`, so a reader that returns other pixels than it should is an error
at its first window. Types of images are those of `patchaug.readers.formats`; any number of channels is read.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from patchaug.core.arrays import Array
from patchaug.core.windows import Window
from patchaug.errors import FrameError, LabelError
from patchaug.readers import Raster
from patchaug.readers.formats import FORMATS, dtype_error
from patchaug.readers.hooks import channel_count, channel_names, dtype_of, read_valid, read_validity


class CheckedRaster:
    """Read windows of a raster, and check the format of the pixels that it returns.

    The first window fixes dtype and channels; each later window must have the same.

    Args:
        raster: The raster.
        role: "image" for colours, "mask" for class numbers.
        slide: Name of the slide, for errors.

    Raises:
        FrameError: The raster has no levels, or a level has no size in whole pixels.
    """

    def __init__(self, raster: Raster, role: Literal["image", "mask"], slide: str) -> None:
        self.raster, self.role, self.slide = raster, role, slide
        self._dtype: np.dtype[Any] | None = None
        self._channels: tuple[int, ...] = ()
        self._require_levels()

    def read(self, window: Window) -> Array:
        """Read a window.

        Args:
            window: The window, in pixels of its level.

        Returns:
            Image: (height, width, channels), of the file's dtype. Mask: integers (height, width).

        Raises:
            FrameError: The pixels have another shape, dtype or number of channels than an image must have, or than
                the first window had.
            LabelError: The pixels of a mask are no integers.
            WindowError, ReadError, MissingError: As the raster raises them.
        """
        return self._checked(self.raster.read(window), window)

    def read_valid(self, window: Window) -> tuple[Array, Array | None]:
        """Read a window, and whether each of its pixels is valid, bool (height, width); None where all are.

        Raises:
            FrameError: See `read`; or validity has another shape or type.
        """
        pixels, valid = read_valid(self.raster, window)
        return self._checked(pixels, window), None if valid is None else self._checked_valid(valid, window)

    def read_validity(self, window: Window) -> Array | None:
        """Return whether each pixel of a window is valid, see `read_valid`."""
        valid = read_validity(self.raster, window)
        return None if valid is None else self._checked_valid(valid, window)

    def _checked_valid(self, valid: Array, window: Window) -> Array:
        size = (window.height, window.width)
        if valid.shape != size or valid.dtype != bool:
            text = f"validity {valid.dtype} {valid.shape}"
            raise FrameError(self._text(window, text, f"Raster.read_valid must return bool {size}, or None"))
        return valid

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the pixels."""
        return dtype_of(self.raster) if self._dtype is None else self._dtype

    @property
    def channels(self) -> int:
        """Number of channels."""
        return channel_count(self.raster) if self._dtype is None else self._channels[0]

    @property
    def channel_names(self) -> tuple[str, ...] | None:
        """Names of the channels; None where there are none."""
        return channel_names(self.raster)

    def _checked(self, pixels: Array, window: Window) -> Array:
        if self._dtype is not None and type(pixels) is np.ndarray and pixels.dtype == self._dtype:
            size = (window.height, window.width)
            if pixels.shape == (*size, *self._channels):
                return pixels
            if pixels.shape == size and self._channels == (1,):
                return pixels[..., None]
        return self._normalized(pixels, window)

    def _normalized(self, pixels: object, window: Window) -> Array:
        """Return the pixels as an array of the role's axes; the first window comes this way."""
        expected = f"({window.height}, {window.width}"
        if not isinstance(pixels, np.ndarray):
            kind = f"{type(pixels).__module__}.{type(pixels).__name__}"
            raise FrameError(self._text(window, kind, "Raster.read must return a numpy array"))
        if pixels.ndim not in (2, 3) or pixels.shape[:2] != (window.height, window.width):
            hint = "; put the channels last: pixels.transpose(1, 2, 0)"
            channels_first = pixels.ndim == 3 and pixels.shape[1:] == (window.height, window.width)
            raise FrameError(
                self._text(
                    window, f"shape {pixels.shape}",
                    f"a window must be {expected}, channels) or {expected}){hint if channels_first else ''}",
                )
            )  # fmt: skip
        array: Array = np.asarray(pixels)
        array = self._image(array, window) if self.role == "image" else self._mask(array, window)
        if self._dtype is None:
            self._channels, self._dtype = array.shape[2:], array.dtype
        elif (array.dtype, array.shape[2:]) != (self._dtype, self._channels):
            before = f"{self._dtype} with {self._channels[0]} channels" if self._channels else str(self._dtype)
            after = f"{array.dtype} with {array.shape[2]} channels" if self._channels else str(array.dtype)
            raise FrameError(self._text(window, after, f"its first window was {before}; return one format everywhere"))
        return array

    def _image(self, pixels: Array, window: Window) -> Array:
        if pixels.dtype not in FORMATS:
            raise FrameError(
                self._text(window, f"{pixels.dtype} pixels", f"{dtype_error(pixels.dtype)} in Raster.read")
            )
        if pixels.ndim == 3 and not pixels.shape[2]:
            raise FrameError(
                self._text(window, "0 channels", "an image must have at least one; add one in Raster.read")
            )
        return pixels[..., None] if pixels.ndim == 2 else pixels

    def _mask(self, pixels: Array, window: Window) -> Array:
        if pixels.ndim != 2:
            cure = "pixels[..., 0]" if pixels.shape[2] == 1 else "class numbers rather than colours"
            expected = f"a mask must be ({window.height}, {window.width}); return {cure} from Raster.read"
            raise FrameError(self._text(window, f"shape {pixels.shape}", expected))
        if pixels.dtype == bool:
            return pixels.view(np.uint8)
        if pixels.dtype.kind == "f":
            return self._whole(pixels, window)
        if pixels.dtype.kind not in "ui":
            raise LabelError(
                self._text(
                    window, f"{pixels.dtype} pixels",
                    "a mask must hold integers, one class number per pixel; "
                    "return pixels.round().astype(numpy.uint8) from Raster.read where the numbers are whole",
                )
            )  # fmt: skip
        return pixels

    def _whole(self, pixels: Array, window: Window) -> Array:
        """Return floats that are whole numbers as integers."""
        values = pixels.astype(np.result_type(pixels, np.float64), copy=False)  # 2**53 is beyond float16
        wrong = ~(np.abs(values) < 2.0**53) | (np.rint(values) != values)  # true for NaN as well
        if wrong.any():
            y, x = np.unravel_index(int(np.argmax(wrong)), wrong.shape)
            at = f"x={window.x + int(x)} y={window.y + int(y)} ({int(wrong.sum())} px of the window)"
            cure = "pass whole numbers, such as (mask > 0.5).astype(numpy.uint8)"
            if np.isnan(pixels[y, x]):
                cure = "with ignore_index=255 pass numpy.nan_to_num(mask, nan=255).astype(numpy.uint8)"
            text = f"{self.slide}: the mask {self.raster.name!r} holds {pixels[y, x]} at {at}"
            raise LabelError(f"{text}, no class number; {cure}")
        return np.asarray(pixels, np.int64)

    def _text(self, window: Window, value: str, limit: str) -> str:
        return (
            f"{self.slide}: the {self.role} raster {self.raster.name!r} returned {value} at level {window.level}, "
            f"x={window.x} y={window.y} {window.width} x {window.height}; {limit}"
        )

    def _require_levels(self) -> None:
        dimensions = self.raster.level_dimensions
        start = f"{self.slide}: the {self.role} raster {self.raster.name!r} has level_dimensions {dimensions!r}"
        cure = "level_dimensions must be one (width, height) per level, in whole pixels of at least 1, finest first"
        try:
            whole = all(
                len(size) == 2 and all(isinstance(side, (int, np.integer)) and side >= 1 for side in size)
                for size in dimensions
            )
        except TypeError:
            whole = False
        if not whole or not len(dimensions):
            raise FrameError(f"{start}; {cure}")
        downsamples = self.raster.level_downsamples
        if len(downsamples) != len(dimensions):
            raise FrameError(f"{start} and level_downsamples {downsamples!r}; both must have one entry per level")
