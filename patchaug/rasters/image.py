"""Formats without random access (PNG, JPEG, BMP, stripped TIFF): decoded whole, once per process."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import numpy as np

from patchaug.errors import ReadError
from patchaug.geometry import Window
from patchaug.rasters.base import Array, Sizes, require_inside
from patchaug.rasters.file import FileRaster, UnsuitedError, one_line
from patchaug.rasters.tiff import TiffRaster
from patchaug.rasters.tiffheader import is_tiff

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

_BAND = 4 << 20  # pixels converted at a time
_MASK_MODES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2, "I": 4}  # bytes per pixel
_SCALED = {1: 1, 2: 85, 4: 17}  # Pillow spreads grey of so many bits over 0 to 255

_lock = threading.Lock()  # one picture is decoded at a time, so that the peak is one picture's


def _new_lock() -> None:
    global _lock
    _lock = threading.Lock()  # another thread of the parent may have held the old one


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_new_lock)


class ImageRaster(FileRaster):
    """A picture file that can only be decoded as a whole, with one level.

    Args:
        path: The file. Its header is read at the first use, its pixels at the first read.
        mask: Keep the integers as stored: indices of a palette, grey values, 0 and 1 of 1-bit files.
        ram: Budget in bytes that the decoded pixels must fit into.
        name: What window errors call it; the file's name by default.

    Images are uint8, (height, width) for grey and (height, width, 3) for colour; transparency is laid on white.
    """

    _lazy = ("_known", "_pixels")

    def __init__(self, path: str | os.PathLike[str], *, mask: bool, ram: int, name: str | None = None) -> None:
        super().__init__(path, name=name)
        self.mask = mask
        self.ram = ram
        self._known: tuple[Sizes, int, tuple[float, float] | None] | None = None
        self._pixels: Array | None = None

    @property
    def _facts(self) -> tuple[Sizes, int, tuple[float, float] | None]:
        """Dimensions, bytes per decoded pixel, mpp; from the header alone."""
        if self._known is None:
            self._same_file()
            tiff = self._strips()
            if tiff is not None:
                header = tiff.header
                self._known = (header.dimensions[:1], header.samples * header.dtype.itemsize, header.mpp)
            else:
                with self._picture() as picture:
                    size = _MASK_MODES[picture.mode] if self.mask else 1 if picture.mode == "L" else 3
                    self._known = (picture.size,), size, None
        return self._known

    @property
    def level_dimensions(self) -> Sizes:
        """((width, height),) in pixels."""
        return self._facts[0]

    @property
    def level_downsamples(self) -> tuple[float, ...]:
        """Always (1.0,)."""
        return (1.0,)

    @property
    def mpp(self) -> tuple[float, float] | None:
        """Micrometres per pixel as (x, y), where a TIFF says so."""
        return self._facts[2]

    def require_fits(self) -> None:
        """Check from the header that the decoded pixels fit into the budget.

        Raises:
            ReadError: They do not, or the file is none that this class reads.
        """
        ((width, height),), size, _ = self._facts
        if width * height * size > self.ram:
            kind = "deflate" if self.mask else "jpeg"
            raise ReadError(
                f"{self.path}: {width} x {height} px x {size} bytes = {width * height * size:,} bytes must be decoded "
                f"whole, and the budget is ram={self.ram:,}; raise ram=, or convert to a tiled TIFF (vips tiffsave "
                f"in.png out.tiff --tile --pyramid --compression {kind}), or pass an array"
            )

    def read(self, window: Window) -> Array:
        """The window's pixels.

        Raises:
            WindowError: The window leaves the picture.
            ReadError: The picture does not fit into the budget, cannot be decoded, or has changed.
        """
        require_inside(self.name, self.level_dimensions, window)
        pixels = self._pixels
        if pixels is None:
            with _lock:
                if self._pixels is None:
                    self.require_fits()
                    self._pixels = self._decoded()
                pixels = self._pixels
        return pixels[window.y : window.bottom, window.x : window.right].copy()

    def _decoded(self) -> Array:
        ((width, height),), _, _ = self._facts
        tiff = self._strips()
        if tiff is not None:
            return tiff.read(Window(0, 0, width, height))
        self._same_file()
        with self._picture() as picture:
            try:
                return self._converted(picture)
            except ReadError:
                raise
            except Exception as error:  # Pillow's decoders raise many kinds
                raise ReadError(f"{self.path}: cannot be decoded ({one_line(error)}); copy the file again") from error

    def _strips(self) -> TiffRaster | None:
        """The file as TIFF in strips, unless it is another format, or a TIFF that only Pillow reads."""
        with open(self.path, "rb") as file:
            if not is_tiff(file.read(4)):
                return None
        tiff = TiffRaster(self.path, mask=self.mask, name=self.name)
        tiff._fingerprint = self._fingerprint
        try:
            tiff.header  # noqa: B018 - reads it
        except UnsuitedError:
            if self.mask:
                raise
            return None
        return tiff

    def _picture(self) -> ImageFile:
        """The opened file, nothing decoded yet."""
        from PIL import BmpImagePlugin, JpegImagePlugin, PngImagePlugin, TiffImagePlugin

        with open(self.path, "rb") as file:
            head = file.read(26)
        # The classes themselves, and not Image.open, whose limit on pixels is a setting of the whole program.
        opener: type[ImageFile]
        if head.startswith(b"\x89PNG\r\n\x1a\n"):
            opener = PngImagePlugin.PngImageFile
        elif head.startswith(b"\xff\xd8\xff"):
            opener = JpegImagePlugin.JpegImageFile
        elif head.startswith(b"BM"):
            opener = BmpImagePlugin.BmpImageFile
        elif is_tiff(head):
            opener = TiffImagePlugin.TiffImageFile
        else:
            raise UnsuitedError(f"{self.path}: neither PNG, JPEG, BMP nor TIFF")
        if self.mask and opener is JpegImagePlugin.JpegImageFile:
            raise ReadError(f"{self.path}: JPEG alters class numbers; save the mask as PNG or as TIFF with deflate")
        try:
            picture = opener(self.path)
        except Exception as error:
            raise UnsuitedError(
                f"{self.path}: Pillow cannot open it ({one_line(error)}); copy the file again"
            ) from error
        allowed = tuple(_MASK_MODES) if self.mask else ("L", "LA", "P", "PA", "RGB", "RGBA")
        deep = head.startswith(b"\x89PNG") and head[24] > 8 and not self.mask  # Pillow would drop the lower 8 bits
        if picture.mode not in allowed or deep:
            picture.close()
            mode = f"16-bit {picture.mode}" if deep else picture.mode
            wanted = "a mask holds one integer a pixel; save class numbers"
            if not self.mask:
                wanted = "an image is 8-bit grey or RGB; convert it"
            raise ReadError(f"{self.path}: pixels are {mode}, {wanted}")
        return picture

    def _converted(self, picture: ImageFile) -> Array:
        """All pixels, converted in bands of rows, because Pillow's own copy takes up to 4 bytes a pixel already."""
        from PIL import Image

        width, height = picture.size
        see_through = not self.mask and (picture.mode in ("LA", "PA", "RGBA") or "transparency" in picture.info)
        divisor = _grey_divisor(self.path) if self.mask else 1
        picture.load()
        out: Array | None = None
        rows = max(1, _BAND // width)
        for top in range(0, height, rows):
            band = picture.crop((0, top, width, min(top + rows, height)))
            if see_through:
                band = band.convert("RGBA")
                band = Image.alpha_composite(Image.new("RGBA", band.size, "white"), band).convert("RGB")
            elif not self.mask and band.mode != "L":
                band = band.convert("RGB")
            pixels = np.asarray(band)
            pixels = pixels.astype(np.uint8) if pixels.dtype == bool else pixels
            if out is None:
                out = np.empty((height, *pixels.shape[1:]), pixels.dtype.newbyteorder("="))
            out[top : top + rows] = pixels // divisor if divisor > 1 else pixels
        assert out is not None
        return out


def _grey_divisor(path: str) -> int:
    """What Pillow multiplied the grey values of a PNG of 2 or 4 bits with; 1 for all others."""
    with open(path, "rb") as file:
        head = file.read(26)
    grey_png = head.startswith(b"\x89PNG") and head[25] == 0
    return _SCALED.get(head[24], 1) if grey_png else 1
