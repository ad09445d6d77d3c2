"""Headers and pixels of PNG, JPEG, BMP, and of TIFFs that only Pillow knows; 8-bit masks and images, 16-bit PNG."""

from __future__ import annotations

import mmap
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from patchaug.core.arrays import Array
from patchaug.errors import PatchaugError, ReadError
from patchaug.readers.codecs.image_headers import grey_divisor, require_whole_png
from patchaug.readers.file import UnsupportedError, describe, open_file
from patchaug.readers.remote.file import fetch_whole, keeping_whole
from patchaug.readers.tiff.header import is_tiff
from patchaug.readers.urls import is_url

if TYPE_CHECKING:
    from PIL.Image import Transpose
    from PIL.ImageFile import ImageFile

_BAND = 4 << 20  # pixels converted at a time
_MASK_MODES = {"1": "u1", "L": "u1", "P": "u1", "I;16": "u2", "I;16B": "u2", "I;16L": "u2", "I": "i4", "F": "f4"}
_IMAGE_MODES = ("L", "LA", "P", "PA", "RGB", "RGBA")
_EOI = b"\xff\xd9"  # how a JPEG ends
_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_CHANNELS = {0: 1, 2: 3, 4: 2, 6: 4}  # by type of colour; a palette has none


@dataclass(frozen=True)
class FileFormat:
    """Size and kind of pixels of a file that is decoded whole.

    Attributes:
        width, height: Size in pixels, upright.
        dtype: Type of the pixels.
        channels: Number of channels, transparency included.
        alpha: Whether the last channel is transparency.
    """

    width: int
    height: int
    dtype: np.dtype[Any]
    channels: int
    alpha: bool


def read_format(path: str, *, mask: bool) -> FileFormat:
    """Read the format from the header.

    Raises:
        UnsupportedError: Another reader may support the file.
        ReadError: The file does not hold such pixels.
    """
    with open_picture(path, mask=mask) as picture:
        width, height = orientation(picture)[1]
        if mask:
            return FileFormat(width, height, np.dtype(_MASK_MODES[picture.mode]), 1, alpha=False)
        alpha = _has_transparency(picture)
        deep = _png_depth(path) == 16
        channels = _PNG_CHANNELS[_png_head(path)[25]] if deep else (1 if picture.mode in ("L", "LA") else 3) + alpha
        return FileFormat(width, height, np.dtype(np.uint16 if deep else np.uint8), channels, alpha)


def decode_picture(path: str, out: Array, *, mask: bool) -> None:
    """Decode all pixels into an array of the file's format, (height, width[, channels]).

    Raises:
        ReadError: The file cannot be decoded.
    """
    with keeping_whole(), open_picture(path, mask=mask, whole=True) as picture:
        try:
            if not _decode_directly(path, picture, out, mask):
                _convert(path, picture, out, mask)
                if picture.format == "PNG":
                    require_whole_png(path)
        except ReadError:
            raise
        except Exception as error:  # Pillow's decoders raise many kinds
            raise ReadError(f"{path}: cannot be decoded ({describe(error)}); copy the file again") from error


def open_picture(path: str, *, mask: bool, whole: bool = False) -> ImageFile:
    """Open a file with Pillow, without decoding; an object is fetched `whole` where it will be decoded."""
    from PIL import BmpImagePlugin, JpegImagePlugin, PngImagePlugin, TiffImagePlugin

    head = _png_head(path)
    # The classes themselves, and not Image.open, whose limit on pixels is a setting of the whole program.
    opener: type[ImageFile]
    if head.startswith(_PNG):
        opener = PngImagePlugin.PngImageFile
    elif head.startswith(b"\xff\xd8\xff"):
        opener = JpegImagePlugin.JpegImageFile
    elif head.startswith(b"BM"):
        opener = BmpImagePlugin.BmpImageFile
    elif is_tiff(head):
        opener = TiffImagePlugin.TiffImageFile
    else:
        raise UnsupportedError(f"{path}: neither PNG, JPEG, BMP nor TIFF")
    if mask and opener is JpegImagePlugin.JpegImageFile:
        raise ReadError(f"{path}: JPEG alters class numbers; save the mask as PNG or as TIFF with deflate")
    try:
        picture = opener(open_file(path, whole=whole) if is_url(path) else path)
    except PatchaugError:
        raise
    except Exception as error:
        raise UnsupportedError(f"{path}: Pillow cannot open it ({describe(error)}); copy the file again") from error
    _require_known(path, picture, head, mask)
    return picture


def _require_known(path: str, picture: ImageFile, head: bytes, mask: bool) -> None:
    deep = _png_depth(path) == 16
    if deep and not mask and ("transparency" in picture.info or orientation(picture)[0] is not None):
        picture.close()
        raise ReadError(f"{path}: a 16-bit PNG with a transparent colour or turned by EXIF; save it as TIFF")
    if picture.mode in (tuple(_MASK_MODES) if mask else _IMAGE_MODES) or (deep and not mask):
        return
    picture.close()
    if mask:
        raise ReadError(f"{path}: pixels are {picture.mode}, a mask holds one integer a pixel; save class numbers")
    grey = "L" if picture.mode == "1" else "RGB"
    raise ReadError(
        f"{path}: pixels are {picture.mode}, an image is grey or RGB; convert it, such as "
        f'Image.open(path).convert("{grey}").save("out.png") of Pillow'
    )


def _png_head(path: str) -> bytes:
    with open_file(path, whole=False) as file:
        return file.read(26)


def _png_depth(path: str) -> int:
    """Return the bits per sample of a PNG; 0 for other files."""
    head = _png_head(path)
    return head[24] if head.startswith(_PNG) and len(head) > 25 else 0


def _convert(path: str, picture: ImageFile, out: Array, mask: bool) -> None:
    """Convert pixels with Pillow in bands of rows, because Pillow's own copy takes up to 4 bytes a pixel."""
    turned, _ = orientation(picture)
    channels = 1 if out.ndim == 2 else out.shape[2]
    mode = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[channels]
    divisor = grey_divisor(path) if mask else 1
    picture.load()
    upright = picture if turned is None else picture.transpose(turned)
    width, height = upright.size
    rows = max(1, _BAND // width)
    for top in range(0, height, rows):
        band = upright.crop((0, top, width, min(top + rows, height)))
        if not mask and band.mode != mode:
            # Pillow makes colours of grey with a transparent value, and grey of colours by weights.
            band = band.convert("RGBA").convert("LA") if mode == "LA" else band.convert(mode)
        pixels = np.asarray(band)
        out[top : top + rows] = pixels // divisor if divisor > 1 else pixels


def _has_transparency(picture: ImageFile) -> bool:
    return picture.mode in ("LA", "PA", "RGBA") or "transparency" in picture.info


def orientation(picture: ImageFile) -> tuple[Transpose | None, tuple[int, int]]:
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


@contextmanager
def _writable(path: str) -> Iterator[bytearray | mmap.mmap]:
    """Return the bytes of a file, in memory that may be changed without changing the file."""
    if is_url(path):
        yield bytearray(fetch_whole(path))
        return
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) as data:
        yield data


def _decode_directly(path: str, picture: ImageFile, out: Array, mask: bool) -> bool:
    """Decode directly into `out`; return False if the pixels must be converted.

    Pillow would need its own copy of up to 4 bytes a pixel. An error is left to Pillow, which says what is wrong.
    """
    import imagecodecs

    if orientation(picture)[0] is not None or (not mask and "transparency" in picture.info):
        return False
    deep = not mask and out.dtype == np.uint16
    with _writable(path) as data:
        depth, kind = data[24], data[25]
        png = data[:4] == b"\x89PNG" and depth == 8 * out.dtype.itemsize
        try:
            if png and mask and kind == 3:  # a palette: its indices are what a grey picture of the same bytes holds
                data[25] = 0
                data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
                imagecodecs.png_decode(data, out=out)
            elif png and _PNG_CHANNELS.get(kind) == (1 if out.ndim == 2 else out.shape[2]):
                imagecodecs.png_decode(data, out=out)
            elif data[:2] == b"\xff\xd8" and picture.mode in ("L", "RGB") and data.rfind(_EOI, len(data) - 65536) > 0:
                imagecodecs.jpeg8_decode(data, out=out)
            elif deep:
                raise ReadError(f"{path}: its 16-bit pixels are not read; save it as TIFF")
            else:
                return False
        except Exception as error:
            if deep:  # Pillow would drop the lower 8 bits
                require_whole_png(path)
                raise ReadError(f"{path}: cannot be decoded ({describe(error)}); copy the file again") from error
            return False
    return True
