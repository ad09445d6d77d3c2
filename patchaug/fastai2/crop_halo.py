"""Crop the halo from batches, after all their transforms."""

from __future__ import annotations

from typing import Any

from fastai.vision.core import TensorImage, TensorMask
from fastcore.foundation import L
from fasttransform import Pipeline, Transform

from patchaug.core.validation import sides
from patchaug.errors import OptionError
from patchaug.sampling.base import NO_HALO, Halo
from patchaug.sampling.plan import Plan


class CropHalo(Transform):
    """Crop the halo, whatever size the transforms before gave to the patches; `PatchDL` adds it.

    Args:
        read: (height, width) of the patches with their halo, as they are read.
        halo: (y, x) of the halo in those pixels.
    """

    order = 110  # after Normalize (99) and RandomErasing (100)

    def __init__(self, read: tuple[int, int], halo: Halo) -> None:
        super().__init__()
        self.read, self.halo = read, halo

    def encodes(self, x: TensorImage | TensorMask) -> Any:
        """Return the middle of a batch, (..., height, width)."""
        rows, columns = x.shape[-2:]
        top, left = self.margins(rows, columns)
        return x[..., top : rows - top, left : columns - left]

    def margins(self, rows: int, columns: int) -> tuple[int, int]:
        """Return the halo (y, x) of patches of rows x columns px.

        Raises:
            OptionError: It is no whole number of pixels.
        """
        top, left = (halo * new / old for halo, new, old in zip(self.halo, (rows, columns), self.read, strict=True))
        if top % 1 or left % 1:
            raise OptionError(
                f"halo={max(self.halo)}: transforms resize patches of {self.read[1]} x {self.read[0]} px to "
                f"{columns} x {rows} px, where the halo is {left:.4g} x {top:.4g} px and cannot be cropped; leave out "
                f"halo or the resizing transform"
            )
        return int(top), int(left)


def halo_of(plan: Plan | None) -> Halo:
    """Return the halo (y, x) that a plan's patches have; `augment` crops its own."""
    return NO_HALO if plan is None or plan.augment is not None else plan.halo


def with_crop(after_batch: Any, plan: Plan | None) -> Any:
    """Return batch transforms that end with the crop of a plan's halo, in place of any other `CropHalo`."""
    halo = halo_of(plan)
    transforms = list(after_batch.fs if isinstance(after_batch, Pipeline) else L(after_batch))
    kept = [transform for transform in transforms if not isinstance(transform, CropHalo)]
    if plan is None or halo == NO_HALO:
        return after_batch if len(kept) == len(transforms) else kept
    height, width = sides(plan.sampler.size)
    return [*kept, CropHalo((height + 2 * halo[0], width + 2 * halo[1]), halo)]
