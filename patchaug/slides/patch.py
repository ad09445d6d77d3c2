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


def resize_patch(patch: Patch, size: Size) -> Patch:
    """Resample a patch: the image by its area mean, the mask by the nearest pixel.

    Args:
        patch: The patch.
        size: Side of the result in pixels, or (height, width).

    Returns:
        The patch itself where it has that size already.
    """
    height, width = sides(size)
    image, mask = patch
    return Patch(resized(image, height, width), None if mask is None else nearest(mask, height, width))


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
