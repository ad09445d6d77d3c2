"""The elements of fastai's items beside slides: what is read through the window, and what may stand beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np
import torch
from fastai.torch_core import TensorMask
from fastai.vision.core import Image, PILMask, TensorPoint

from patchaug.data.image_pixels import ImagePixels
from patchaug.data.slide_items import LazySlideItem, SlideImage, SlideMask
from patchaug.errors import OptionError
from patchaug.slides.slide import Slide

Layout = tuple[type, ...]


def lazy_items_of(dataset: Any) -> list[tuple[Any, ...]]:
    """Return the tuple of each item of a dataset, its slides and masks unread.

    Raises:
        OptionError: An element is an image or mask that is not read through the window.
    """
    if not hasattr(dataset, "__getitem__") or isinstance(dataset, (Mapping, str, bytes)):
        raise OptionError(f"a dataset has items by number, got {type(dataset).__name__}; see SlideDataLoaders")
    return [_checked(dataset, number) for number in range(len(dataset))]


def layout_of(items: Sequence[tuple[Any, ...]]) -> Layout:
    """Return the kind of each element of the items: `SlideImage`, `SlideMask`, or its own type."""
    kinds = (SlideImage, SlideMask)
    return tuple(next((k for k in kinds if isinstance(e, k)), type(e)) for e in items[0]) if items else ()


def _checked(dataset: Any, number: int) -> tuple[Any, ...]:
    item = tuple(dataset[number])
    for place, element in enumerate(item):
        if _has_places(element):
            kind = type(element).__name__
            raise OptionError(
                f"element {place} of item {number} is a {kind}, the same for all windows of its slide; {_cure(element)}"
            )
    return item


def _has_places(element: Any) -> bool:
    """Decide whether an element is of the whole slide: pixels, points or boxes."""
    if isinstance(element, LazySlideItem):
        return False
    if isinstance(element, (Image.Image, TensorPoint)):
        return True
    return isinstance(element, (np.ndarray, torch.Tensor)) and element.ndim > 1


def _cure(element: Any) -> str:
    if isinstance(element, TensorPoint):
        return "points and boxes cannot be cut to windows: give polygons to SlideMaskBlock"
    if isinstance(element, (PILMask, TensorMask)):
        return "take SlideMaskBlock(codes) in place of MaskBlock(codes): it reads the mask through the window"
    return "take SlideBlock for images and SlideMaskBlock for masks: they read them through the window"


def require_own_inputs(items: Sequence[tuple[Any, ...]], n_inp: int) -> None:
    """Verify that the inputs of test items differ.

    fastai passes a test item of another type than the training items to all inputs alike, past the getters.

    Raises:
        OptionError: Two inputs have the same source.
    """
    for number, item in enumerate(items):
        images = [element for element in item[:n_inp] if isinstance(element, SlideImage)]
        if len({id(image.source) for image in images}) < len(images):
            raise OptionError(
                f"test item {number}, {images[0].path or type(images[0].source).__name__}, would be all {len(images)} "
                f"inputs of the model; pass items of the type of the training items, or take "
                f"learn.predict_slide((slide1, slide2))"
            )


def prediction_item(
    layout: Layout, n_inp: int, slide: Slide, pixels: Sequence[ImagePixels] = ()
) -> tuple[LazySlideItem, ...]:
    """Return the item that a model's prediction of a slide starts from.

    Args:
        layout: Kinds of the elements of the training items.
        n_inp: How many of them are inputs.
        slide: The slide; a `SlideGroup` for several inputs.
        pixels: Scale and format of each input; default: those of 8-bit images.

    Raises:
        OptionError: The inputs are no slides or another number of them, or the targets make no class map.
    """
    inputs, targets = layout[:n_inp], layout[n_inp:]
    if any(kind is not SlideImage for kind in inputs):
        names = ", ".join(kind.__name__ for kind in inputs)
        raise OptionError(f"predict_slide needs slides as the only inputs of the model, and they are {names}")
    if len(slide.members) != len(inputs):
        raise OptionError(
            f"the model has {len(inputs)} inputs, and predict_slide got {len(slide.members)} slides; call it with "
            f"({', '.join(f'slide{number}' for number in range(1, len(inputs) + 1))})"
        )
    if SlideImage in targets or targets.count(SlideMask) > 1:
        raise OptionError(
            f"predict_slide makes one class map, and the targets of this learner are "
            f"{', '.join(kind.__name__ for kind in targets)}; take the patches of "
            f"learn.get_preds(dl=learn.dls.test_dl(slides)), whose places are in the loader's plan"
        )
    return tuple(
        SlideImage(member, pixels=one) for member, one in zip_longest(slide.members, pixels[: len(slide.members)])
    )
