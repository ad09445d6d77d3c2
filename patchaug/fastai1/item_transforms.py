"""fastai 1's transforms on a patch: one draw for image and mask, checks of both, and the crop of the halo."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from fastai.core import listify
from fastai.vision.image import TfmAffine, TfmCoord, TfmCrop, TfmPixel
from fastai.vision.transform import crop, cutout, dihedral, flip_lr, pad, rgb_randomize

from patchaug.core.validation import sides
from patchaug.data.isolated_rng import seed_generators
from patchaug.errors import OptionError
from patchaug.sampling.base import NO_HALO, Halo, PatchTransform
from patchaug.sampling.plan import Plan
from patchaug.slides.slide import Patch, Slide

_PAINTS = (cutout, rgb_randomize)  # pixel transforms that leave every pixel in its place
_MOVES = (crop, dihedral, flip_lr, pad)


class KeyedTransform:
    """A transform with a seed of its own: `cutout` and `jitter` draw at each call, for the image and for the mask.

    Args:
        transform: A transform of fastai 1, resolved.
        seed: Seed of each call, below 2^32.
    """

    def __init__(self, transform: Any, seed: int) -> None:
        self.transform, self.seed = transform, seed

    def __getattr__(self, name: str) -> Any:
        return getattr(self.transform, name)  # fastai reads `tfm` and the name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the transform; the caller has isolated the global generators."""
        seed_generators(self.seed)
        return self.transform(*args, **kwargs)


def keyed_transforms(transforms: Any) -> list[KeyedTransform]:
    """Draw the parameters of transforms once, in fastai's order, for an image and its mask."""
    ordered = sorted(listify(transforms), key=lambda one: one.tfm.order)
    for one in ordered:
        one.resolve()
    return [KeyedTransform(one, random.getrandbits(32)) for one in ordered]


def require_moving_together(transforms: Iterable[Any], tfm_y: bool) -> None:
    """Reject transforms that would move images without their masks.

    Raises:
        OptionError: `tfm_y` is false and a transform moves pixels, or it does so with `use_on_y=False`.
    """
    for one in transforms:
        if not tfm_y and _may_move(one):
            raise OptionError("transforms would move images without their masks: set tfm_y=True")
        if not getattr(one, "use_on_y", True) and _moves(one):
            raise OptionError(f"{one.__name__} would move images without their masks: leave use_on_y=False out")


def require_size(pixels: torch.Tensor, plan: Plan, *, trains: bool) -> torch.Tensor:
    """Crop the halo of a plan from a patch, after its transforms.

    Args:
        pixels: Image or mask (channels, height, width), with the halo.
        plan: The plan that the patch was read by.
        trains: Whether transforms may change the size of a patch without a halo.

    Returns:
        The middle of the pixels; without a halo, the pixels.

    Raises:
        OptionError: Transforms have changed the size of a patch with a halo, or of one that is not trained on.
    """
    (height, width), halo = sides(plan.sampler.size), halo_of(plan)
    rows, columns = pixels.shape[-2:]
    if (rows, columns) != (height + 2 * halo[0], width + 2 * halo[1]):
        if halo != NO_HALO:
            raise OptionError(
                f"transforms return {columns} x {rows} px for patches of {width + 2 * halo[1]} x "
                f"{height + 2 * halo[0]} px with their halo, which cannot be cropped; leave out halo={halo[0]} or the "
                f"transforms that change the size"
            )
        if not trains:
            raise OptionError(
                f"transforms return {columns} x {rows} px for windows of {width} x {height} px, and the grid of a "
                f"slide needs whole windows; leave out transforms that change the size from the second list"
            )
    return pixels[..., halo[0] : rows - halo[0], halo[1] : columns - halo[1]].contiguous()


class CropOnly:
    """Crop the halo of an augmentation, in place of the augmentation: fastai's view of training slides as they are.

    Args:
        augment: The augmentation, which determines the halo.
    """

    def __init__(self, augment: PatchTransform) -> None:
        self.augment = augment

    def needed(self, height: int, width: int) -> Halo:
        """Return the halo (y, x) in pixels that the augmentation needs."""
        return self.augment.needed(height, width)

    def require_known_labels(self, slide: Slide) -> None:
        """Accept every slide: no label changes."""

    def __call__(self, patch: Patch, height: int, width: int, generator: np.random.Generator) -> Patch:
        """Return the central height x width pixels of the patch."""
        rows, columns = patch.image.shape[:2]
        top, left = (rows - height) // 2, (columns - width) // 2
        inside = slice(top, top + height), slice(left, left + width)
        return Patch(patch.image[inside], None if patch.mask is None else patch.mask[inside])


def halo_of(plan: Plan) -> Halo:
    """Return the halo (y, x) that a plan's patches have when their item transforms run; `augment` crops its own."""
    return NO_HALO if plan.augment is not None else plan.halo


def _moves(transform: Any) -> bool:
    kind = getattr(transform, "tfm", transform)
    return isinstance(kind, (TfmAffine, TfmCoord)) or any(kind is one for one in _MOVES)


def _may_move(transform: Any) -> bool:
    """Report whether a transform moves pixels, or is a pixel transform of the user that may do so."""
    kind = getattr(transform, "tfm", transform)
    # Without a size a crop cuts nothing.
    unknown = isinstance(kind, TfmPixel) and not isinstance(kind, TfmCrop)
    return _moves(transform) or (unknown and not any(kind is one for one in _PAINTS))
