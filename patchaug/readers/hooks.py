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
- `channels`, `dtype`: number of channels and type of its pixels; else one pixel is read to find out.
- `channel_names`: name of each channel, or None.
- `read_valid(window)`: the pixels, and whether each is valid, bool (height, width) or None where all are.
- `read_validity(window)`: the latter alone, where it needs no pixels.
- `identity()`: what identifies its pixels across runs, a tuple, see `patchaug.readers.identity`; indexes of labels are
  kept on disk for such rasters alone.
- `read_ahead(window)`: start to fetch a window that will be read soon, and return at once.
- `complete`: True where every pixel is known to be valid; by default only of rasters without `read_valid`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from patchaug.core.arguments import names_arguments
from patchaug.core.arrays import Array
from patchaug.core.windows import Window
from patchaug.errors import WindowError
from patchaug.readers.base import Raster

BLOCK = 1024  # pixels; side of a tile for rasters without `tile_size`


def path_of(raster: Raster) -> str | None:
    """Return the absolute path of the raster's file; None where it has none.

    Examples:
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


@names_arguments
def tile_size(raster: Raster, level: int) -> tuple[int, int]:
    """Return (width, height) of the storage tiles of a level; by default `BLOCK` x `BLOCK` pixels."""
    hook = getattr(raster, "tile_size", None)
    if hook is None:
        return BLOCK, BLOCK
    levels = len(raster.level_dimensions)
    if not -levels <= level < levels:
        raise WindowError(f"{raster.name}: there is no level {level}; it has levels 0 to {levels - 1}")
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


def channel_count(raster: Raster) -> int:
    """Return the number of channels; by default that of one pixel."""
    channels = getattr(raster, "channels", None)
    if isinstance(channels, int):
        return channels
    pixels = raster.read(Window(0, 0, 1, 1))
    return int(pixels.shape[2]) if pixels.ndim == 3 else 1


def dtype_of(raster: Raster) -> np.dtype[Any]:
    """Return the type of the pixels; by default that of one pixel."""
    dtype = getattr(raster, "dtype", None)
    return dtype if isinstance(dtype, np.dtype) else raster.read(Window(0, 0, 1, 1)).dtype


def channel_names(raster: Raster) -> tuple[str, ...] | None:
    """Return the names of the channels; None where there are none."""
    names = getattr(raster, "channel_names", None)
    return None if names is None else tuple(str(name) for name in names)


def read_valid(raster: Raster, window: Window) -> tuple[Array, Array | None]:
    """Read a window, and whether each of its pixels is valid; by default all of them are."""
    hook = getattr(raster, "read_valid", None)
    if hook is None:
        return raster.read(window), None
    pixels, valid = hook(window)
    return pixels, valid


def read_validity(raster: Raster, window: Window) -> Array | None:
    """Return whether each pixel of a window is valid, bool (height, width); None where all are."""
    hook = getattr(raster, "read_validity", None)
    valid: Array | None = read_valid(raster, window)[1] if hook is None else hook(window)
    return valid


def read_ahead(raster: Raster, window: Window) -> None:
    """Announce a window that will be read soon, see `Slide.read_ahead`; by default nothing is done."""
    hook = getattr(raster, "read_ahead", None)
    if hook is not None:
        hook(window)


def all_valid(raster: Raster) -> bool:
    """Return whether every pixel of a raster is known to be valid, without reading any."""
    complete = getattr(raster, "complete", None)
    return not hasattr(raster, "read_valid") if complete is None else bool(complete)
