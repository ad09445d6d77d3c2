"""Headers of TIFF files: where each tile lies, how it is decoded, and whether it can be read here.

tifffile knows the tag tables of generic pyramids, SVS and OME-TIFF. It is asked once and closed again: no handle of it
is read from later, so none can cross a fork.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from patchaug.core.arrays import Array
from patchaug.errors import PatchaugError, ReadError
from patchaug.readers.base import Sizes
from patchaug.readers.channels import Channels
from patchaug.readers.codecs.decompress import CODECS, Packing, load
from patchaug.readers.file import UnsupportedError, describe
from patchaug.readers.georeference import Georeference
from patchaug.readers.tiff.colours import Interpretation, interpretation_of, require_mask
from patchaug.readers.tiff.metadata import mpp_of, place_of
from patchaug.readers.tiff.preflight import TILE_LIMIT, require_sound
from patchaug.readers.tiff.scenes import Plane, Scene, choose_scene, plane_names, planes_of, stack_error
from patchaug.readers.tiled import TileGrid

if TYPE_CHECKING:
    from tifffile import TiffFile

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

# Overlapping tiles, padded levels or several areas: OpenSlide knows how these makers lay their slides out.
_VENDORS = frozenset({"ndpi", "scn", "bif", "philips"})


@dataclass(frozen=True, eq=False)
class Part:
    """Tiles of some samples of a level: all of them, or one plane of a page or of a band-interleaved file.

    Attributes:
        offsets: uint64 (tiles,), bytes from the start of the file.
        counts: uint64 (tiles,), bytes.
        samples: Samples per pixel in each tile.
        first: Number of the first tile in the page, as tifffile counts them.
        decode: tifffile's decoder, (bytes, tile number, jpegtables=) -> (pixels, place, shape).
        tables: JPEG tables that the tiles share.
        jpeg: Arguments to decode a tile with imagecodecs alone; None where tifffile is needed.
        packing: The same for lossless tiles.
    """

    offsets: Array
    counts: Array
    samples: int
    first: int
    decode: Callable[..., Any]
    tables: bytes | None
    jpeg: dict[str, Any] | None
    packing: Packing | None


@dataclass(frozen=True, eq=False)
class Level:
    """One level: tiles, or strips as tiles that are as wide as the picture. Sizes in pixels of the level."""

    width: int
    height: int
    tile_width: int
    tile_height: int
    parts: tuple[Part, ...]

    @property
    def grid(self) -> TileGrid:
        """Tile grid of the level."""
        return TileGrid(self.width, self.height, self.tile_width, self.tile_height)

    @property
    def jpeg(self) -> dict[str, Any] | None:
        """See `Part`; of the first part."""
        return self.parts[0].jpeg

    @property
    def packing(self) -> Packing | None:
        """See `Part`; of the first part."""
        return self.parts[0].packing


@dataclass(frozen=True, eq=False)
class Header:
    """Header of a TIFF file, as far as reading needs it.

    Attributes:
        levels: The levels, finest first.
        tiled: Whether pixels lie in tiles, rather than in strips.
        dtype: Type of the samples as stored; bool for 1 bit.
        colours: Which samples are read, and what they mean.
        mpp: Micrometres per pixel as (x, y), or None.
        codec: How tiles are compressed, in TIFF's word.
        georeference: Place on the map, or None.
        white_is_0: Whether a 1-bit mask stores white as 0.
    """

    levels: tuple[Level, ...]
    tiled: bool
    dtype: np.dtype[Any]
    colours: Interpretation
    mpp: tuple[float, float] | None
    codec: str
    georeference: Georeference | None = None
    white_is_0: bool = False

    @property
    def dimensions(self) -> Sizes:
        """(width, height) per level in pixels."""
        return tuple((level.width, level.height) for level in self.levels)


def is_tiff(head: bytes) -> bool:
    """Return whether a file that begins with `head` is TIFF or BigTIFF."""
    return head[:4] in MAGIC


def read_header(path: str, *, mask: bool, channels: Channels | None = None, series: Scene | None = None) -> Header:
    """Parse the tag tables of one picture and of its levels.

    Args:
        path: The file.
        mask: Whether it is read as a mask.
        channels: Channels to read, by number or name; None for all.
        series: Picture to read, by number or name; None for the only full one.

    Raises:
        UnsupportedError: Another reader may support the file.
        ReadError: Another reader would silently drop bits, channels or pages.
        OptionError: There is no such picture or channel.
    """
    import tifffile

    checked = require_sound(path)
    try:
        with tifffile.TiffFile(path) as tiff:
            _require_general(path, tiff)
            scene = choose_scene(path, tiff, series, mask=mask)
            return _header(path, tiff, scene, mask=mask, channels=channels)
    except PatchaugError:
        raise
    except Exception as error:  # a broken header raises whatever the parser met first
        kind = ReadError if checked else UnsupportedError  # what is broken is not handed on
        raise kind(f"{path}: broken TIFF header ({describe(error)}); copy or export the file again") from error


def _header(path: str, tiff: TiffFile, scene: int, *, mask: bool, channels: Channels | None) -> Header:
    series = tiff.series[scene]
    levels = [planes_of(path, tiff, level) for level in series.levels]
    first: Any = series.keyframe
    pages = [plane.page.keyframe for planes in levels for plane in planes]
    _require_upright(path, pages)
    names = plane_names(series)
    if names is not None and (mask or channels is None):
        raise stack_error(path, series, names, mask=mask)
    if mask:
        for page in pages:
            require_mask(path, page, len(levels[0]))
        colours = Interpretation.all_of(first.samplesperpixel * len(levels[0]))
    else:
        colours = interpretation_of(path, tiff, first, scene, names, len(levels[0]), channels)
    if any(_kind(page) != _kind(first) for page in pages):
        raise UnsupportedError(f"{path}: its levels differ in dtype, channels or tiling")
    made = tuple(_level(path, planes) for planes in levels)
    mpp = mpp_of(tiff, first, scene)
    return Header(
        made, first.is_tiled, first.dtype, colours, mpp, _tag_name(first.compression), place_of(tiff, first, mpp),
        mask and int(first.photometric) == 0,
    )  # fmt: skip


def _kind(page: Any) -> tuple[Any, int, int, bool]:
    return page.dtype, page.samplesperpixel, int(page.planarconfig), page.is_tiled


def _tag_name(tag: Any) -> str:
    return str(getattr(tag, "name", tag))


def _require_general(path: str, tiff: TiffFile) -> None:
    """Require a file without a vendor's own layout."""
    first = tiff.series[0]
    page: Any = first.keyframe
    if first.kind in _VENDORS or "MedScan" in str(page.software):
        raise UnsupportedError(f"{path}: a slide of kind {first.kind}, which OpenSlide reads")


def _require_upright(path: str, pages: list[Any]) -> None:
    for page in pages:
        orientation = page.tags.valueof(274, 1)
        if orientation != 1:
            raise ReadError(f"{path}: orientation tag is {orientation}, only 1 (upright) is read; save it upright")


def _level(path: str, planes: list[Plane]) -> Level:
    """Return the level's tiles or strips, checked against its size before allocation."""
    page = planes[0].page.keyframe
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
    needed = -(-width // tile_width) * -(-height // tile_height)
    parts = [part for plane in planes for part in _parts(path, plane, needed)]
    return Level(width, height, tile_width, tile_height, tuple(parts))


def _parts(path: str, plane: Plane, needed: int) -> list[Part]:
    """Return the parts of a plane: one, or one for each sample of a band-interleaved page."""
    page = plane.page.keyframe
    separate = page.planarconfig == 2 and page.samplesperpixel > 1
    number = page.samplesperpixel if separate else 1
    offsets, counts = (
        np.asarray(values, np.uint64) for values in (plane.page.dataoffsets, plane.page.databytecounts)
    )  # fmt: skip
    if not len(offsets) == len(counts) == needed * number:
        raise ReadError(
            f"{path}: {page.imagewidth} x {page.imagelength} px need {needed * number} tiles, the header lists "
            f"{len(offsets)} offsets and {len(counts)} sizes; copy or export the file again"
        )
    if plane.skipped or _is_first_of_several(page, counts):
        offsets, counts = _contiguous(page, plane.skipped, needed)
    decoding = page.decode, getattr(plane.page, "jpegtables", None), _jpeg(page), _packing(page)
    samples = 1 if separate else page.samplesperpixel
    return [
        Part(offsets[first : first + needed], counts[first : first + needed], samples, first, *decoding)
        for first in range(0, number * needed, needed)
    ]


def _is_first_of_several(page: Any, counts: Array) -> bool:
    """Return whether the strips of an uncompressed page claim other sizes than its rows have."""
    return not page.is_tiled and int(page.compression) == 1 and page.is_contiguous and counts.sum() > page.nbytes


def _contiguous(page: Any, skipped: int, needed: int) -> tuple[Array, Array]:
    """Return the strips of one of several planes that lie one after the other behind the first strip's offset."""
    row = page.nbytes // page.imagelength
    rows = min(page.rowsperstrip, page.imagelength)
    tops = np.arange(needed, dtype=np.uint64) * np.uint64(rows)
    offsets = np.uint64(int(page.dataoffsets[0]) + skipped) + tops * np.uint64(row)
    counts = np.minimum(np.uint64(rows), np.uint64(page.imagelength) - tops) * np.uint64(row)
    return offsets, counts


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
    if page.dtype is None or (bits == 1) != (page.dtype == bool) or (bits == 1 and int(page.predictor) == 2):
        return None
    if page.dtype.kind == "f" and int(page.predictor) == 2:
        return None  # differences of floats are those of their bits
    load(codec, *(["delta"] if int(page.predictor) == 2 else []), *(["bitorder"] if int(page.fillorder) == 2 else []))
    dtype = page.dtype.newbyteorder(page.parent.byteorder)
    return Packing(codec, dtype, int(page.predictor) == 2, int(page.fillorder) == 2)
