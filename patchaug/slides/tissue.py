"""Tissue, for slides without a mask: Otsu's threshold on the saturation of a thumbnail.

Stained tissue is colourful, glass is not: N. Otsu, A Threshold Selection Method from Gray-Level Histograms, IEEE
Transactions on Systems, Man, and Cybernetics 9 (1979), on the S of HSV, as scikit-image has them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np

from patchaug.core.arrays import Array
from patchaug.core.windows import Window
from patchaug.errors import ForegroundError
from patchaug.readers import ArrayRaster
from patchaug.readers.hooks import uncached
from patchaug.readers.identity import Identity, identity_of
from patchaug.slides.class_raster import ClassRaster
from patchaug.slides.class_runs import ClassRuns
from patchaug.slides.index_tasks import IndexTask
from patchaug.slides.label_index import MaskReader, index_labels
from patchaug.slides.label_runs import Read
from patchaug.slides.labels import Labels
from patchaug.slides.mask_alignment import Alignment
from patchaug.slides.read_around import bounds_on
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
    return slide.label_index(tissue_kind(slide), level, lambda: tissue_task(slide, level))


def tissue_kind(slide: Slide) -> str:
    """Return the kind of the index of `tissue_labels`: a part of a slide has its own."""
    return "tissue" if slide.frame is None else f"tissue in {slide.frame}"


def tissue_task(slide: Slide, level: int) -> IndexTask:
    """Return what builds the index of `tissue_labels`."""
    return TissueIndex(slide.without_mask(), level)


@dataclass(frozen=True, eq=False)
class TissueIndex:
    """The tissue of a slide on a level; an `IndexTask`.

    Attributes:
        image: The slide, without its mask.
        level: The level.
    """

    image: Slide
    level: int

    @property
    def slide(self) -> str:
        """Name of the slide."""
        return self.image.name

    @property
    def pixels(self) -> int:
        """Pixels of the level that the thumbnail reads."""
        width, height = self.image.level_dimensions[thumbnail_level(self.image, _MAX_SIZE)[0]]
        return width * height

    def identity(self) -> Identity | None:
        """Return the identity of the image, the level, and the versions of what decodes pixels and finds tissue."""
        found = identity_of(self.image.image)
        if found is None:
            return None
        from importlib.metadata import version

        return tissue_kind(self.image), found, self.level, _MAX_SIZE, version("scikit-image")

    def __call__(self) -> Labels:
        """Build the index; see `tissue_labels` for its errors."""
        return _index_tissue(self.image, self.level)

    def facts(self) -> dict[str, Any]:
        """Return nothing."""
        return {}

    def accept(self, facts: Mapping[str, Any]) -> None:
        """Do nothing."""

    def reader(self) -> Read:
        """Return what reads nothing: the index keeps all runs."""
        return _read_nothing

    def for_other_process(self) -> TissueIndex | None:
        """Return the task with an uncached image; None where that is decoded whole, or is an array."""
        raster = uncached(self.image.image)
        if identity_of(raster) is None or getattr(raster, "needs_all", False):
            return None
        alone = Slide(raster, name=self.image.name, path=self.image.path)
        alone.frame = self.image.frame
        return replace(self, image=alone)


def _index_tissue(slide: Slide, level: int) -> Labels:
    image = thumbnail(slide, max_size=_MAX_SIZE)[0].image
    if image.shape[2] != 3:
        raise ForegroundError(
            f"{slide.name}: tissue is found by its colour, and the image has {image.shape[2]} channels, not 3; {_CURE}"
        )
    if (image < 0).any():
        raise ForegroundError(f"{slide.name}: tissue is found by its colour, and a channel is below 0; {_CURE}")
    mask = tissue_mask(image) if slide.frame is None else _within(slide, slide.frame, image)
    raster = ArrayRaster(mask, name=f"tissue of {slide.name}")
    # The thumbnail counts whole squares of a level; they need not be whole squares of level 0.
    read, factor = thumbnail_level(slide, _MAX_SIZE)
    scale = tuple(
        Fraction(l0_length * factor, length)
        for l0_length, length in zip(slide.dimensions, slide.level_dimensions[read], strict=True)
    )
    alignment = Alignment(slide.level_dimensions, raster.level_dimensions, (scale[0], scale[1]))
    reader = MaskReader(slide.name, ClassRaster(raster, None, None, slide.name), alignment, level, None)
    labels = index_labels(reader, limit=math.inf)  # all runs are kept, and so the picture is not
    assert isinstance(labels.runs, ClassRuns)
    return replace(labels, runs=labels.runs.with_read(_read_nothing))


def _within(slide: Slide, frame: Window, image: Array) -> Array:
    """Find the tissue in the frame of a slide, from its pixels of the thumbnail alone; elsewhere is none."""
    read, factor = thumbnail_level(slide, _MAX_SIZE)
    left, top, right, bottom = bounds_on(frame, slide.dimensions, slide.level_dimensions[read])
    here = slice(-(-top // factor), bottom // factor), slice(-(-left // factor), right // factor)
    found = np.zeros(image.shape[:2], np.uint8)
    if image[here].size:
        found[here] = tissue_mask(image[here])
    return found


def _read_nothing(x: int, y: int, width: int, height: int) -> Array:
    """Stand for the reader of an index that keeps all runs."""
    raise AssertionError("an index of tissue keeps all runs")
