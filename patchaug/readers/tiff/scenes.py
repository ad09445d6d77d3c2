"""Choose the picture to read from a TIFF that holds several, and list the planes that it consists of."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from patchaug.errors import OptionError, ReadError

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPageSeries

Scene = int | str

_BESIDE = re.compile(r"label|macro|thumb|overview|preview", re.IGNORECASE)  # pictures beside the slide itself
_CHANNEL_AXES = frozenset("CS")
_NAMES = {"Z": "depth", "T": "time"}


@dataclass(frozen=True)
class Plane:
    """One page of a level, or one plane of a page that holds several contiguous ones.

    Attributes:
        page: The page, or its frame.
        skipped: Bytes of planes before this one in the page.
    """

    page: Any
    skipped: int = 0


def choose_scene(path: str, tiff: TiffFile, scene: Scene | None, *, mask: bool = False) -> int:
    """Return the number of the picture to read.

    Args:
        path: The file, for errors.
        tiff: The open file.
        scene: Number or name; None for the only full picture.
        mask: Whether the file is a mask, which changes the cure in errors.

    Raises:
        OptionError: There is no such picture.
        ReadError: Several pictures are full ones; the text lists them all.
    """
    every = list(tiff.series)
    if isinstance(scene, str) and scene not in (one.name for one in every) and scene.isdecimal():
        scene = int(scene)
    if scene is not None:
        found = [n for n, one in enumerate(every) if one.name == scene] if isinstance(scene, str) else [scene]
        if len(found) != 1 or not 0 <= found[0] < len(every):
            raise OptionError(f"{path}: there is no single series {scene!r}; it holds {_listed(every)}")
        return found[0]
    full = [number for number, one in enumerate(every) if not _is_beside(one)]
    if len(full) == 1:
        return full[0]
    numbers = full or range(len(every))
    first = next(iter(numbers))
    cure = "save the wanted one as a file of its own" if mask else f"choose one, such as series={first}"
    raise ReadError(f"{path}: holds {len(every)} pictures ({_listed(every)}), and a slide is one; {cure}")


def _listed(every: list[TiffPageSeries]) -> str:
    return ", ".join(f"{number} {_describe(one)}" for number, one in enumerate(every))


def _describe(series: TiffPageSeries) -> str:
    name = f"{series.name!r} " if series.name else ""
    width, height = (series.shape[series.axes.find(axis)] for axis in "XY")
    return f"{name}{width} x {height} px"


def _is_beside(series: TiffPageSeries) -> bool:
    """Return whether a picture is a label, a macro, a thumbnail, or an internal mask."""
    page: Any = series.keyframe
    return bool(_BESIDE.search(series.name)) or page.is_mask or bool(page.is_reduced and len(series.levels) == 1)


def planes_of(path: str, tiff: TiffFile, level: TiffPageSeries) -> list[Plane]:
    """Return the planes of a level, in the file's order.

    Raises:
        ReadError: A plane is missing, or lies in another file.
    """
    page: Any = level.keyframe
    pages = list(level.pages)
    if any(one is None for one in pages):
        raise ReadError(f"{path}: {sum(one is None for one in pages)} of its planes are missing; copy it again")
    if any(one.parent is not tiff for one in pages if one is not None):
        raise ReadError(f"{path}: its planes lie in several files; save the picture as one file")
    number = math.prod(level.shape) // math.prod(page.shape)
    if number == len(pages):
        return [Plane(one) for one in pages]
    contiguous = len(pages) == 1 and not page.is_tiled and int(page.compression) == 1 and page.is_contiguous
    if not contiguous:
        raise ReadError(f"{path}: {number} planes (shape {level.shape}, axes {level.axes}) in {len(pages)} pages")
    return [Plane(page, index * page.nbytes) for index in range(number)]


def plane_names(series: TiffPageSeries) -> list[str] | None:
    """Return the names of planes along axes that are not channels, such as "Z0 C1"; None where there are none."""
    axes = [(axis, length) for axis, length in zip(series.axes, series.shape, strict=True) if axis not in "YXS"]
    if all(axis in _CHANNEL_AXES or length == 1 for axis, length in axes):
        return None
    names = [""]
    for axis, length in axes:
        if length > 1:
            names = [f"{name} {axis}{index}".strip() for name in names for index in range(length)]
    return names


def stack_error(path: str, series: TiffPageSeries, names: list[str], *, mask: bool) -> ReadError:
    """Return the error for a picture whose planes are no channels, where none is chosen."""
    cure = "save the wanted plane as a TIFF of its own"
    if not mask:
        cure = f"choose planes, such as channels=[0] or channels={names[:2]}"
    return ReadError(
        f"{path}: holds a stack of {len(names)} pictures (shape {series.shape}, axes {series.axes}), and a slide is "
        f"one; {cure}"
    )
