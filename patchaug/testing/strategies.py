"""Hypothesis strategies: masks, coordinate-coded slides, and windows and samplers that fit them.

@given(slides().flatmap(lambda slide: st.tuples(st.just(slide), samplers(slide))))
def test_every_window_lies_inside(slide_and_sampler): ...
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from patchaug.core.arrays import Array
from patchaug.core.windows import Window
from patchaug.readers import ArrayRaster
from patchaug.sampling import Foreground, Grid, Sampler, Uniform
from patchaug.slides.mask_alignment import whole_factors
from patchaug.slides.slide import Slide
from patchaug.testing.coordinate_slides import coordinate_image, coordinate_mask


@st.composite
def masks(draw: st.DrawFn, *, max_side: int = 16, classes: int = 4) -> Array:
    """Draw masks that are hard for a sampler: uint8 (height, width), 0 to classes-1.

    Single pixels, corners, one class throughout, noise, stripes along either axis, and overlapping rectangles.

    Args:
        max_side: Longest side in pixels.
        classes: Number of classes, including the background; at least 2.

    Examples:
        >>> from hypothesis import given, settings
        >>> @settings(max_examples=2, database=None)
        ... @given(masks(max_side=8))
        ... def test_classes(mask):
        ...     assert mask.max() < 4
        >>> test_classes()
    """
    height, width = draw(st.integers(1, max_side)), draw(st.integers(1, max_side))
    labels = st.integers(0, classes - 1)
    kind = draw(st.sampled_from(["pixel", "corners", "full", "noise", "stripes", "rectangles"]))
    mask = np.zeros((height, width), np.uint8)
    if kind == "pixel":
        mask[draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))] = draw(st.integers(1, classes - 1))
    elif kind == "corners":
        for y, x in ((0, 0), (0, -1), (-1, 0), (-1, -1)):
            mask[y, x] = draw(labels)
    elif kind == "full":
        mask[:] = draw(labels)
    elif kind == "noise":
        mask = draw(hnp.arrays(np.uint8, (height, width), elements=labels))
    elif kind == "stripes":
        stripes = np.array(draw(st.lists(labels, min_size=1, max_size=4)), np.uint8)
        turned = mask if draw(st.booleans()) else mask.T
        turned[:] = stripes[np.arange(turned.shape[1]) % len(stripes)]
    else:
        for _ in range(draw(st.integers(1, 4))):
            y, x = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
            mask[y : draw(st.integers(y + 1, height)), x : draw(st.integers(x + 1, width))] = draw(labels)
    return mask


@st.composite
def slides(
    draw: st.DrawFn, *, min_side: int = 1, max_side: int = 48, name: str = "slide", codes: Sequence[str] | None = None
) -> Slide:
    """Draw coordinate-coded slides in memory, with or without coarser levels.

    The mask is `coordinate_mask`, so that `mask_at(*decode_coordinates(image))` is the mask of any patch of level 0; or
    one of `masks`, of the size of the image or smaller by a whole factor.

    Args:
        min_side: Shortest side of level 0 in pixels.
        max_side: Longest side of level 0 in pixels.
        name: Name of the slide.
        codes: Class names.

    Examples:
        >>> from hypothesis import given, settings
        >>> from hypothesis import strategies as st
        >>> from patchaug.testing import slides, windows
        >>> @settings(max_examples=2, database=None)
        ... @given(slides().flatmap(lambda slide: st.tuples(st.just(slide), windows(slide))))
        ... def test_size(pair):
        ...     slide, window = pair
        ...     assert slide.read(window).image.shape[:2] == (window.height, window.width)
        >>> test_size()
    """
    if draw(st.booleans()):
        width, height = draw(st.integers(min_side, max_side)), draw(st.integers(min_side, max_side))
        mask = coordinate_mask(width, height)
    else:
        factor = draw(st.sampled_from([1, 1, 2, 3]))
        mask = draw(masks(max_side=max_side // factor))
        mask = np.pad(mask, [(0, max(-(-min_side // factor) - side, 0)) for side in mask.shape])
        height, width = (max(side * factor - draw(st.integers(0, factor - 1)), min_side) for side in mask.shape)
        if factor > 1 and whole_factors((width, height), mask.shape[::-1])[:1] != [factor]:
            height, width = (side * factor for side in mask.shape)  # a mask of few pixels would be aligned differently
    factors = [1] + [f for f in (2, 5) if draw(st.booleans()) and min(width, height) // f]
    levels = [coordinate_image(width // f, height // f, f) for f in factors]
    mpp = draw(st.sampled_from([None, (0.25, 0.25), (0.5, 0.4)]))
    return Slide(ArrayRaster(levels, mpp=mpp), ArrayRaster(mask), name=name, codes=codes)


@st.composite
def windows(draw: st.DrawFn, slide: Slide, *, level: int | None = None) -> Window:
    """Draw windows inside a slide, at one of its levels.

    Args:
        slide: The slide.
        level: The level; any by default.

    Examples:
        >>> from hypothesis import given, settings
        >>> @settings(max_examples=2, database=None)
        ... @given(windows(slide))
        ... def test_inside(window):
        ...     assert window.right <= slide.dimensions[0]
        >>> test_inside()
    """
    if level is None:
        level = draw(st.integers(0, len(slide.level_dimensions) - 1))
    (x, width), (y, height) = (
        (start, draw(st.integers(1, length - start)))
        for length in slide.level_dimensions[level]
        for start in [draw(st.integers(0, length - 1))]
    )
    return Window(x, y, width, height, level)


@st.composite
def samplers(draw: st.DrawFn, *slides: Slide, max_per_slide: int = 8) -> Sampler:
    """Draw samplers that fit the given slides: `Uniform`, `Foreground` and `Grid`, at a level or in mpp.

    Args:
        slides: The slides; windows fit into the smallest.
        max_per_slide: Maximum number of windows per slide and epoch.

    Examples:
        >>> from hypothesis import given, settings
        >>> @settings(max_examples=2, database=None)
        ... @given(samplers(slide))
        ... def test_windows_lie_inside(sampler):
        ...     assert all(draw.window.right <= 512 for draw in Plan([slide], sampler))
        >>> test_windows_lie_inside()
    """
    level = draw(st.integers(0, min(len(slide.level_dimensions) for slide in slides) - 1))
    mpp = None
    known_mpp = [slide.mpp for slide in slides if slide.mpp is not None]
    if len(known_mpp) == len(slides) and draw(st.booleans()):
        level, mpp = 0, draw(st.floats(1, 4)) * max(max(both) for both in known_mpp)
        lengths = [
            int(min(slide.dimensions[axis] * own[axis] / mpp - 1 for slide, own in zip(slides, known_mpp, strict=True)))
            for axis in (1, 0)
        ]
        if min(lengths) < 1:  # the smallest slide has no whole pixel at that resolution
            mpp = None
    if mpp is None:
        lengths = [min(slide.level_dimensions[level][axis] for slide in slides) for axis in (1, 0)]
    height, width = (draw(st.integers(1, length)) for length in lengths)
    where: dict[str, Any] = {"level": level, "mpp": mpp}
    kind = draw(st.sampled_from([Uniform, Foreground, Grid]))
    if kind is Grid:
        overlap = draw(st.integers(0, min(height, width) - 1))
        return Grid((height, width), overlap=overlap, offset=draw(st.sampled_from(["fixed", "random"])), **where)
    per_slide = draw(st.integers(1, max_per_slide))
    if kind is Uniform:
        return Uniform((height, width), per_slide=per_slide, **where)
    foreground = draw(st.sampled_from([0.0, 0.25, 0.5, 1.0]))
    return Foreground((height, width), per_slide=per_slide, foreground=foreground, empty="uniform", **where)
