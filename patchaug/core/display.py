"""Show pixels of any type and number of channels as 8-bit grey or RGB."""

from __future__ import annotations

import numpy as np

from patchaug.core.arrays import Array

_PERCENTILES = (2, 98)


def stretched(image: Array) -> Array:
    """Return up to three channels, each stretched between its 2nd and 98th percentile.

    Args:
        image: Integers or floats (height, width, channels).

    Returns:
        uint8 (height, width, 3), or (height, width, 1) for one channel. Of two channels the third is 0.
    """
    chosen = np.where(np.isfinite(image[..., :3]), image[..., :3], 0).astype(np.float64)
    low, high = np.percentile(chosen, _PERCENTILES, axis=(0, 1))
    span = np.where(high > low, high - low, 1)
    shown = (np.clip((chosen - low) / span, 0, 1) * 255).round().astype(np.uint8)
    return np.pad(shown, ((0, 0), (0, 0), (0, 1))) if shown.shape[2] == 2 else shown


def displayed(image: Array) -> Array:
    """Return an image as it can be shown: 8-bit grey and RGB unchanged, all others stretched.

    Args:
        image: Integers or floats (height, width, channels).

    Returns:
        uint8 (height, width, 1 or 3).
    """
    return image if image.dtype == np.uint8 and image.shape[2] in (1, 3) else stretched(image)
