"""Formats without random access (PNG, JPEG, BMP, stripped TIFF): decoded whole, once for all processes."""

from __future__ import annotations

import mmap
import os
import zlib
from typing import TYPE_CHECKING

import numpy as np

from patchaug.core.arrays import Array
from patchaug.core.memory.anonymous import LostDescriptorError
from patchaug.core.memory.arena import UNIT
from patchaug.core.memory.tile_cache import TileCache
from patchaug.core.windows import Window
from patchaug.errors import ReadError
from patchaug.readers.codecs.image_headers import grey_divisor, require_whole_png
from patchaug.readers.file import UnsupportedError, describe
from patchaug.readers.georeference import Georeference
from patchaug.readers.hooks import BLOCK
from patchaug.readers.tiff.header import is_tiff
from patchaug.readers.tiff.reader import TiffRaster
from patchaug.readers.tiled import Layout, TiledRaster, TileGrid

if TYPE_CHECKING:
    from PIL.Image import Transpose
    from PIL.ImageFile import ImageFile

_BAND = 4 << 20  # pixels converted at a time
_MASK_MODES = {"1": "u1", "L": "u1", "P": "u1", "I;16": "u2", "I;16B": "u2", "I;16L": "u2", "I": "i4", "F": "f4"}
_EOI = b"\xff\xd9"  # how a JPEG ends


class ImageRaster(TiledRaster):
    """Image file of one level that can only be decoded as a whole.

    Args:
        path: The file. Its header is read at the first use, its pixels at the first read.
        mask: Keep the integers as stored: indices of a palette, grey values, 0 and 1 of 1-bit files.
        ram: Bytes that may be kept, see `TiledRaster`; the decoded pixels must fit in.
        name: Name in errors about windows; by default the file's name.

    Images are uint8, (height, width) for grey and (height, width, 3) for colour; transparency is laid on white. The
    EXIF orientation is applied.

    Example:
        >>> import numpy as np
        >>> from PIL import Image
        >>> from patchaug import Window
        >>> from patchaug.readers import ImageRaster
        >>> Image.fromarray(np.zeros((40, 60, 3), np.uint8)).save("a.png")
        >>> ImageRaster("a.png", mask=False, ram=1 << 30).read(Window(10, 20, 8, 4)).shape
        (4, 8, 3)
    """

    _lazy = (*TiledRaster._lazy, "_parsed")
    _needs_all = True

    def __init__(self, path: str | os.PathLike[str], *, mask: bool, ram: int, name: str | None = None) -> None:
        super().__init__(path, name=name, ram=ram)
        self.mask = mask
        self._parsed: tuple[Layout, tuple[float, float] | None] | None = None

    @property
    def _info(self) -> tuple[Layout, tuple[float, float] | None]:
        """Layout and mpp; from the header alone."""
        if self._parsed is None:
            self.require_unchanged()
            tiff = self._stripped_tiff()
            if tiff is not None:
                layout, mpp = tiff.layout, tiff.mpp
                ((width, height), *_), dtype, channels = tiff.level_dimensions, layout.dtype, layout.channels
            else:
                with self._open_image() as picture:
                    (width, height), mpp = _orientation(picture)[1], None
                    dtype = np.dtype(_MASK_MODES[picture.mode] if self.mask else np.uint8)
                    channels = () if self.mask or (picture.mode == "L" and not _has_transparency(picture)) else (3,)
            self._parsed = Layout((TileGrid(width, height, width, height),), dtype, channels), mpp
        return self._parsed

    def read_layout(self) -> Layout:
        """Return one tile that holds the whole image."""
        return self._info[0]

    @property
    def mpp(self) -> tuple[float, float] | None:
        """Micrometres per pixel as (x, y), where a TIFF stores it."""
        return self._info[1]

    @property
    def georeference(self) -> Georeference | None:
        """Place on the map, where a TIFF stores it."""
        tiff = self._stripped_tiff()
        return None if tiff is None else tiff.georeference

    @property
    def white_is_0(self) -> bool:
        """Whether bits of a TIFF are stored as 0 for white, which readers show in two ways."""
        tiff = self._stripped_tiff()
        return tiff is not None and tiff.white_is_0

    def _cache_key(self) -> tuple[object, ...]:
        return (self.mask,)

    def _cache_limit(self) -> int:
        return self.ram + 2 * UNIT  # the table, and rounding: the pixels alone count

    def tile_size(self, level: int) -> tuple[int, int]:
        """Return (width, height) of the windows to read one by one: any, because the pixels are decoded once."""
        width, height = self.level_dimensions[level]
        return min(width, BLOCK), min(height, BLOCK)

    def uncached(self) -> ImageRaster:
        """Return the raster itself: it reads nothing without room for all of its pixels."""
        return self

    def require_fits(self) -> None:
        """Check from the header that the decoded pixels fit into the budget, and take the room for them.

        Raises:
            ReadError: The pixels do not fit, or the file is not supported.
        """
        self._reserve()

    def _reserve(self) -> TileCache:
        layout = self.layout
        grid, shape = layout.grids[0], layout.shapes[0]
        size = layout.dtype.itemsize * (3 if layout.channels else 1)
        whole = grid.width * grid.height * size
        store = self._open_cache() if whole <= self.ram else None
        if store is None or not store.reserve(0, whole):
            kind = "deflate" if self.mask else "jpeg"
            taken = "" if whole > self.ram else ", which other slides have taken already"
            raise ReadError(
                f"{self.path}: {grid.width} x {grid.height} px x {size} bytes = {whole:,} bytes must be decoded "
                f"whole, and the budget is ram={self.ram:,}{taken}; raise ram=, or convert to a tiled TIFF (vips "
                f"tiffsave in.png out.tiff --tile --pyramid --compression {kind}), or pass an array"
            )
        assert shape[:2] == (grid.height, grid.width)
        return store

    def _fetch_tile(self, store: TileCache | None, level: int, number: int, window: Window, rows: int) -> Array:
        layout = self.layout
        try:
            return self._reserve().fill(0, layout.shapes[0], layout.dtype, self._decode)
        except LostDescriptorError:  # decode again, into memory that another part of the program has not closed
            return self._reserve().fill(0, layout.shapes[0], layout.dtype, self._decode)

    def _decode(self, out: Array) -> None:
        """Decode all pixels into a given array."""
        height, width = out.shape[:2]
        tiff = self._stripped_tiff()
        if tiff is not None:
            rows = tiff.layout.grids[0].tile_height  # each strip is decoded for one band alone
            rows *= max(1, _BAND // (rows * width))
            for top in range(0, height, rows):
                out[top : top + rows] = tiff.read(Window(0, top, width, min(rows, height - top)))
            return
        self.require_unchanged()
        with self._open_image() as picture:
            try:
                if not _decode_directly(self.path, picture, out, self.mask):
                    self._convert(picture, out)
                    if picture.format == "PNG":
                        require_whole_png(self.path)
            except ReadError:
                raise
            except Exception as error:  # Pillow's decoders raise many kinds
                raise ReadError(f"{self.path}: cannot be decoded ({describe(error)}); copy the file again") from error
        self.require_unchanged()

    def _stripped_tiff(self) -> TiffRaster | None:
        """Return the file as a stripped TIFF; None for other formats and for a TIFF that only Pillow reads."""
        with open(self.path, "rb") as file:
            if not is_tiff(file.read(4)):
                return None
        tiff = TiffRaster(self.path, mask=self.mask, name=self.name)
        tiff.expect(self._fingerprint)
        try:
            tiff.header  # noqa: B018 - reads it
        except UnsupportedError:
            if self.mask:
                raise
            return None
        return tiff

    def _open_image(self) -> ImageFile:
        """Open the file with Pillow, without decoding."""
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
            raise UnsupportedError(f"{self.path}: neither PNG, JPEG, BMP nor TIFF")
        if self.mask and opener is JpegImagePlugin.JpegImageFile:
            raise ReadError(f"{self.path}: JPEG alters class numbers; save the mask as PNG or as TIFF with deflate")
        try:
            picture = opener(self.path)
        except Exception as error:
            raise UnsupportedError(
                f"{self.path}: Pillow cannot open it ({describe(error)}); copy the file again"
            ) from error
        allowed = tuple(_MASK_MODES) if self.mask else ("L", "LA", "P", "PA", "RGB", "RGBA")
        deep = head.startswith(b"\x89PNG") and head[24] > 8 and not self.mask  # Pillow would drop the lower 8 bits
        if picture.mode not in allowed or deep:
            picture.close()
            mode = f"16-bit {picture.mode}" if deep else picture.mode
            required = "a mask holds one integer a pixel; save class numbers"
            if not self.mask:
                required = "an image is 8-bit grey or RGB; convert it"
            raise ReadError(f"{self.path}: pixels are {mode}, {required}")
        return picture

    def _convert(self, picture: ImageFile, out: Array) -> None:
        """Convert pixels with Pillow in bands of rows, because Pillow's own copy takes up to 4 bytes a pixel."""
        from PIL import Image

        turned, _ = _orientation(picture)
        transparent = not self.mask and _has_transparency(picture)
        divisor = grey_divisor(self.path) if self.mask else 1
        picture.load()
        upright = picture if turned is None else picture.transpose(turned)
        width, height = upright.size
        rows = max(1, _BAND // width)
        for top in range(0, height, rows):
            band = upright.crop((0, top, width, min(top + rows, height)))
            if transparent:
                band = band.convert("RGBA")
                band = Image.alpha_composite(Image.new("RGBA", band.size, "white"), band).convert("RGB")
            elif not self.mask and band.mode != "L":
                band = band.convert("RGB")
            pixels = np.asarray(band)
            out[top : top + rows] = pixels // divisor if divisor > 1 else pixels


def _has_transparency(picture: ImageFile) -> bool:
    return picture.mode in ("LA", "PA", "RGBA") or "transparency" in picture.info


def _orientation(picture: ImageFile) -> tuple[Transpose | None, tuple[int, int]]:
    """Return the transpose that makes the image upright, and its (width, height) then."""
    from PIL.Image import Image, Transpose

    width, height = picture.size
    exif = Image.getexif(picture)  # not PngImageFile's, which decodes all pixels to see whether one comes after them
    turn = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }.get(exif.get(0x0112, 1))
    swaps = turn in (Transpose.TRANSPOSE, Transpose.ROTATE_270, Transpose.TRANSVERSE, Transpose.ROTATE_90)
    return turn, (height, width) if swaps else (width, height)


def _decode_directly(path: str, picture: ImageFile, out: Array, mask: bool) -> bool:
    """Decode directly into `out`; return False if the pixels must be converted.

    Pillow would need its own copy of up to 4 bytes a pixel. An error is left to Pillow, which says what is wrong.
    """
    import imagecodecs

    if _orientation(picture)[0] is not None or (not mask and _has_transparency(picture)):
        return False
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) as data:
        depth, kind = data[24], data[25]
        png = data[:4] == b"\x89PNG" and depth == 8 * out.dtype.itemsize
        try:
            if png and mask and kind == 3:  # a palette: its indices are what a grey picture of the same bytes holds
                data[25] = 0
                data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
                imagecodecs.png_decode(data, out=out)
            elif png and kind == (2 if out.ndim == 3 else 0):
                imagecodecs.png_decode(data, out=out)
            elif data[:2] == b"\xff\xd8" and picture.mode in ("L", "RGB") and data.rfind(_EOI, len(data) - 65536) > 0:
                imagecodecs.jpeg8_decode(data, out=out)
            else:
                return False
        except Exception:
            return False
    return True
