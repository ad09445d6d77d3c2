"""TIFF files of this package: their Software tag says so, and only such files are replaced."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from patchaug.core.arrays import Array
from patchaug.core.atomic import atomic_write

SOFTWARE = "patchaug"
TILE = 256


def is_own_tiff(path: Path) -> bool:
    """Return True if the file is a TIFF that this package wrote."""
    import tifffile

    try:
        with tifffile.TiffFile(path) as tiff:
            return bool(tiff.pages.first.tags.valueof("Software") == SOFTWARE)
    except Exception:  # a broken file raises whatever the parser met first
        return False


def _tiles(level: Array) -> Iterator[Array]:
    for y in range(0, level.shape[0], TILE):
        for x in range(0, level.shape[1], TILE):
            tile = level[y : y + TILE, x : x + TILE]
            rest = [(0, TILE - tile.shape[0]), (0, TILE - tile.shape[1])] + [(0, 0)] * (tile.ndim - 2)
            yield np.ascontiguousarray(np.pad(tile, rest, "edge"))  # readers cut the padding


def write_own_tiff(path: Path, levels: list[Array], factors: Sequence[int], mpp: float, form: dict[str, Any]) -> None:
    """Write the levels of a slide with JPEG or deflate tiles, atomically."""
    import tifffile

    with atomic_write(path, "slide", replace=is_own_tiff) as temporary, tifffile.TiffWriter(temporary) as tiff:
        for factor, level in zip(factors, levels, strict=True):
            tiff.write(
                _tiles(level), shape=level.shape, dtype=np.uint8, tile=(TILE, TILE),
                resolution=(1e4 / (mpp * factor),) * 2, resolutionunit="CENTIMETER", metadata=None,
                subfiletype=0 if factor == 1 else 1, software=SOFTWARE, **form,
            )  # fmt: skip
