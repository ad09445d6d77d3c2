"""Headers of TIFF files: where each tile lies, how it is decoded, and whether it can be read here.

tifffile knows the tag tables of generic pyramids, SVS and OME-TIFF. It is asked once and closed again: no handle of it
is read from later, so none can cross a fork.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np

from patchaug.core.arrays import Array
from patchaug.errors import ReadError
from patchaug.readers.base import Sizes
from patchaug.readers.codecs.decompress import CODECS, Packing, load
from patchaug.readers.file import UnsupportedError, describe
from patchaug.readers.georeference import STAGE, Georeference, from_geotiff
from patchaug.readers.tiff.preflight import TILE_LIMIT, require_sound
from patchaug.readers.tiled import TileGrid

if TYPE_CHECKING:
    from tifffile import TiffFile

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

# Overlapping tiles, padded levels or several areas: OpenSlide knows how these makers lay their slides out.
_VENDORS = frozenset({"ndpi", "scn", "bif", "philips"})
_LOSSLESS = frozenset({1, 2, 3, 4, 5, 8, 32773, 32946, 34925, 34926, 50000})  # CCITT, LZW, deflate, LZMA, Zstd
_ELSEWHERE = frozenset({6, 33003})  # old JPEG; JPEG 2000 whose YCbCr tifffile does not convert
_MICROMETRES = {"m": 1e6, "cm": 1e4, "mm": 1e3, "µm": 1.0, "um": 1.0, "μm": 1.0, "nm": 1e-3, "in": 25400.0}


@dataclass(frozen=True, eq=False)
class Level:
    """One level: tiles, or strips as tiles that are as wide as the picture. Sizes in pixels of the level."""

    width: int
    height: int
    tile_width: int
    tile_height: int
    offsets: Array  # uint64, bytes from the start of the file
    counts: Array  # uint64, bytes
    decode: Callable[..., Any]  # tifffile's: (bytes, tile number, jpegtables=) -> (pixels, place, shape)
    tables: bytes | None  # JPEG tables that the tiles share
    jpeg: dict[str, Any] | None  # what imagecodecs needs to decode a tile without tifffile; None where it cannot
    packing: Packing | None  # the same for lossless tiles

    @property
    def grid(self) -> TileGrid:
        """Tile grid of the level."""
        return TileGrid(self.width, self.height, self.tile_width, self.tile_height)


@dataclass(frozen=True, eq=False)
class Header:
    """Header of a TIFF file, as far as reading needs it."""

    levels: tuple[Level, ...]
    tiled: bool
    dtype: np.dtype[Any]  # of the samples as stored; bool for 1 bit
    samples: int
    mpp: tuple[float, float] | None
    codec: str  # how tiles are coded, in TIFF's word
    georeference: Georeference | None = None
    white_is_0: bool = False  # of 1-bit masks

    @property
    def dimensions(self) -> Sizes:
        """(width, height) per level in pixels."""
        return tuple((level.width, level.height) for level in self.levels)


def is_tiff(head: bytes) -> bool:
    """Return whether a file that begins with `head` is TIFF or BigTIFF."""
    return head[:4] in MAGIC


def read_header(path: str, *, mask: bool) -> Header:
    """Parse the tag tables of the first picture and of its levels.

    Raises:
        UnsupportedError: Another reader may support the file.
        ReadError: Another reader would silently drop bits, channels or pages.
    """
    import tifffile

    checked = require_sound(path)
    try:
        with tifffile.TiffFile(path) as tiff:
            series = tiff.series[0]
            pages = [level.pages[0] for level in series.levels]
            _require_plain(path, tiff, pages)
            for page in pages:
                (_require_mask if mask else _require_image)(path, page)
            first: Any = pages[0]
            if any(_kind(page) != _kind(first) for page in pages):
                raise UnsupportedError(f"{path}: its levels differ in dtype, channels or tiling")
            levels = tuple(_level(path, page) for page in pages)
            return Header(
                levels,
                first.is_tiled,
                first.dtype,
                first.samplesperpixel,
                _mpp(tiff, first),
                _tag_name(first.compression),
                _place(tiff, first, _mpp(tiff, first)),
                mask and int(first.photometric) == 0,
            )
    except ReadError:
        raise
    except Exception as error:  # a broken header raises whatever the parser met first
        kind = ReadError if checked else UnsupportedError  # what is broken is not handed on
        raise kind(f"{path}: broken TIFF header ({describe(error)}); copy or export the file again") from error


def _kind(page: Any) -> tuple[Any, int, bool]:
    return page.dtype, page.samplesperpixel, page.is_tiled


def _tag_name(tag: Any) -> str:
    return str(getattr(tag, "name", tag))


def _require_plain(path: str, tiff: TiffFile, pages: list[Any]) -> None:
    """Require one contiguous, upright image without a vendor's own layout."""
    series = tiff.series[0]
    if series.kind in _VENDORS or "MedScan" in str(pages[0].software if pages[0] is not None else ""):
        raise UnsupportedError(f"{path}: a slide of kind {series.kind}, which OpenSlide reads")
    if any(len(level.pages) != 1 for level in series.levels):
        raise ReadError(
            f"{path}: holds a stack of pictures (shape {series.shape}, axes {series.axes}), and a slide is one; "
            "save the wanted plane as a TIFF of its own"
        )
    for page in pages:
        orientation = page.tags.valueof(274, 1)
        if orientation != 1:
            raise ReadError(f"{path}: orientation tag is {orientation}, only 1 (upright) is read; save it upright")


def _require_image(path: str, page: Any) -> None:
    """Require 8 bits; grey, RGB, or YCbCr inside JPEG."""
    if page.dtype != np.uint8 or page.bitspersample != 8:
        raise ReadError(f"{path}: samples are {page.bitspersample}-bit {page.dtype}, an image is 8-bit; convert")
    # An extra channel of unknown meaning: others would take near infrared for transparency.
    if 0 in page.extrasamples or (page.photometric == 2 and page.samplesperpixel > 3 and not page.extrasamples):
        raise ReadError(f"{path}: {page.samplesperpixel} channels, only grey, RGB and alpha are read; keep three")
    plain = {1: 1, 2: 3, 6: 3}.get(int(page.photometric))  # MINISBLACK, RGB, YCBCR
    ycbcr_elsewhere = int(page.photometric) == 6 and int(page.compression) != 7
    if page.samplesperpixel != plain or page.planarconfig != 1 or ycbcr_elsewhere or page.compression in _ELSEWHERE:
        raise UnsupportedError(
            f"{path}: TIFF with photometric {_tag_name(page.photometric)}, {page.samplesperpixel} samples, planes "
            f"{_tag_name(page.planarconfig)}, compression {_tag_name(page.compression)} is not read tile by tile"
        )


def _require_mask(path: str, page: Any) -> None:
    """Require one losslessly stored integer per pixel."""
    if page.samplesperpixel != 1:
        raise ReadError(f"{path}: {page.samplesperpixel} samples per pixel, a mask has 1; save class numbers")
    if page.dtype is None or page.dtype.kind not in "buif":
        raise ReadError(f"{path}: samples are {page.dtype}, a mask holds integers; save class numbers")
    one_bit = page.bitspersample == 1 and int(page.photometric) == 0  # MINISWHITE; `open_mask` asks which bit is which
    if int(page.photometric) not in (1, 3) and not one_bit:  # MINISBLACK, PALETTE
        raise ReadError(
            f"{path}: photometric is {_tag_name(page.photometric)}, a mask has MINISBLACK or PALETTE; save it so"
        )
    if int(page.compression) not in _LOSSLESS:
        raise ReadError(
            f"{path}: compression {_tag_name(page.compression)} may alter class numbers; save the mask with deflate or "
            f"LZW"
        )


def _level(path: str, page: Any) -> Level:
    """Return the page's tiles or strips, checked against its size before allocation."""
    width, height = page.imagewidth, page.imagelength
    tile_width, tile_height = (page.tilewidth, page.tilelength) if page.is_tiled else (width, page.rowsperstrip)
    if min(width, height, tile_width, tile_height) < 1:
        raise ReadError(f"{path}: {width} x {height} px in tiles of {tile_width} x {tile_height}, sides start at 1 px")
    if page.imagedepth != 1 or page.tiledepth > 1:
        raise ReadError(f"{path}: a volume of {page.imagedepth} planes, and a slide has one; save one plane")
    tile_height = tile_height if page.is_tiled else min(tile_height, height)
    if page.is_tiled and tile_width * tile_height > TILE_LIMIT:
        raise ReadError(
            f"{path}: tiles of {tile_width} x {tile_height} px are above the limit of {TILE_LIMIT >> 20} Mpx; "
            "save it with tiles of 256 px"
        )
    offsets, counts = (np.asarray(values, np.uint64) for values in (page.dataoffsets, page.databytecounts))
    needed = -(-width // tile_width) * -(-height // tile_height)
    if not len(offsets) == len(counts) == needed:
        raise ReadError(
            f"{path}: {width} x {height} px need {needed} tiles, the header lists {len(offsets)} offsets and "
            f"{len(counts)} sizes; copy or export the file again"
        )
    return Level(
        width, height, tile_width, tile_height, offsets, counts, page.decode, page.jpegtables, _jpeg(page),
        _packing(page),
    )  # fmt: skip


def _jpeg(page: Any) -> dict[str, Any] | None:
    """Return the arguments of imagecodecs' JPEG decoder for tiles of 8 bits, as tifffile derives them."""
    from tifffile.tifffile import jpeg_decode_colorspace

    if int(page.compression) in (6, 7, 33007, 34892):
        load("jpeg8", "jpeg")
    if int(page.compression) != 7 or page.bitspersample != 8 or not page.is_tiled:
        return None
    tags = page.photometric, page.planarconfig, page.extrasamples, page.is_jfif
    inside, outside = jpeg_decode_colorspace(*tags)
    return {"tables": page.jpegtables, "colorspace": inside, "outcolorspace": outside}


def _packing(page: Any) -> Packing | None:
    """Return the lossless compression of tiles whose samples are whole bytes or single bits."""
    codec, bits = CODECS.get(int(page.compression)), page.bitspersample
    if codec is None or not page.is_tiled or bits not in (1, 8, 16, 32, 64) or int(page.predictor) not in (1, 2):
        return None
    if page.planarconfig != 1 or (bits == 1) != (page.dtype == bool) or (bits == 1 and int(page.predictor) == 2):
        return None
    load(codec, *(["delta"] if int(page.predictor) == 2 else []), *(["bitorder"] if int(page.fillorder) == 2 else []))
    dtype = page.dtype.newbyteorder(page.parent.byteorder)
    return Packing(codec, dtype, int(page.predictor) == 2, int(page.fillorder) == 2)


def _mpp(tiff: TiffFile, page: Any) -> tuple[float, float] | None:
    """Return micrometres per pixel from the format's metadata or the resolution tags; None if absent."""
    try:
        if tiff.is_svs:
            match = re.search(r"\bMPP\s*=\s*([0-9.eE+-]+)", page.description)
            x = y = float(match[1]) if match else 0.0
        elif tiff.is_ome:
            x, y = _ome_mpp(tiff.ome_metadata or "")
        else:
            unit = {2: 25400.0, 3: 10000.0}[int(page.tags.valueof(296, 2))]  # inch, centimetre
            x, y = (unit * per[1] / per[0] for per in (page.tags.valueof(282), page.tags.valueof(283)))
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, ElementTree.ParseError):
        # tags that are missing or of a wrong type, zero denominators, XML that is none: the file does not say
        return None
    return (x, y) if all(math.isfinite(v) and v > 0 for v in (x, y)) else None


def _place(tiff: TiffFile, page: Any, mpp: tuple[float, float] | None) -> Georeference | None:
    """Return the place on the map, or on the stage where the file stores an origin; None if absent."""
    try:
        tags = page.geotiff_tags if 33550 in page.tags or 34264 in page.tags else None
        if tags:
            return from_geotiff(tags)
        if mpp is None or tiff.is_svs or 286 not in page.tags or 287 not in page.tags:
            return None
        x, y = (origin[0] / origin[1] for origin in (page.tags.valueof(286), page.tags.valueof(287)))
        unit = {2: 25400.0, 3: 10000.0}[int(page.tags.valueof(296, 2))]
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        return None  # the file does not say
    return Georeference((mpp[0], 0.0, x * unit, 0.0, mpp[1], y * unit), STAGE)


def _ome_mpp(text: str) -> tuple[float, float]:
    """Return the physical size of a pixel in micrometres, 0 where the XML lacks it."""
    pixels = ElementTree.fromstring(text).find(".//{*}Pixels")
    stored = {} if pixels is None else pixels.attrib
    x, y = (
        float(stored.get(f"PhysicalSize{axis}", "0")) * _MICROMETRES[stored.get(f"PhysicalSize{axis}Unit", "µm")]
        for axis in "XY"
    )
    return x, y
