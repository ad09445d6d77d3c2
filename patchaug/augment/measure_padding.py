"""How many pixels of augmented patches are invented: measured, for any pipeline."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from patchaug.augment.augment import Augment
from patchaug.core.validation import Size, checked_integer, sides
from patchaug.slides.slide import Patch


def padded_share(transform: Any, size: Size, *, halo: int | str = "auto", draws: int = 200, seed: int = 0) -> float:
    """Share, 0 to 1, of the pixels of augmented patches that come from outside of what was read.

    A picture of ones with a border of zeros: what transforms fill with mirrored or repeated pixels counts as invented
    too, since their border is set to a constant for the measurement. Counted is the mask alone, since colours change
    the image: what a transform does to the image's pixels and not to the mask's, a blur that looks beyond the border or
    a dropout that paints the image alone, is not seen.

    Args:
        transform: A transform or Compose of albumentations, or an `Augment`.
        size: Side of the patch in pixels, or (height, width).
        halo: Pixels read around it; "auto" derives them, and 0 is a crop that is augmented afterwards.
        draws: Patches that are made.
        seed: What they follow from.

    Raises:
        OptionError: See `Augment`.
    """
    height, width = sides(size)
    given = transform if isinstance(transform, Augment) else Augment(transform, halo=halo)
    augment = copy.copy(given)
    augment.transform = copy.deepcopy(given.transform)
    y, x = augment.needed(height, width)
    _fill_with_zeros(augment.transform)
    shape = height + 2 * y, width + 2 * x
    ones = Patch(np.ones((*shape, 3), np.uint8), np.ones(shape, np.uint8))
    invented = 0
    for number in range(checked_integer("draws", draws, 1)):
        made = augment(ones, height, width, np.random.default_rng([seed, number]))
        assert made.mask is not None
        invented += int(np.count_nonzero(made.mask == 0))
    return invented / (draws * height * width)


def _fill_with_zeros(transform: Any) -> None:
    for part in getattr(transform, "transforms", ()):
        for name, value in (("border_mode", 0), ("fill", 0), ("fill_mask", 0)):  # cv2.BORDER_CONSTANT is 0
            if hasattr(part, name):
                setattr(part, name, value)
        _fill_with_zeros(part)
