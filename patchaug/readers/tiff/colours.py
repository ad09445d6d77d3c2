"""What the samples of a TIFF mean: channels, transparency, indices of a palette; and which of them are read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from patchaug.core.arrays import Array
from patchaug.errors import ReadError
from patchaug.readers.channels import Channels, channel_numbers
from patchaug.readers.file import UnsupportedError
from patchaug.readers.formats import FORMATS, dtype_error
from patchaug.readers.tiff.metadata import channel_names
from patchaug.readers.tiff.missing_values import nodata_of

if TYPE_CHECKING:
    from tifffile import TiffFile

_LOSSLESS = frozenset({1, 2, 3, 4, 5, 8, 32773, 32946, 34925, 34926, 50000})  # CCITT, LZW, deflate, LZMA, Zstd
_JPEG_XR = frozenset({22610, 34934})
_ELSEWHERE = frozenset({6, 33003})  # old JPEG; JPEG 2000 whose YCbCr tifffile does not convert
_WHITE_ZERO, _BLACK_ZERO, _RGB, _PALETTE, _YCBCR = 0, 1, 2, 3, 6  # photometric interpretations
_ALPHA = (1, 2)  # extra samples: associated and unassociated alpha


@dataclass(frozen=True, eq=False)
class Interpretation:
    """Which samples of a pixel are read.

    Attributes:
        samples: Numbers of the samples that a tile holds once decoded, counted over all parts; transparency comes last.
        plain: Whether these are all samples in their order.
        alpha: Whether the last of them is transparency.
        palette: uint8 (indices, channels), the colours that the one sample stands for; or None.
        names: Names of the channels, or None.
    """

    samples: tuple[int, ...]
    plain: bool
    alpha: bool = False
    palette: Array | None = None
    names: tuple[str, ...] | None = None

    @classmethod
    def all_of(cls, number: int) -> Interpretation:
        """Return the interpretation of a picture of which every sample is read."""
        return cls(tuple(range(number)), plain=True)

    @property
    def channels(self) -> tuple[int, ...]:
        """Trailing shape of a decoded tile: () for one channel, else (number,); transparency counts."""
        number = len(self.samples) if self.palette is None else self.palette.shape[1]
        return (number,) if number > 1 else ()


def interpretation_of(
    path: str, tiff: TiffFile, page: Any, scene: int, planes: list[str] | None, number: int, channels: Channels | None
) -> Interpretation:
    """Return which samples of an image are read.

    Args:
        path: The file, for errors.
        tiff: The open file.
        page: First page of the picture.
        scene: Number of the picture in the file.
        planes: Names of planes that are not channels, or None.
        number: Number of planes, each of which has all samples of the page.
        channels: What was asked for, or None.

    Raises:
        UnsupportedError: Another reader may know these colours.
        ReadError: The samples have another type than images have.
        OptionError: A channel does not exist.
    """
    _require_image(path, page)
    count = page.samplesperpixel * number
    names = channel_names(tiff, page, scene, count) if planes is None else tuple(planes)
    if int(page.photometric) in (_PALETTE, _WHITE_ZERO) and count == 1:
        return _of_palette(path, page, channels)
    if channels is not None:
        chosen = channel_numbers(path, count, names, channels)
        plain = chosen == tuple(range(count))
        return Interpretation(chosen, plain, names=None if names is None else tuple(names[k] for k in chosen))
    tagged = [k for k, kind in enumerate(page.extrasamples, page.samplesperpixel - len(page.extrasamples))
              if int(kind) in _ALPHA]  # fmt: skip
    if len(tagged) > 1 or (tagged and number > 1):
        raise ReadError(
            f"{path}: {len(tagged) * number} of its {count} channels are tagged as alpha; choose channels, such as "
            f"channels={[k for k in range(count) if k % page.samplesperpixel not in tagged] or [0]}"
        )
    if not tagged:
        return Interpretation(tuple(range(count)), plain=True, names=names)
    data = [k for k in range(count) if k not in tagged]
    order = (*data, *tagged)
    kept = None if names is None else tuple(names[k] for k in data)
    return Interpretation(order, order == tuple(range(count)), alpha=True, names=kept)


def _of_palette(path: str, page: Any, channels: Channels | None) -> Interpretation:
    """Return the interpretation of indices: of colours, or of greys where white is stored as 0."""
    if int(page.photometric) == _PALETTE:
        colours = np.asarray(page.colormap >> 8, np.uint8).T
    else:
        colours = np.arange(2**page.bitspersample, dtype=page.dtype.newbyteorder("="))[::-1, None]
    number = colours.shape[1]
    chosen = channel_numbers(path, number, None, range(number) if channels is None else channels)
    palette, nodata = np.ascontiguousarray(colours[:, chosen]), nodata_of(path, page)
    if nodata is not None:  # an index: several may have its colour
        opaque = np.where(np.arange(len(palette)) == nodata, 0, np.iinfo(palette.dtype).max).astype(palette.dtype)
        palette = np.concatenate([palette, opaque[:, None]], axis=1)
    return Interpretation((0,), plain=True, alpha=nodata is not None, palette=palette)


def _require_image(path: str, page: Any) -> None:
    """Require a type and colours that are read here."""
    photometric, compression = int(page.photometric), int(page.compression)
    if compression in _JPEG_XR:
        raise ReadError(
            f"{path}: JPEG XR is not supported, since damaged tiles end the whole process; save it as a tiled TIFF "
            f"with deflate"
        )
    if page.dtype is None or page.dtype.newbyteorder("=") not in FORMATS:
        raise ReadError(f"{path}: samples are {page.bitspersample}-bit {page.dtype}; {dtype_error(page.dtype)}")
    known = photometric in (_BLACK_ZERO, _RGB) or (photometric == _PALETTE and page.dtype == np.uint8)
    ycbcr = photometric == _YCBCR and compression == 7 and page.samplesperpixel == 3
    odd_rgb = photometric == _RGB and page.samplesperpixel < 3
    inverted = photometric == _WHITE_ZERO and page.dtype.kind == "u" and page.samplesperpixel == 1
    if not (known or ycbcr or inverted) or odd_rgb or compression in _ELSEWHERE:
        what = (
            f"{path}: TIFF with photometric {_tag_name(page.photometric)}, {page.samplesperpixel} samples, planes "
            f"{_tag_name(page.planarconfig)}, compression {_tag_name(page.compression)}"
        )
        if page.dtype != np.uint8:
            raise ReadError(
                f"{what}, of {page.bitspersample} bits; other readers make 8 bits of it: save it as grey or RGB "
                f"(photometric MINISBLACK or RGB)"
            )
        raise UnsupportedError(f"{what} is not read tile by tile")


def require_mask(path: str, page: Any, planes: int = 1) -> None:
    """Require one losslessly stored integer per pixel.

    Raises:
        ReadError: The page holds anything else.
    """
    if page.samplesperpixel * planes != 1:
        raise ReadError(f"{path}: {page.samplesperpixel * planes} samples per pixel, a mask has 1; save class numbers")
    if page.dtype is None or page.dtype.kind not in "buif":
        raise ReadError(f"{path}: samples are {page.dtype}, a mask holds integers; save class numbers")
    # MINISWHITE; `open_mask` asks which bit is which.
    one_bit = page.bitspersample == 1 and int(page.photometric) == _WHITE_ZERO
    if int(page.photometric) not in (_BLACK_ZERO, _PALETTE) and not one_bit:
        raise ReadError(
            f"{path}: photometric is {_tag_name(page.photometric)}, a mask has MINISBLACK or PALETTE; save it so"
        )
    if int(page.compression) not in _LOSSLESS:
        raise ReadError(
            f"{path}: compression {_tag_name(page.compression)} may alter class numbers; save the mask with deflate or "
            f"LZW"
        )


def _tag_name(tag: Any) -> str:
    return str(getattr(tag, "name", tag))
