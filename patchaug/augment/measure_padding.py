"""Measure the fraction of invented pixels in augmented patches, for any pipeline."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from patchaug.augment.augment import Augment
from patchaug.core.arguments import names_arguments
from patchaug.core.validation import Size, checked_integer, sides
from patchaug.slides.slide import Patch


@names_arguments
def padded_share(transform: Any, size: Size, *, halo: int | str = "auto", draws: int = 200, seed: int = 0) -> float:
    """Measure the fraction of pixels in augmented patches that come from outside the pixels read.

    A mask of ones is augmented, with the border mode set to zeros: zeros in the result are invented pixels. Mirrored
    and repeated pixels therefore count as invented. Only the mask is measured. Changes to the image alone, such as a
    blur that reaches beyond the border or a dropout without `fill_mask`, are not included.

    Args:
        transform: A transform or Compose of albumentations, or an `Augment`.
        size: Side of the patch in pixels, or (height, width).
        halo: Pixels read around the patch on each side. "auto" derives them; 0 augments the bare crop.
        draws: Number of augmented patches, at least 1.
        seed: Seed of the augmentation.

    Returns:
        Fraction from 0 to 1.

    Raises:
        OptionError: draws is below 1; for others see `Augment`.

    Examples:
        >>> import albumentations as alb
        >>> turn = alb.Rotate((-180, 180), p=1.0)
        >>> padded_share(turn, 64, draws=20)
        0.0
        >>> padded_share(turn, 64, halo=0, draws=20) > 0.05
        True
    """
    height, width = sides(size)
    original = transform if isinstance(transform, Augment) else Augment(transform, halo=halo)
    augment = copy.copy(original)
    augment.transform = copy.deepcopy(original.transform)
    y, x = augment.needed(height, width)
    _fill_with_zeros(augment.transform)
    shape = height + 2 * y, width + 2 * x
    ones = Patch(np.ones((*shape, 3), np.uint8), np.ones(shape, np.uint8))
    invented = 0
    for number in range(checked_integer("draws", draws, 1)):
        patch = augment(ones, height, width, np.random.default_rng([seed, number]))
        assert patch.mask is not None
        invented += int(np.count_nonzero(patch.mask == 0))
    return invented / (draws * height * width)


def _fill_with_zeros(transform: Any) -> None:
    for part in getattr(transform, "transforms", ()):
        for name, value in (("border_mode", 0), ("fill", 0), ("fill_mask", 0)):  # cv2.BORDER_CONSTANT is 0
            if hasattr(part, name):
                setattr(part, name, value)
        _fill_with_zeros(part)
