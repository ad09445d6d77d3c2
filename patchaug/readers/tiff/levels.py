"""Levels of a TIFF: where each tile lies, and how it is decoded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from patchaug.core.arrays import Array
from patchaug.errors import ReadError
from patchaug.readers.codecs.decompress import CODECS, Packing, load
from patchaug.readers.tiff.preflight import TILE_LIMIT
from patchaug.readers.tiff.scenes import Plane
from patchaug.readers.tiff.uniform import UniformTiles
from patchaug.readers.tile_grid import TileGrid

_loaded: set[tuple[int, int, int, Any]] = set()


@dataclass(frozen=True, eq=False)
class Part:
    """Tiles of some samples of a level: all of them, or one plane of a page or of a band-interleaved file.

    Attributes:
        offsets: uint64 (tiles,), bytes from the start of the file.
        counts: uint64 (tiles,), bytes.
        samples: Samples per pixel in each tile.
        first: Number of the first tile in the page, as tifffile counts them.
        decode: tifffile's decoder, (bytes, tile number, jpegtables=) -> (pixels, place, shape); None where only odd
            tiles need it, and `read_header` was not asked for it.
        tables: JPEG tables that the tiles share.
        jpeg: Arguments to decode a tile with imagecodecs alone; None where tifffile is needed.
        packing: The same for lossless tiles.
    """

    offsets: Array
    counts: Array
    samples: int
    first: int
    decode: Callable[..., Any] | None
    tables: bytes | None
    jpeg: dict[str, Any] | None
    packing: Packing | None

    @cached_property
    def uniform(self) -> UniformTiles:
        """Tiles of one value that this process has decoded."""
        return UniformTiles()

    @property
    def absent(self) -> Array:
        """Whether each tile is not stored (sparse files), bool (tiles,); one with an offset and no bytes is damaged."""
        return np.asarray((self.counts == 0) & (self.offsets == 0))


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


def level_of(path: str, planes: list[Plane], *, decoders: bool) -> Level:
    """Return the level's tiles or strips, checked against its size before allocation.

    Args:
        path: The file, for errors.
        planes: Planes of the level.
        decoders: Make tifffile's decoders also where only odd tiles need them, which takes long.
    """
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
    parts = [part for plane in planes for part in _parts(path, plane, needed, decoders=decoders)]
    return Level(width, height, tile_width, tile_height, tuple(parts))


def _parts(path: str, plane: Plane, needed: int, *, decoders: bool) -> list[Part]:
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
    jpeg, packing = _jpeg(page), _packing(page)
    odd = (jpeg is None and packing is None) or not page.is_tiled  # the last strip is shorter
    needs = decoders or odd or not _is_loaded(page)
    decoding = page.decode if needs else None, getattr(plane.page, "jpegtables", None), jpeg, packing
    samples = 1 if separate else page.samplesperpixel
    return [
        Part(offsets[first : first + needed], counts[first : first + needed], samples, first, *decoding)
        for first in range(0, number * needed, needed)
    ]


def _is_loaded(page: Any) -> bool:
    """Return whether a decoder of this kind was made before; its first one imports codecs, see `load`."""
    kind = int(page.compression), int(page.predictor), int(page.fillorder), page.bitspersample
    known = kind in _loaded
    _loaded.add(kind)
    return known


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
    if int(page.compression) != 7 or page.bitspersample != 8:
        return None
    if page.planarconfig == 2 and page.samplesperpixel > 1:  # each plane is grey, which tifffile overlooks
        return {"tables": page.jpegtables, "colorspace": 1, "outcolorspace": 1}
    if int(page.photometric) in (0, 1) and page.samplesperpixel == 3 and not page.is_jfif:
        if not page.is_tiled:
            raise ReadError(f"{page.parent.filename}: JPEG strips of 3 bands that are no colours; save it in tiles")
        # tifffile takes them for YCbCr, and makes RGB of it
        return {"tables": page.jpegtables, "colorspace": 3, "outcolorspace": 3}
    if not page.is_tiled:
        return None
    tags = page.photometric, page.planarconfig, page.extrasamples, page.is_jfif
    inside, outside = jpeg_decode_colorspace(*tags)
    return {"tables": page.jpegtables, "colorspace": inside, "outcolorspace": outside}


def _packing(page: Any) -> Packing | None:
    """Return the lossless compression of tiles or strips whose samples are whole bytes or single bits."""
    codec, bits = CODECS.get(int(page.compression)), page.bitspersample
    if codec is None or bits not in (1, 8, 16, 32, 64) or int(page.predictor) not in (1, 2):
        return None
    if page.dtype is None or (bits == 1) != (page.dtype == bool) or (bits == 1 and int(page.predictor) == 2):
        return None
    if page.dtype.kind == "f" and int(page.predictor) == 2:
        return None  # differences of floats are those of their bits
    load(codec, *(["delta"] if int(page.predictor) == 2 else []), *(["bitorder"] if int(page.fillorder) == 2 else []))
    dtype = page.dtype.newbyteorder(page.parent.byteorder)
    return Packing(codec, dtype, int(page.predictor) == 2, int(page.fillorder) == 2)
