"""Readers: one seam between patchaug and files. A reader opens a source as a `Raster`, which reads windows.

Only numpy is imported here; each reader imports its library at the first use. Readers of other formats than TIFF are
themselves imported then.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from patchaug.core.memory.arena import cached_bytes
from patchaug.readers.array import ArrayRaster
from patchaug.readers.base import Raster, downsamples, require_inside
from patchaug.readers.builtin import register_builtin
from patchaug.readers.file import FileRaster, UnsupportedError
from patchaug.readers.hooks import codec_of, missing_tiles, path_of, tile_size, uncached
from patchaug.readers.open import open_mask, open_raster
from patchaug.readers.registry import known_suffixes, register_reader, unregister_reader
from patchaug.readers.tiff.reader import TiffRaster
from patchaug.readers.tile_grid import Layout, TileGrid
from patchaug.readers.tiled import TiledRaster
from patchaug.readers.zarr.store import is_zarr

if TYPE_CHECKING:
    from patchaug.readers.annotations.polygon_mask import PolygonRaster
    from patchaug.readers.openslide import OpenSlideRaster
    from patchaug.readers.whole_image import ImageRaster
    from patchaug.readers.zarr.reader import ZarrRaster

_LAZY = {
    "ImageRaster": "patchaug.readers.whole_image",
    "OpenSlideRaster": "patchaug.readers.openslide",
    "PolygonRaster": "patchaug.readers.annotations.polygon_mask",
    "ZarrRaster": "patchaug.readers.zarr.reader",
}

__all__ = [
    "ArrayRaster",
    "FileRaster",
    "ImageRaster",
    "Layout",
    "OpenSlideRaster",
    "PolygonRaster",
    "Raster",
    "TiffRaster",
    "TileGrid",
    "TiledRaster",
    "UnsupportedError",
    "ZarrRaster",
    "cached_bytes",
    "codec_of",
    "downsamples",
    "is_zarr",
    "known_suffixes",
    "missing_tiles",
    "open_mask",
    "open_raster",
    "path_of",
    "register_reader",
    "require_inside",
    "tile_size",
    "uncached",
    "unregister_reader",
]

register_builtin()

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name not in _LAZY:
            raise AttributeError(f"module 'patchaug.readers' has no attribute {name!r}")
        found = globals()[name] = getattr(import_module(_LAZY[name]), name)
        return found
