"""Data URLs for a browser: a slide as a pyramid of JPEG tiles, and maps of it as PNG."""

from __future__ import annotations

from base64 import b64encode
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from patchaug.core.arrays import Array
from patchaug.core.palette import class_colours, sequential_colour
from patchaug.slides.slide import Patch
from patchaug.slides.thumbnail import reduced
from patchaug.viz.compare import resized_for_display

TILE = 512  # side of a tile of the pyramid, pixels
_QUALITY = 82  # of JPEG: no visible blocks, a tenth of the size of PNG


def pyramid(image: Array) -> list[dict[str, Any]]:
    """Encode an image at full size, half of it, and so on down to a single tile.

    Args:
        image: uint8 (height, width) or (height, width, channels).

    Returns:
        For each level, from the finest: `factor` (pixels of the image per pixel), `columns`, and `tiles`, data URLs
        in reading order.
    """
    part = resized_for_display(Patch(image, None), image.shape[1])[0]
    levels, factor = [], 1
    while True:
        height, width = part.shape[:2]
        tiles = [
            data_url(Image.fromarray(np.ascontiguousarray(part[y : y + TILE, x : x + TILE])), "JPEG", quality=_QUALITY)
            for y in range(0, height, TILE)
            for x in range(0, width, TILE)
        ]
        levels.append({"factor": factor, "columns": -(-width // TILE), "tiles": tiles})
        if max(height, width) <= TILE:
            return levels
        part, factor = reduced(Patch(part, None), 2).image, factor * 2


def class_map_png(mask: Array, ignore_index: int | None) -> str:
    """Encode a mask in the colours of its classes as a data URL; class 0 is transparent.

    Args:
        mask: Class numbers, integer (height, width).
        ignore_index: Integer that means "no label".
    """
    return data_url(Image.fromarray(class_colours(mask, ignore_index)), "PNG", optimize=True)


def heat_map_png(counts: Array) -> str:
    """Encode a heat map from 0 (dark blue) to the maximum (yellow) as a data URL.

    Args:
        counts: Numbers of 0 or more, (height, width).
    """
    colours = np.array([sequential_colour(step / 255) for step in range(256)], np.uint8)
    steps = (counts * (255 / max(float(counts.max()), 1e-300))).round().astype(np.uint8)
    return data_url(Image.fromarray(colours[steps]), "PNG", optimize=True)


def fraction_png(values: Array) -> str:
    """Encode fractions from 0 (transparent) over dark blue to 1 (yellow) as a data URL.

    Args:
        values: Numbers of 0 to 1, (height, width).
    """
    colours = np.array([(*sequential_colour(step / 255), min(4 * step, 255)) for step in range(256)], np.uint8)
    steps = (np.clip(values, 0, 1) * 255).round().astype(np.uint8)
    return data_url(Image.fromarray(colours[steps]), "PNG", optimize=True)


def data_url(image: Image.Image, kind: str, **options: Any) -> str:
    """Encode a picture as a data URL; options are Pillow's."""
    file = BytesIO()
    image.save(file, kind, **options)
    return f"data:image/{kind.lower()};base64,{b64encode(file.getvalue()).decode()}"
