"""Headers of TIFF files: where each tile lies, how it is decoded, and whether it can be read here.

tifffile knows the tag tables of generic pyramids, SVS and OME-TIFF. It is asked once and closed again: no handle of it
is read from later, so none can cross a fork.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from patchaug.core.arrays import Array
from patchaug.errors import PatchaugError, ReadError
from patchaug.readers.base import Sizes
from patchaug.readers.channels import Channels
from patchaug.readers.file import UnsupportedError, describe, open_file
from patchaug.readers.georeference import Georeference
from patchaug.readers.tiff.colours import Interpretation, interpretation_of, require_mask
from patchaug.readers.tiff.levels import Level, level_of
from patchaug.readers.tiff.metadata import mpp_of, place_of
from patchaug.readers.tiff.missing_values import mask_pages, nodata_of
from patchaug.readers.tiff.preflight import require_sound
from patchaug.readers.tiff.scenes import Plane, Scene, choose_scene, plane_names, planes_of, stack_error
from patchaug.readers.urls import is_url

if TYPE_CHECKING:
    from tifffile import TiffFile

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

# Overlapping tiles, padded levels or several areas: OpenSlide knows how these makers lay their slides out.
_VENDORS = frozenset({"ndpi", "scn", "bif", "philips"})


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
        nodata: Value of pixels without data, a scalar of `dtype`, or None.
        inside: Header of GDAL's internal mask, whose levels have sizes of the picture's levels; or None.
    """

    levels: tuple[Level, ...]
    tiled: bool
    dtype: np.dtype[Any]
    colours: Interpretation
    mpp: tuple[float, float] | None
    codec: str
    georeference: Georeference | None = None
    white_is_0: bool = False
    nodata: Any = None
    inside: Header | None = None

    @cached_property
    def direct(self) -> bool:
        """Whether a decoded tile is what is read: one part, all samples, no palette."""
        return self.colours.plain and self.colours.palette is None and len(self.levels[0].parts) == 1

    @cached_property
    def parts(self) -> tuple[int, ...]:
        """Numbers of the parts of a level that hold samples that are read."""
        return tuple(sorted({sample // self.levels[0].parts[0].samples for sample in self.colours.samples}))

    @cached_property
    def missing(self) -> tuple[Array | None, ...]:
        """For each level, which tiles are not stored for any sample that is read, bool (tiles,); None for none."""
        found: list[Array | None] = []
        for level in self.levels:
            if any(level.parts[part].counts.all() for part in self.parts):  # of most files, without further arrays
                found.append(None)
                continue
            absent = np.logical_and.reduce([level.parts[part].absent for part in self.parts])
            found.append(absent if absent.any() else None)
        return tuple(found)

    @cached_property
    def complete(self) -> bool:
        """Whether every pixel is known to hold data."""
        marked = self.colours.alpha or self.nodata is not None or self.inside is not None
        return not marked and all(absent is None for absent in self.missing)

    @property
    def dimensions(self) -> Sizes:
        """(width, height) per level in pixels."""
        return tuple((level.width, level.height) for level in self.levels)


def is_tiff(head: bytes) -> bool:
    """Return whether a file that begins with `head` is TIFF or BigTIFF."""
    return head[:4] in MAGIC


def read_header(
    path: str, *, mask: bool, channels: Channels | None = None, series: Scene | None = None, decoders: bool = False
) -> Header:
    """Parse the tag tables of one picture and of its levels.

    Args:
        path: The file.
        mask: Whether it is read as a mask.
        channels: Channels to read, by number or name; None for all.
        series: Picture to read, by number or name; None for the only full one.
        decoders: Make `Part.decode` also where only odd tiles need it.

    Raises:
        UnsupportedError: Another reader may support the file.
        ReadError: Another reader would silently drop bits, channels or pages.
        OptionError: There is no such picture or channel.
    """
    import tifffile

    checked = require_sound(path)
    try:
        remote = open_file(path, whole=False) if is_url(path) else None
        with nullcontext() if remote is None else remote, tifffile.TiffFile(remote or path) as tiff:
            _require_general(path, tiff)
            scene = choose_scene(path, tiff, series, mask=mask)
            return _header(path, tiff, scene, mask=mask, channels=channels, decoders=decoders)
    except PatchaugError:
        raise
    except Exception as error:  # a broken header raises whatever the parser met first
        kind = ReadError if checked else UnsupportedError  # what is broken is not handed on
        raise kind(f"{path}: broken TIFF header ({describe(error)}); copy or export the file again") from error


def _header(path: str, tiff: TiffFile, scene: int, *, mask: bool, channels: Channels | None, decoders: bool) -> Header:
    series = tiff.series[scene]
    levels = [planes_of(path, tiff, level) for level in series.levels]
    first: Any = series.keyframe
    levels = _alike(path, levels, first)
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
    made = tuple(level_of(path, planes, decoders=decoders) for planes in levels)
    mpp = mpp_of(tiff, first, scene)
    header = Header(
        made, first.is_tiled, first.dtype, colours, mpp, _tag_name(first.compression), place_of(tiff, first, mpp),
        mask and int(first.photometric) == 0, nodata_of(path, first),
    )  # fmt: skip
    _require_tiles(path, tiff, header, mask=mask)
    inside = None if mask else _inside(path, tiff, first, header)
    return header if inside is None else replace(header, inside=inside)


def _inside(path: str, tiff: TiffFile, first: Any, header: Header) -> Header | None:
    """Return the header of the picture's internal mask, if there is one."""
    pages = mask_pages(path, tiff, first, header.dimensions)
    if not pages:
        return None
    levels = tuple(level_of(path, [Plane(page)], decoders=True) for page in pages)
    if any(_kind(page) != _kind(pages[0]) for page in pages):
        raise ReadError(f"{path}: the levels of its internal mask differ in dtype or tiling; write it again by GDAL")
    return Header(
        levels, pages[0].is_tiled, pages[0].dtype, Interpretation.all_of(1), None, _tag_name(pages[0].compression)
    )


def _require_tiles(path: str, tiff: TiffFile, header: Header, *, mask: bool) -> None:
    """Require that some tile of level 0 is stored, and all tiles of an Aperio slide."""
    if tiff.is_svs and any((part.counts == 0).any() for level in header.levels for part in level.parts):
        raise UnsupportedError(f"{path}: tiles are not stored, which OpenSlide takes from finer levels")
    absent = header.missing[0]
    if absent is not None and absent.all():
        cure = "for a slide without any object pass mask=0" if mask else "copy or export the file again"
        raise ReadError(f"{path}: all of its {len(absent)} tiles are missing: the header says 0 bytes for each; {cure}")


def _alike(path: str, levels: list[list[Plane]], first: Any) -> list[list[Plane]]:
    """Return the levels that are stored as level 0 is; GDAL's overviews of a picture in strips are tiled."""
    kinds = [{_kind(plane.page.keyframe) for plane in planes} for planes in levels]
    same = _kind(first)
    if kinds[0] != {same} or any(kind[:2] != same[:2] for found in kinds for kind in found):
        raise UnsupportedError(f"{path}: its levels differ in dtype or channels")
    return [planes for planes, found in zip(levels, kinds, strict=True) if found == {same}]


def _kind(page: Any) -> tuple[Any, int, int, bool]:
    samples = page.samplesperpixel
    return page.dtype, samples, int(page.planarconfig) if samples > 1 else 1, page.is_tiled


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
