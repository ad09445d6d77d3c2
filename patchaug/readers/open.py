"""Open images and masks with the first reader that supports them."""

from __future__ import annotations

import os
from typing import Any

from patchaug.core.arrays import Array
from patchaug.readers.base import Raster
from patchaug.readers.registry import open_registered


def open_raster(
    source: Raster | Array | str | os.PathLike[str], *, mask: bool = False, ram: int = 0, name: str | None = None
) -> Raster:
    """Open a source as a raster; reads headers only.

    Args:
        source: A raster (returned unchanged), a numpy array (channels last), a torch tensor (channels first or last,
            if its shape is unambiguous), the path of a file or of a zarr folder, a `zarr.Array` or `zarr.Group` on
            disk, or anything that a reader registered by `register_reader` takes.
        mask: Read one integer per pixel, exactly as stored, instead of colours.
        ram: Budget in bytes for decoded pixels. Files that are decoded whole (PNG, JPEG, BMP, stripped TIFF) must
            fit into it.
        name: Name in errors; by default the file's name, or "array".

    Returns:
        The raster. Images are uint8 (height, width) or (height, width, 3); masks are integers (height, width).

    Raises:
        MissingError: The file does not exist.
        ReadError: No reader supports the file, or its pixels do not fit into `ram`.
        OptionError: The source has an unsupported type, dtype or shape, or is a zarr array that is not on disk.

    Example:
        >>> import numpy as np
        >>> from patchaug import Window
        >>> from patchaug.readers import open_raster
        >>> raster = open_raster(np.zeros((40, 60, 3), np.uint8))
        >>> raster.level_dimensions
        ((60, 40),)
        >>> raster.read(Window(10, 20, 8, 4)).shape
        (4, 8, 3)
    """
    if isinstance(source, Raster):
        return source
    return open_registered(source, {"mask" if mask else "image": {"ram": ram, "name": name}})


def open_mask(
    source: Any,
    sizes: tuple[tuple[int, int], ...],
    *,
    codes: Any = None,
    ignore_index: int | None = None,
    ram: int = 0,
) -> Raster:
    """Open a mask; annotations are parsed and checked here, of other files only the header is read.

    Args:
        source: What `open_raster` takes; or a GeoJSON or ASAP file, parsed GeoJSON, or an object with
            `__geo_interface__`.
        sizes: (width, height) of the image's levels, finest first.
        codes: Class names, in the order of the mask's integers; required for polygons.
        ignore_index: Integer of the mask that means "no label".
        ram: Budget in bytes for decoded pixels, see `open_raster`.

    Returns:
        The raster; integers (height, width).

    Raises:
        PatchaugError: See `open_raster` and `PolygonRaster`.

    Example:
        >>> import numpy as np
        >>> from patchaug.readers import open_mask
        >>> open_mask(np.ones((40, 60), np.uint8), ((60, 40),)).level_dimensions
        ((60, 40),)
    """
    if isinstance(source, Raster):
        return source
    frame = {"sizes": sizes, "codes": codes, "ignore_index": ignore_index, "name": None}
    return open_registered(source, {"annotations": frame, "mask": {"ram": ram, "name": None}})
