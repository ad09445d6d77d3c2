"""The one seam to files: pixels of a window, whatever the source.

Only numpy is imported here; each source imports its library at the first use.
"""

from patchaug.rasters.arena import kept
from patchaug.rasters.array import ArrayRaster
from patchaug.rasters.base import Raster
from patchaug.rasters.image import ImageRaster
from patchaug.rasters.masks import open_mask
from patchaug.rasters.opening import SUFFIXES, open_raster
from patchaug.rasters.polygons import PolygonRaster
from patchaug.rasters.tiff import TiffRaster
from patchaug.rasters.vendor import OpenSlideRaster
from patchaug.rasters.zarr import ZarrRaster
from patchaug.rasters.zarrstore import is_zarr

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
