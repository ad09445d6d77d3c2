"""Show pixels of any type and number of channels as 8-bit grey or RGB."""

from __future__ import annotations

import numpy as np

from patchaug.core.arrays import Array

_PERCENTILES = (2, 98)


def stretched(image: Array) -> Array:
    """Return up to three channels, each stretched between its 2nd and 98th percentile.

    Where these are equal, a channel is stretched between its least and its largest value. A constant channel is grey,
    and black where it is 0.

    Args:
        image: Integers or floats (height, width, channels).

    Returns:
        uint8 (height, width, 3), or (height, width, 1) for one channel. Of two channels the third is 0.
    """
    chosen = np.where(np.isfinite(image[..., :3]), image[..., :3], 0).astype(np.float64)
    low, high = np.percentile(chosen, _PERCENTILES, axis=(0, 1))
    flat = high <= low
    low, high = np.where(flat, chosen.min(axis=(0, 1)), low), np.where(flat, chosen.max(axis=(0, 1)), high)
    constant = high <= low
    fraction = np.clip((chosen - low) / np.where(constant, 1, high - low), 0, 1)
    fraction = np.where(constant, np.where(low == 0, 0, 0.5), fraction)
    return _grey_or_rgb((fraction * 255).round().astype(np.uint8))


def displayed(image: Array) -> Array:
    """Return an image as it can be shown: the first three channels of uint8 unchanged, other types stretched.

    Args:
        image: Integers or floats (height, width, channels).

    Returns:
        uint8 (height, width, 1 or 3). Of two channels the third is 0.
    """
    return _grey_or_rgb(image[..., :3]) if image.dtype == np.uint8 else stretched(image)


def _grey_or_rgb(image: Array) -> Array:
    return np.pad(image, ((0, 0), (0, 0), (0, 1))) if image.shape[2] == 2 else image
