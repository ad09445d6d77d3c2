"""Read a window and a halo of pixels around it, which are mirrored beyond the slide, or the part that is read."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from patchaug.core.arrays import Array
from patchaug.core.validation import Size
from patchaug.core.windows import Window
from patchaug.errors import FrameError
from patchaug.slides.patch import Patch, mirror_patch, resize_patch

Bounds = tuple[int, int, int, int]  # left, top, right, bottom


def bounds_on(window: Window, size: tuple[int, int], other: tuple[int, int]) -> Bounds:
    """Return (left, top, right, bottom) of the pixels of another level that lie in a window whole.

    Args:
        window: The window.
        size: (width, height) of its level.
        other: (width, height) of the other level.
    """
    (width, height), (across, down) = size, other
    left, top = -(-window.x * across // width), -(-window.y * down // height)
    return left, top, max(window.right * across // width, left), max(window.bottom * down // height, top)


def intersection(one: Bounds, other: Bounds) -> Bounds:
    """Return the pixels that lie in both; left = right, or top = bottom, where there are none."""
    left, top = max(one[0], other[0]), max(one[1], other[1])
    return left, top, max(min(one[2], other[2]), left), max(min(one[3], other[3]), top)


def read_around(
    read: Callable[[Window], tuple[Patch, Array | None]], bounds: Bounds, window: Window, halo: tuple[int, int],
    size: Size, name: str, ignore_index: int | None,
) -> Patch:  # fmt: skip
    """Read a window and its halo within bounds, and mirror what lies beyond; its labels are `ignore_index`.

    Args:
        read: Reads a window: its patch, and whether each pixel is valid (None where all are).
        bounds: Pixels of the window's level that may be read; the window lies inside.
        window: The window.
        halo: Pixels (y, x) of the level on each side.
        size: Side of the patch with its halo in pixels, or (height, width).
        name: The slide, for errors.
        ignore_index: Label of mirrored pixels; None where there is none.

    Raises:
        FrameError: The halo leaves the bounds, and there is a mask and no ignore_index.
    """
    left, right = min(window.x - bounds[0], halo[1]), min(bounds[2] - window.right, halo[1])
    above, below = min(window.y - bounds[1], halo[0]), min(bounds[3] - window.bottom, halo[0])
    width, height = window.width + left + right, window.height + above + below
    patch, valid = read(Window(window.x - left, window.y - above, width, height, window.level))
    if (left, right, above, below) == (halo[1], halo[1], halo[0], halo[0]):
        return resize_patch(patch, size, valid)
    if patch.mask is not None and ignore_index is None:
        text = "a halo leaves the slide, and mirrored pixels need an ignore_index for their labels"
        raise FrameError(f"{name}: {text}: open_slide(..., ignore_index=255)")
    beyond_y, beyond_x = (halo[0] - above, halo[0] - below), (halo[1] - left, halo[1] - right)
    valid = None if valid is None else np.pad(valid, (beyond_y, beyond_x), mode="reflect")
    return resize_patch(mirror_patch(patch, beyond_y, beyond_x, ignore_index), size, valid)
