"""The one seam to files: pixels of a window, whatever the source.

Only numpy is imported here; each source imports its library at the first use.
"""

from patchaug.core.memory.arena import kept
from patchaug.readers.annotations.polygon_mask import PolygonRaster
from patchaug.readers.array import ArrayRaster
from patchaug.readers.base import Raster
from patchaug.readers.open import SUFFIXES, open_raster
from patchaug.readers.open_mask import open_mask
from patchaug.readers.openslide import OpenSlideRaster
from patchaug.readers.tiff.reader import TiffRaster
from patchaug.readers.whole_image import ImageRaster
from patchaug.readers.zarr.reader import ZarrRaster
from patchaug.readers.zarr.store import is_zarr

__all__ = [
    "SUFFIXES",
    "ArrayRaster",
    "ImageRaster",
    "OpenSlideRaster",
    "PolygonRaster",
    "Raster",
    "TiffRaster",
    "ZarrRaster",
    "is_zarr",
    "kept",
    "open_mask",
    "open_raster",
]
