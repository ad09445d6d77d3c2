"""Measure what fastai's transforms do to the size and the place of pixels, by a probe through them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from fastai.torch_core import TensorImageBase, TensorMask, to_device

from patchaug.core.validation import sides
from patchaug.data.image_pixels import ImagePixels
from patchaug.data.isolated_rng import isolated_rng
from patchaug.data.slide_items import SlideImage, SlideMask
from patchaug.errors import OptionError
from patchaug.fastai2.crop_halo import CropHalo, halo_of
from patchaug.fastai2.pixels import pixels_of
from patchaug.fastai2.random_patch import RandomPatch
from patchaug.sampling.base import NO_HALO
from patchaug.slides.patch import Patch
from patchaug.slides.slide_group import PatchGroup

Size = tuple[int, int]
_TRAIN, _VALID = 0, 1  # fastai's numbers of the subsets
_CODES = 256  # numbers that a mask of bytes can hold


def require_croppable(loader: Any) -> None:
    """Verify that the transforms of a training loader keep the halo croppable; a loader without a halo passes.

    Patches of validation slides have no halo. So transforms must resize patches with and without it by one factor, and
    the resized halo must be whole pixels.

    Args:
        loader: A `PatchDL`, ready to make batches.

    Raises:
        OptionError: They do not.
    """
    halo = halo_of(loader.plan)
    if halo == NO_HALO or not loader.lazy_items:
        return
    patch = loader.plan.read(loader.plan[0])
    height, width = sides(loader.plan.sampler.size)
    place = np.s_[halo[0] : halo[0] + height, halo[1] : halo[1] + width]
    inner = patch.each(lambda part: _cut(part, place))
    item = loader.lazy_items[0]
    with_halo, resizing = _sizes(loader, pixels_of(item, patch), _TRAIN)
    without, resizing_too = _sizes(loader, pixels_of(item, inner), _VALID)
    read = height + 2 * halo[0], width + 2 * halo[1]
    for big, small, old, whole, margin in zip(with_halo, without, (height, width), read, halo, strict=True):
        if big * old != small * whole or margin * big % whole:
            raise OptionError(
                f"halo={max(halo)} and {_names([*resizing, *resizing_too])}: a patch of {width} x {height} px with "
                f"its halo ({read[1]} x {read[0]} px) becomes {with_halo[1]} x {with_halo[0]} px, and a validation "
                f"patch without halo becomes {without[1]} x {without[0]} px, so the halo cannot be cropped to the same "
                f"scale; leave out halo, or the resizing transform: RandomPatch(size, level=, mpp=) reads at any size "
                f"and scale"
            )


def _cut(patch: Patch, place: tuple[slice, slice]) -> Patch:
    return Patch(patch.image[place], None if patch.mask is None else patch.mask[place])


def _sizes(loader: Any, item: Iterable[Any], split: int) -> tuple[Size, list[Any]]:
    """Return (height, width) of the first image that comes out, and the transforms that change a size."""
    resizing: list[Any] = []
    batch = transformed(loader, item, split, resizing)
    return _sides_of(next(e for e in batch if isinstance(e, TensorImageBase))), resizing


def transformed(
    loader: Any, item: Iterable[Any], split: int, resizing: list[Any] | None = None, seed: int = 0
) -> tuple[Any, ...]:
    """Apply item and batch transforms to an item with pixels, as the loader does; global generators stay as they are.

    Args:
        loader: A `PatchDL`.
        item: The elements, slides and masks as pixels.
        split: 0 for training, 1 for validation.
        resizing: List to append the transforms to that change a size.
        seed: Seed of the generators.

    Returns:
        A batch of one item.
    """
    with isolated_rng(seed):
        elements = _through(loader.after_item.fs, tuple(item), split, resizing)
        batch = to_device(loader.do_batch([elements]), loader.device)
        crops = (t for t in loader.after_batch.fs if not isinstance(t, CropHalo))
        return _through(crops, tuple(batch), split, resizing)


def _through(transforms: Iterable[Any], elements: Any, split: int, resizing: list[Any] | None) -> tuple[Any, ...]:
    for transform in transforms:
        if isinstance(transform, RandomPatch):
            continue
        before = _all_sides(elements)
        elements = transform(elements, split_idx=split)
        if resizing is not None and _all_sides(elements) != before:
            resizing.append(transform)
    return tuple(elements)


def _all_sides(elements: Iterable[Any]) -> list[Size]:
    return [_sides_of(e) for e in elements if isinstance(e, TensorImageBase) or hasattr(e, "im")]


def _sides_of(element: Any) -> Size:
    """Return (height, width) of a tensor or a Pillow image."""
    if isinstance(element, torch.Tensor):
        return element.shape[-2], element.shape[-1]
    width, height = element.size
    return height, width


def _names(transforms: Iterable[Any]) -> str:
    return ", ".join(dict.fromkeys(map(_name, transforms)))


def _name(transform: Any) -> str:
    size = getattr(transform, "size", None)
    name = type(transform).__name__
    name = str(transform.name).split(" ")[0] if name == "Transform" else name  # a function as a transform
    return name if size is None else f"{name}(size={size if isinstance(size, int) else tuple(size)})"


def require_whole_windows(loader: Any, image: Any) -> None:
    """Verify that validation transforms only resize windows: the model's answer then covers the whole window.

    Args:
        loader: A `PatchDL` with validation transforms.
        image: Pixels of a window, (height, width, channels).

    Raises:
        OptionError: They crop, pad or move pixels.
    """
    resizing: list[Any] = []
    axis = _moved_axis(loader, image, _VALID, resizing)
    if axis is not None:
        which, lines = _names(resizing) or "they move pixels", "columns" if axis else "rows"
        raise OptionError(
            f"predict_slide needs the whole window of {image.shape[1]} x {image.shape[0]} px, and the validation "
            f"transforms ({which}) do not keep all its {lines} in place; resize windows by Resize or size= of "
            f"aug_transforms, or set the size of RandomPatch in place of a crop"
        )


def moves_pixels(loader: Any, image: Any, tries: int = 16) -> bool:
    """Decide whether the transforms of training move the pixels of a patch, by some random draws of them.

    Args:
        loader: A `PatchDL`.
        image: Pixels of a window, (height, width, channels).
        tries: Number of draws.
    """
    return any(_moved_axis(loader, image, _TRAIN, seed=seed) is not None for seed in range(tries))


def _moved_axis(loader: Any, image: Any, split: int, resizing: list[Any] | None = None, seed: int = 0) -> int | None:
    """Return the first axis along which coded places do not come out in order over the whole length, or None."""
    height, width = image.shape[:2]
    kinds = [kind for kind in loader.layout if kind in (SlideImage, SlideMask)]
    kinds += [] if SlideMask in kinds else [SlideMask]
    for axis, length in enumerate((height, width)):
        place = np.arange(length) * min(_CODES, length) // length
        code = np.broadcast_to(place[:, None] if axis == 0 else place, (height, width)).astype(np.uint8)
        probe = pixels_of([_lazy(kind, image) for kind in kinds], PatchGroup.of([Patch(image, code)] * len(kinds)))
        elements = transformed(loader, probe, split, resizing, seed)
        images = next(element for element in elements if isinstance(element, TensorImageBase))
        masks = next((element for element in elements if isinstance(element, TensorMask)), None)
        pixels = None if masks is None else masks.as_subclass(torch.Tensor).cpu().numpy()[0]
        if pixels is None or _sides_of(images) != pixels.shape or not _spans(pixels, axis, length):
            return axis
    return None


def _lazy(kind: type, image: Any) -> Any:
    """Return an element without a source; its image is float32 where fastai would take other types for 8 bits."""
    if kind is SlideImage and image.dtype != np.uint8:
        return SlideImage(None, pixels=ImagePixels(scale=(0, 1)))
    return kind(None)


def _spans(pixels: Any, axis: int, length: int) -> bool:
    """Decide whether coded places along an axis are those of the whole length, resized, to about a pixel."""
    codes = min(_CODES, length)
    new = pixels.shape[axis]
    found = (pixels + 0.5) * length / codes
    expected = (np.arange(new) + 0.5) * length / new
    error = np.abs(found - (expected[:, None] if axis == 0 else expected))
    return bool(error.max() <= 1 + max(length / new, 1) + length / codes)
