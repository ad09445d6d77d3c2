"""Crop the halo from batches, after all their transforms."""

from __future__ import annotations

from typing import Any

from fastai.vision.core import TensorImage, TensorMask
from fasttransform import Transform

from patchaug.core.validation import sides


class CropHalo(Transform):
    """Crop batches to the middle of their patches; batches without a halo stay as they are.

    `SlideBlock` adds it, so that no data block lacks it.

    Attributes:
        size: (height, width) of a patch in pixels; None until a loader of slides is set up.
    """

    order = 110  # after Normalize (99) and RandomErasing (100)
    size: tuple[int, int] | None = None

    def setups(self, loader: Any) -> None:
        """Take the size of the patches from the loader's plan."""
        plan = getattr(loader, "plan", None)
        if plan is not None:
            self.size = sides(plan.sampler.size)

    def encodes(self, x: TensorImage | TensorMask) -> Any:
        """Return the middle of a batch, (..., height, width)."""
        if self.size is None or x.shape[-2:] == self.size:
            return x
        (height, width), (rows, columns) = self.size, x.shape[-2:]
        top, left = (rows - height) // 2, (columns - width) // 2
        return x[..., top : top + height, left : left + width]
