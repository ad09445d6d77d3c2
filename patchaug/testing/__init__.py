"""Tools for the tests of patchaug and of its plugins.

Coordinate-coded images need only numpy. The strategies need hypothesis, and `RasterTests` needs pytest; both are
imported on first use.
"""

from importlib import import_module
from typing import Any

from patchaug.testing.coordinate_slides import (
    coordinate_image,
    coordinate_mask,
    decode_coordinates,
    mask_at,
    write_pyramid,
)

places = decode_coordinates  # the former name

_LAZY = {
    "RasterTests": "raster_contract",
    "masks": "strategies",
    "pipelines": "pipeline_strategies",
    "samplers": "strategies",
    "slides": "strategies",
    "windows": "strategies",
}

__all__ = ["coordinate_image", "coordinate_mask", "decode_coordinates", "mask_at", "places", "write_pyramid", *_LAZY]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"patchaug.testing.{_LAZY[name]}"), name)
