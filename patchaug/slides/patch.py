"""`Patch`: the pixels of one window, image and mask together, and what is done to both alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from patchaug.core.arrays import Array
from patchaug.core.resampling import nearest, resized
from patchaug.core.validation import Size, sides


class Patch(NamedTuple):
    """Pixels of one window.

    Attributes:
        image: (height, width, channels), of the file's dtype.
        mask: Class numbers, integer, (height, width); None for a slide without mask.

    Examples:
        >>> import numpy as np
        >>> from patchaug import Window, open_slide
        >>> slide = open_slide(np.zeros((60, 80, 3), np.uint8), np.ones((60, 80), np.uint8))
        >>> patch = slide.read(Window(x=8, y=4, width=32, height=16))
        >>> patch.image.shape, patch.mask.shape
        ((16, 32, 3), (16, 32))
        >>> isinstance(patch, Patch)
        True
    """

    image: Array
    mask: Array | None

    @property
    def parts(self) -> tuple[Patch, ...]:
        """The patch of each slide that was read through the window; a `PatchGroup` has several."""
        return (self,)

    def each(self, change: Callable[[Patch], Patch]) -> Patch:
        """Return the patch changed; of a `PatchGroup` each part."""
        return change(self)


def resize_patch(patch: Patch, size: Size, valid: Array | None = None) -> Patch:
    """Resample a patch: the image by its area mean, the mask by the nearest pixel.

    Args:
        patch: The patch.
        size: Side of the result in pixels, or (height, width).
        valid: Whether each pixel is valid, bool (height, width); None where all are. Others take no part in a mean; an
            output pixel whose centre is invalid is the pixel there.

    Returns:
        The patch itself where it has that size already.
    """
    height, width = sides(size)
    image, mask = patch
    small = resized(image, height, width) if valid is None else _resized_valid(image, valid, height, width)
    return Patch(small, None if mask is None else nearest(mask, height, width))


def _resized_valid(image: Array, valid: Array, height: int, width: int) -> Array:
    if image.shape[:2] == (height, width):
        return image
    weights = resized(valid[..., None].astype(np.float32), height, width)
    sums = resized(np.where(valid[..., None], image, 0).astype(np.float32), height, width)
    inside = nearest(valid, height, width)
    mean = sums / np.where(inside[..., None], weights, 1)
    rounded = mean if image.dtype.kind == "f" else np.rint(mean)
    return np.asarray(np.where(inside[..., None], rounded, nearest(image, height, width)), image.dtype)


def mirror_patch(patch: Patch, rows: tuple[int, int], columns: tuple[int, int], ignore_index: int | None) -> Patch:
    """Extend a patch by mirrored pixels, whose labels are `ignore_index`.

    Args:
        patch: The patch.
        rows: Rows to add (above, below).
        columns: Columns to add (left, right).
        ignore_index: Label of the added pixels; required where the patch has a mask.

    Returns:
        The extended patch. Its mask gets a wider dtype where `ignore_index` needs one.
    """
    image, mask = patch
    image = np.pad(image, (rows, columns, (0, 0)), mode="reflect")
    if mask is not None and ignore_index is not None:
        if ignore_index > np.iinfo(mask.dtype).max:
            mask = mask.astype(np.min_scalar_type(ignore_index))
        mask = np.pad(mask, (rows, columns), constant_values=ignore_index)
    return Patch(image, mask)
