"""Reject transforms of albumentations that do not support the dtype or the channels of a slide, by name."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np

from patchaug.errors import OptionError
from patchaug.slides.slide import Slide

_SIDE = 64  # pixels of the image that a transform is tried on


def require_supported(transform: Any, slide: Slide) -> None:
    """Verify that each transform of a pipeline keeps dtype and channels of a slide, and the meaning of its values.

    Transforms that change values take the whole range of the type for black to white, which is true of 8 bits alone:
    for other types only those that move pixels are accepted. With other channels than 1 and 3, each is tried.

    Args:
        transform: A transform or Compose of albumentations.
        slide: The slide.

    Raises:
        OptionError: A transform is not supported; the text names it.
    """
    dtype, channels = slide.dtype, slide.channels
    if dtype == np.uint8 and channels == 3:
        return
    for one in _leaves(transform):
        reason = _reason(one, str(dtype), channels)
        if reason is not None:
            raise OptionError(
                f"{slide.name}: {type(one).__name__} of albumentations needs 8-bit RGB images, and the image has "
                f"{channels} channels of {dtype} ({reason}); remove it, or transform whole batches (batch_tfms)"
            )


def _leaves(transform: Any) -> Iterator[Any]:
    parts = getattr(transform, "transforms", None)
    if parts is None:
        yield transform
        return
    for part in parts:
        yield from _leaves(part)


def _reason(one: Any, dtype: str, channels: int) -> str | None:
    """Return why a transform is not supported, or None."""
    import albumentations

    if dtype != "uint8" and isinstance(one, albumentations.ImageOnlyTransform):
        return "it changes values as if the whole range of the type were used"
    return _tried(repr(one), _Held(one), dtype, channels)


class _Held:
    """A transform that takes no part in the comparison of cache keys."""

    def __init__(self, transform: Any) -> None:
        self.transform = transform

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Held)

    def __hash__(self) -> int:
        return 0


@lru_cache(maxsize=256)
def _tried(key: str, held: _Held, dtype: str, channels: int) -> str | None:
    import albumentations

    one = copy.deepcopy(held.transform)
    one.p = 1.0
    values = np.arange(_SIDE * _SIDE * channels).reshape(_SIDE, _SIDE, channels) * 37 % 200
    try:
        image = albumentations.Compose([one], seed=0)(image=values.astype(dtype))["image"]
    except Exception as error:  # of OpenCV, or of the transform itself
        return " ".join(str(error).split())[:120]
    image = image[..., None] if image.ndim == 2 else image
    if image.dtype != dtype or image.shape[2] != channels:
        return f"it returns {image.shape[2]} channels of {image.dtype}"
    return None
