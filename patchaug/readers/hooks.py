"""Optional hooks of a raster, with the defaults for rasters that lack them.

A raster needs only the names of the protocol `Raster`. It may also define:

- `path`: absolute path of its file; the slide then takes its name from the raster.
- `codec`: how its tiles are compressed, or which library decodes them.
- `tile_size(level)`: (width, height) of its storage tiles in pixels of the level.
- `missing_tiles()`: (missing, total) number of storage tiles that its file leaves out.
- `uncached()`: the same raster without a cache of decoded tiles.
- `georeference`: a `Georeference`, the place of its pixels on the map.
- `holds_classes`: True for a mask whose values are class numbers already, whatever `codes` says of files.
- `exact_levels`: True for a mask whose coarser levels are the level-0 labels under the pixels' centres.
"""

from __future__ import annotations

from patchaug.readers.base import Raster

BLOCK = 1024  # pixels; side of a tile for rasters without `tile_size`


def path_of(raster: Raster) -> str | None:
    """Return the absolute path of the raster's file; None where it has none.

    Example:
        >>> import numpy as np
        >>> from patchaug.readers import ArrayRaster
        >>> from patchaug.readers.hooks import path_of
        >>> path_of(ArrayRaster(np.zeros((4, 4), np.uint8))) is None
        True
    """
    path: str | None = getattr(raster, "path", None)
    return path


def codec_of(raster: Raster) -> str:
    """Return how tiles are compressed; by default the class name without "Raster"."""
    codec: str = getattr(raster, "codec", type(raster).__name__.removesuffix("Raster"))
    return codec


def tile_size(raster: Raster, level: int) -> tuple[int, int]:
    """Return (width, height) of the storage tiles of a level; by default `BLOCK` x `BLOCK` pixels."""
    hook = getattr(raster, "tile_size", None)
    if hook is None:
        return BLOCK, BLOCK
    width, height = hook(level)
    return int(width), int(height)


def missing_tiles(raster: Raster) -> tuple[int, int]:
    """Return how many storage tiles the file leaves out, and how many there are; by default (0, 0)."""
    hook = getattr(raster, "missing_tiles", None)
    if hook is None:
        return 0, 0
    missing, total = hook()
    return int(missing), int(total)


def uncached(raster: Raster) -> Raster:
    """Return a raster of the same pixels that caches none; by default the raster itself."""
    hook = getattr(raster, "uncached", None)
    if hook is None:
        return raster
    other: Raster = hook()
    return other


def holds_classes(raster: Raster) -> bool:
    """Return whether a mask's values are class numbers already; by default they are those of a file."""
    return bool(getattr(raster, "holds_classes", False))


def exact_levels(raster: Raster) -> bool:
    """Return whether coarser levels hold the level-0 labels under their pixels' centres; by default unknown."""
    return bool(getattr(raster, "exact_levels", False))
