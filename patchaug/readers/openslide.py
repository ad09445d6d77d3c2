"""Slide formats of the scanner makers, through OpenSlide."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from patchaug.core.arguments import names_arguments_of_init
from patchaug.core.arrays import Array
from patchaug.core.windows import Window
from patchaug.errors import ReadError
from patchaug.readers.base import Sizes, require_inside
from patchaug.readers.file import UnsupportedError, describe
from patchaug.readers.file_handles import discard, get_or_open
from patchaug.readers.identity import Identity, identify_file, identify_folder
from patchaug.readers.openslide_origins import SIDE, Piece, pieces
from patchaug.readers.tiff.preflight import TILE_LIMIT
from patchaug.readers.tile_grid import Layout, TileGrid
from patchaug.readers.tiled import TiledRaster

if TYPE_CHECKING:
    from openslide import OpenSlide, OpenSlideCache

CACHE_BYTES = 32 << 20  # one cache for all slides of a process; without it each slide grows by as much


_caches: dict[int, OpenSlideCache] = {}  # by process id: a fork must not use, nor free, its parent's


@dataclass(frozen=True)
class _SlideInfo:
    """Header of a slide, in the frame of its bounds."""

    layout: Layout  # blocks that are kept as tiles are elsewhere
    downsamples: tuple[float, ...]
    offsets: Sizes  # pixels (x, y) of each level of the file before the first of the frame
    truncates: bool  # whether origins are rounded down to the level's grid
    mpp: tuple[float, float] | None
    background: tuple[int, int, int]
    holes: bool  # whether places may be left out: blocks then keep transparency as a fourth channel


class _NoRoomError(Exception):
    """Raised where a block has no room in the cache."""


@names_arguments_of_init
class OpenSlideRaster(TiledRaster):
    """Slide that OpenSlide reads, as uint8 (height, width, 3).

    Args:
        path: The file. It is opened at the first use in each process.
        name: Name in errors about windows; by default the file's name.
        ram: Bytes of decoded pixels that may be kept, see `TiledRaster`: in blocks of `SIDE` px of a level, each of
            which is read whole when a window first touches it. With 0, windows alone are read.

    The slide is the rectangle of `openslide.bounds-x`, `-y`, `-width` and `-height` where the file has them (MRXS, SCN,
    CZI), and coordinates count from its corner, at each level from the pixel nearest to it: masks and polygons belong
    to that frame. Where the scanner recorded nothing, pixels have the slide's background colour.

    Windows of level 0, and of all levels whose downsample is a whole number, hold the pixels as they are stored. So do
    those of other levels, `LOOK_BACK` pixels more being read where need be, but for downsamples very near a small
    fraction: see `patchaug.readers.openslide_origins.pieces` for where, and how far off. Of a Leica SCN file with
    several scanned areas and such a level, what lies right of or below the beginning of an area may be one pixel off.

    Examples:
        >>> from patchaug import Window
        >>> from patchaug.readers import OpenSlideRaster
        >>> raster = OpenSlideRaster("slides/slide0.tiff")
        >>> raster.read(Window(10, 20, 64, 32)).shape
        (32, 64, 3)
    """

    _lazy = (*TiledRaster._lazy, "_parsed")

    def __init__(self, path: str | os.PathLike[str], *, name: str | None = None, ram: int = 0) -> None:
        super().__init__(path, name=name, ram=ram)
        self._parsed: _SlideInfo | None = None

    @property
    def _info(self) -> _SlideInfo:
        if self._parsed is None:
            slide = self._slide()
            try:
                self._parsed = _read_info(slide)
            except Exception as error:  # also bounds that are no numbers, or leave the slide
                discard(self._key)
                why = str(error) if isinstance(error, ReadError) else describe(error)
                raise ReadError(f"{self.path}: OpenSlide cannot read its header ({why})") from error
        return self._parsed

    def read_layout(self) -> Layout:
        """Return the blocks in which pixels are cached."""
        return self._info.layout

    @property
    def level_downsamples(self) -> tuple[float, ...]:
        """Level-0 pixels per pixel of each level."""
        return self._info.downsamples

    @property
    def mpp(self) -> tuple[float, float] | None:
        """Micrometres per pixel at level 0 as (x, y); None if the file does not store it."""
        return self._info.mpp

    @property
    def channels(self) -> int:
        """Number of channels."""
        return 3

    @property
    def complete(self) -> bool:
        """Whether every pixel is known to be valid: the format stores all of its tiles."""
        return not self._info.holes

    def read(self, window: Window) -> Array:
        """Read a window; transparent pixels get the slide's background colour.

        Raises:
            WindowError: The window leaves its level, or the level does not exist. (OpenSlide would return black.)
            ReadError: OpenSlide cannot read it, in a handle opened afresh too.
        """
        return self.read_valid(window)[0]

    def read_valid(self, window: Window) -> tuple[Array, Array | None]:
        """Read a window, and which of its pixels were scanned, bool (height, width); None where all were."""
        stored = self._stored(window)
        if stored.shape[2] == 3:
            return stored, None
        valid = stored[..., 3] > 0
        return np.array(stored[..., :3], order="C"), None if valid.all() else valid

    def _stored(self, window: Window) -> Array:
        """Read a window, with transparency where places may be left out."""
        if self.ram:
            try:
                return super().read(window)
            except (_NoRoomError, ReadError):  # of a block: perhaps in a part of it that the window does not touch
                pass
        require_inside(self.name, self.level_dimensions, window)
        return self._region(window)

    def decode_tile(self, level: int, number: int, window: Window) -> Array:
        """Read one block, uint8 (rows, columns, 3), or 4 with transparency."""
        grid = self.layout.grids[level]
        x, y = number % grid.across * grid.tile_width, number // grid.across * grid.tile_height
        size = min(grid.tile_width, grid.width - x), min(grid.tile_height, grid.height - y)
        return self._region(Window(x, y, *size, level))

    def decode_rows(self, level: int, number: int, window: Window, rows: int) -> Array:
        """Raise, because reading the window alone is faster than reading its blocks."""
        raise _NoRoomError

    def _region(self, window: Window) -> Array:
        """Read a window that is known to be inside, into a new array."""
        info, level = self._info, window.level

        def parts(by_block: bool) -> list[list[Piece]]:
            ends = (window.x, window.right), (window.y, window.bottom)
            options = {"truncates": info.truncates, "by_block": by_block}
            return [pieces(info.downsamples[level], info.offsets[level][k], *ends[k], **options) for k in (0, 1)]

        across, down = parts(by_block=False)
        if not all(piece.exact for piece in (*across, *down)):
            across, down = parts(by_block=True)
        if len(across) == len(down) == 1:
            region = self._piece(across[0], down[0], window)
        else:
            rows = [np.concatenate([self._piece(x, y, window) for x in across], axis=1) for y in down]
            region = np.concatenate(rows, axis=0)
        self.require_unchanged()  # OpenSlide reads by the path, which may have shown another file in between
        return region

    def _piece(self, x: Piece, y: Piece, window: Window) -> Array:
        """Read a part of a window from its own origin."""
        l0_origin = x.l0_origin, y.l0_origin
        size = x.before + x.stop - x.start, y.before + y.stop - y.start
        try:
            rgba = self._rgba(l0_origin, window.level, size)
        except Exception:
            discard(self._key)
            try:
                rgba = self._rgba(l0_origin, window.level, size)
            except ReadError:  # the file has changed, or is gone
                raise
            except Exception as error:
                discard(self._key)
                raise ReadError(
                    f"{self.path}: OpenSlide cannot read level {window.level}, window x={window.x} y={window.y} "
                    f"{window.width} x {window.height} ({describe(error)}); copy or export the file again"
                ) from error
        return _composite(rgba[y.before :, x.before :], self._info.background, alpha=self._info.holes)

    def _rgba(self, l0_origin: tuple[int, int], level: int, size: tuple[int, int]) -> Array:
        return np.asarray(self._slide().read_region(l0_origin, level, size))

    def identity(self) -> Identity | None:
        """Return what identifies the pixels: the file, and the folder of a MIRAX; None for other slides of files."""
        suffix = os.path.splitext(self.path)[1].lower()
        if suffix in (".dcm", ".vms", ".vmu"):
            return None
        folder = identify_folder(os.path.splitext(self.path)[0]) if suffix == ".mrxs" else ()
        return "openslide", identify_file(self.path), folder, repr(self.layout), self.require_unchanged()[:2]

    @property
    def _key(self) -> tuple[object, ...]:
        return "openslide", self.path, self._fingerprint

    def _slide(self) -> OpenSlide:
        if self._fingerprint is None:
            self.require_unchanged()
        return get_or_open(self._key, self._open)

    def _open(self) -> OpenSlide:
        from openslide import OpenSlide, OpenSlideCache, OpenSlideUnsupportedFormatError

        self.require_unchanged()
        try:
            slide = OpenSlide(self.path)
        except OpenSlideUnsupportedFormatError:
            raise UnsupportedError(f"{self.path}: no format that OpenSlide knows") from None
        except Exception as error:
            raise UnsupportedError(f"{self.path}: OpenSlide cannot open it ({describe(error)})") from error
        pid = os.getpid()
        if pid not in _caches:
            _caches[pid] = OpenSlideCache(CACHE_BYTES)
        slide.set_cache(_caches[pid])
        return slide


def _read_info(slide: OpenSlide) -> _SlideInfo:
    properties = slide.properties
    try:
        x, y = (float(properties[f"openslide.mpp-{axis}"]) for axis in "xy")
    except (KeyError, ValueError):
        x = y = 0.0
    mpp = (x, y) if all(math.isfinite(v) and v > 0 for v in (x, y)) else None
    red, green, blue = bytes.fromhex(properties.get("openslide.background-color", "FFFFFF"))
    sizes, offsets = _bounded_levels(properties, slide.level_dimensions, slide.level_downsamples)
    for level in range(len(sizes)):
        across, down = (int(properties.get(f"openslide.level[{level}].tile-{side}", 1)) for side in ("width", "height"))
        if across * down > TILE_LIMIT:
            raise ReadError(
                f"tiles of {across} x {down} px on level {level} are above the limit of {TILE_LIMIT >> 20} Mpx; "
                f"save it with tiles of 256 px"
            )
    grids = tuple(TileGrid(w, h, min(w, SIDE), min(h, SIDE)) for w, h in sizes)
    vendor = properties.get("openslide.vendor")
    # Aperio SVS and Hamamatsu NDPI store all tiles; other formats may leave some out.
    whole = vendor == "aperio" or (vendor == "hamamatsu" and any(key.startswith("tiff.") for key in properties))
    return _SlideInfo(
        Layout(grids, np.dtype(np.uint8), (3 if whole else 4,)), slide.level_downsamples, offsets, vendor == "leica",
        mpp, (red, green, blue), not whole,
    )  # fmt: skip


def _bounded_levels(properties: Mapping[str, str], sizes: Sizes, downsamples: tuple[float, ...]) -> tuple[Sizes, Sizes]:
    """Return the sizes and the offsets of the levels within the slide's bounds, rounded to pixels."""
    whole = (0, 0, *sizes[0])
    names = ("x", "y", "width", "height")
    x, y, width, height = (int(properties.get(f"openslide.bounds-{k}", v)) for k, v in zip(names, whole, strict=True))
    if min(x, y, width - 1, height - 1) < 0 or x + width > sizes[0][0] or y + height > sizes[0][1]:
        raise ValueError(f"bounds x={x} y={y} {width} x {height} leave its {sizes[0][0]} x {sizes[0][1]} px")
    sizes_in_bounds, offsets = [], []
    for size, downsample in zip(sizes, downsamples, strict=True):
        left, across = _bounded_axis(x, width, sizes[0][0], size[0], downsample)
        top, down = _bounded_axis(y, height, sizes[0][1], size[1], downsample)
        sizes_in_bounds.append((across, down))
        offsets.append((left, top))
    return tuple(sizes_in_bounds), tuple(offsets)


def _bounded_axis(l0_start: int, l0_length: int, l0_side: int, side: int, downsample: float) -> tuple[int, int]:
    """Return the offset and the length of the bounds along one axis of a level."""
    if l0_length == l0_side:
        return 0, side
    start = min(round(l0_start / downsample), side - 1)
    return start, min(max(round(l0_length / downsample), 1), side - start)


def _composite(rgba: Array, background: tuple[int, int, int], *, alpha: bool) -> Array:
    """Blend RGBA uint8 (h, w, 4) onto a colour; returns a new uint8 (h, w, 3), or with the alpha itself (h, w, 4)."""
    opacity = rgba[..., 3:]
    if opacity.min() == 255:
        return np.array(rgba if alpha else rgba[..., :3], order="C")
    wide = rgba.astype(np.uint16)
    mixed = wide[..., :3] * opacity + np.asarray(background, np.uint16) * (255 - wide[..., 3:])
    colours = ((mixed + 127) // 255).astype(np.uint8)
    return np.concatenate([colours, opacity], axis=2) if alpha else colours
