"""Cut slides in training and validation parts before loaders are made."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from patchaug.core.validation import SEED
from patchaug.data.slide_items import LazySlideItem, name_of, region_for, source_of
from patchaug.slides.open import open_slide
from patchaug.slides.slide import Slide
from patchaug.slides.split_region import Guard, split_region

Parts = list[tuple[Slide, Slide]]


def open_parts(
    pairs: Sequence[tuple[Any, Any]], *, valid: float = 0.2, guard: Guard = "auto", seed: int = SEED,
    region: Any = None, mpp: Any = None, **options: Any,
) -> tuple[Parts, Parts]:  # fmt: skip
    """Open slides and cut each in two parts, see `split_region`.

    Args:
        pairs: (image, mask) of each slide: paths, arrays, or an open slide twice.
        valid: Share of the pixels of each slide for validation.
        guard: Pixels of level 0 between the parts, or "auto".
        seed: Seed of the cut.
        region: Region of the slides, or a function that returns that of a path or array.
        mpp: Micrometres per pixel of slides that have none of their own.
        **options: Other arguments of `open_slide`.

    Returns:
        Training and validation parts, each as (part, part): image and mask of an item.

    Raises:
        PatchaugError: A slide cannot be opened or cut.
    """
    found: tuple[Parts, Parts] = [], []
    for number, (image, mask) in enumerate(pairs):
        source = source_of(image)
        slide = source
        if not isinstance(source, Slide):
            own = image if isinstance(image, LazySlideItem) else LazySlideItem(source)
            path = isinstance(source, (str, os.PathLike))
            slide = open_slide(
                source, source_of(mask), name=name_of(image) or (None if path else f"array {number}"),
                mpp=own.mpp or mpp, region=region_for(region, image) if own.region is None else own.region, **options,
            )  # fmt: skip
        for side, part in zip(found, split_region(slide, valid, guard=guard, seed=seed), strict=True):
            side.append((part, part))
    return found


def cut_items(
    items: Sequence[Any], *, valid: float, guard: Guard, seed: int, **options: Any
) -> tuple[list[LazySlideItem], list[LazySlideItem]]:
    """Cut slides without masks in two parts each, of which only the place is kept; see `open_parts`.

    Args:
        items: Paths, arrays, open slides and items.
        valid: Share of the pixels of each slide for validation.
        guard: Pixels of level 0 between the parts, or "auto".
        seed: Seed of the cut.
        **options: Arguments of `open_slide`.
    """
    sides: tuple[list[LazySlideItem], list[LazySlideItem]] = [], []
    for number, item in enumerate(items):
        source = source_of(item)
        name = name_of(item) or (None if isinstance(source, (str, os.PathLike, Slide)) else f"array {number}")
        slide = source if isinstance(source, Slide) else open_slide(source, name=name, **options)
        frames = [part.frame for part in split_region(slide.without_mask(), valid, guard=guard, seed=seed)]
        for side, frame in zip(sides, frames, strict=True):
            side.append(LazySlideItem(Path(source) if isinstance(source, str) else source, name=name, frame=frame))
    return sides
