"""Labels of pixels that the file marks as not valid, such as transparent ones."""

from __future__ import annotations

import numpy as np

from patchaug.core.arrays import Array


def ignore_invalid(mask: Array, valid: Array | None, ignore_index: int | None) -> Array:
    """Set the labels of invalid pixels to `ignore_index`.

    Args:
        mask: Class numbers, integer (height, width).
        valid: Whether each pixel is valid, bool (height, width); None where all are.
        ignore_index: Integer that means "no label"; None leaves the labels as they are.

    Returns:
        The mask itself where all pixels are valid; else a new one, of a wider dtype where `ignore_index` needs one.
    """
    if valid is None or ignore_index is None or valid.all():
        return mask
    fits = np.iinfo(mask.dtype).min <= ignore_index <= np.iinfo(mask.dtype).max
    dtype = mask.dtype if fits else np.promote_types(mask.dtype, np.min_scalar_type(ignore_index))
    return np.where(valid, mask, np.asarray(ignore_index, dtype)).astype(dtype, copy=False)
