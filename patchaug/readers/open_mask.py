"""Masks of all kinds: pictures of class numbers, and polygons in the frame of an image."""

from __future__ import annotations

import os
import warnings
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from patchaug.readers.annotations.polygon_mask import PolygonRaster
from patchaug.readers.base import Raster, Sizes
from patchaug.readers.file import fingerprint
from patchaug.readers.open import open_raster
from patchaug.readers.zarr.store import is_zarr


def open_mask(
    source: Any, sizes: Sizes, *, codes: Sequence[str] | None = None, ignore_index: int | None = None, ram: int = 0
) -> Raster:
    """The raster of a mask; polygons are parsed and checked here, of all else only the header is read.

    Args:
        source: What `open_raster` takes; or a GeoJSON or ASAP file, or parsed GeoJSON.
        sizes: (width, height) of the image's levels, finest first.
        codes: Class names; polygons need them.
        ignore_index: Integer that means "no label".
        ram: See `open_raster`.

    Raises:
        PatchaugError: See `open_raster` and `PolygonRaster`.
    """
    source = getattr(source, "__geo_interface__", source)
    if isinstance(source, (Mapping, list)) or (isinstance(source, (str, os.PathLike)) and _is_text(source)):
        polygons = PolygonRaster(source, sizes, codes=codes, ignore_index=ignore_index)
        if outside := polygons.outside():
            warnings.warn(
                f"{polygons.what}: {len(outside)} of {len(polygons.polygons.values)} polygons lie outside the image "
                f"and are not drawn",
                stacklevel=3,
            )
        return polygons
    return open_raster(source, mask=True, ram=ram)


def _is_text(path: str | os.PathLike[str]) -> bool:
    """Whether a file holds JSON or XML, packed by gzip or not; by its first bytes, whatever it is called."""
    if is_zarr(path):
        return False
    fingerprint(os.fsdecode(path))
    try:
        with open(path, "rb") as file:
            head = file.read(4096)
    except OSError:
        return False  # open_raster says why
    if head.startswith(b"\x1f\x8b"):
        try:
            head = zlib.decompressobj(wbits=31).decompress(head, 64)
        except zlib.error:
            return True  # no picture begins so; the parser says what is wrong
    return head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"[", b"<")
