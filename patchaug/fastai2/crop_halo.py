"""The end of the batch's transforms: what they pulled in from the halo stays, the halo goes."""

from __future__ import annotations

from fastai.vision.core import TensorImage, TensorMask
from fasttransform import Transform


class CropHalo(Transform):
    """Crop batches to the middle of the size of their patches; those that have it already stay as they are.

    `SlideBlock` brings it along, so that it cannot be forgotten; `PatchDL` tells it the size.
    """

    order = 110  # after Normalize (99) and RandomErasing (100)
    size: tuple[int, int] | None = None

    def encodes(self, x: TensorImage | TensorMask):  # noqa: ANN201 - fastai dispatches on annotations
        """The middle of a batch, (..., height, width)."""
        if self.size is None or x.shape[-2:] == self.size:
            return x
        (height, width), (rows, columns) = self.size, x.shape[-2:]
        top, left = (rows - height) // 2, (columns - width) // 2
        return x[..., top : top + height, left : left + width]
