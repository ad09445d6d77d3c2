"""Tissue, for slides without a mask: Otsu's threshold on the saturation of a thumbnail.

Stained tissue is colourful, glass is not: N. Otsu, A Threshold Selection Method from Gray-Level Histograms, IEEE
Transactions on Systems, Man, and Cybernetics 9 (1979), on the S of HSV, as scikit-image has them.
"""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np

from patchaug.core.arrays import Array
from patchaug.errors import ForegroundError
from patchaug.readers import ArrayRaster
from patchaug.slides.class_raster import ClassRaster
from patchaug.slides.label_index import MaskReader, index_labels
from patchaug.slides.labels import Labels
from patchaug.slides.mask_alignment import Alignment
from patchaug.slides.slide import Slide
from patchaug.slides.thumbnail import thumbnail, thumbnail_level

TISSUE = 1  # its number among the labels; glass is 0
_CURE = 'give a mask, or draw everywhere: per_slide="area" or a number, and foreground=0'
_MAX_SIZE = 1024  # longer side of the thumbnail in pixels


def tissue_mask(image: np.ndarray[Any, np.dtype[Any]]) -> np.ndarray[Any, np.dtype[Any]]:
    """Find the tissue on a picture: uint8 (height, width), 1 for tissue.

    Args:
        image: uint8 (height, width, 3).

    A picture of one saturation has no tissue.
    """
    from skimage.color import rgb2hsv  # heavy, and only slides without mask need it
    from skimage.filters import threshold_otsu

    saturation = rgb2hsv(image)[..., 1]
    if saturation.min() == saturation.max():
        return np.zeros(saturation.shape, np.uint8)
    return np.asarray(saturation > threshold_otsu(saturation), np.uint8)  # type: ignore[no-untyped-call]


def tissue_labels(slide: Slide, level: int) -> Labels:
    """Return the label index of a slide's tissue on one of its levels; built once for each slide and level.

    Args:
        slide: The slide, in colours.
        level: Level of the image.

    Returns:
        The index; its one class is `TISSUE`.

    Raises:
        ForegroundError: The slide has no colours, or values below 0.
        WindowError: There is no such level.
        ReadError: The slide cannot be read.
    """
    return slide.label_index("tissue", level, lambda: _index_tissue(slide, level))


def _index_tissue(slide: Slide, level: int) -> Labels:
    image = thumbnail(slide, max_size=_MAX_SIZE)[0].image
    if image.shape[2] != 3:
        raise ForegroundError(
            f"{slide.name}: tissue is found by its colour, and the image has {image.shape[2]} channels, not 3; {_CURE}"
        )
    if (image < 0).any():
        raise ForegroundError(f"{slide.name}: tissue is found by its colour, and a channel is below 0; {_CURE}")
    raster = ArrayRaster(tissue_mask(image), name=f"tissue of {slide.name}")
    # The thumbnail counts whole squares of a level; they need not be whole squares of level 0.
    read, factor = thumbnail_level(slide, _MAX_SIZE)
    scale = tuple(
        Fraction(l0_length * factor, length)
        for l0_length, length in zip(slide.dimensions, slide.level_dimensions[read], strict=True)
    )
    alignment = Alignment(slide.level_dimensions, raster.level_dimensions, (scale[0], scale[1]))
    reader = MaskReader(slide.name, ClassRaster(raster, None, None, slide.name), alignment, level, None)
    labels = index_labels(reader, limit=math.inf)  # all runs are kept, and so the picture is not
    return replace(labels, runs={value: replace(runs, read=_read_nothing) for value, runs in labels.runs.items()})


def _read_nothing(x: int, y: int, width: int, height: int) -> Array:
    """Stand for the reader of an index that keeps all runs."""
    raise AssertionError("an index of tissue keeps all runs")
