"""Convert the pixels of a patch to fastai's types: Pillow images for its item transforms, or tensors at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from fastai.torch_core import show_image
from fastai.vision.core import PILImage, PILImageBW, PILMask, TensorImage, TensorImageBW, TensorMask

from patchaug.core.arrays import Array
from patchaug.core.display import stretched
from patchaug.data.slide_items import SlideImage, SlideMask
from patchaug.slides.patch import Patch


class TensorChannels(TensorImage):
    """Image of any number of channels: uint8, or float32 in which the scale of the data set is 0..1.

    It is shown by its first three channels, each stretched between its 2nd and 98th percentile.
    """

    def show(self, ctx: Any = None, **kwargs: Any) -> Any:
        """Show the image on axes."""
        values = self.data.cpu().float().numpy()
        shown = stretched(values.transpose(1, 2, 0))
        return show_image(shown, ctx=ctx, **{"cmap": "gray", **kwargs})


def pixels_of(item: Iterable[Any], patch: Patch, *, as_tensor: bool = False) -> list[Any]:
    """Replace the lazy slides of an item by the pixels of a patch.

    Args:
        item: Elements of one of fastai's tuples.
        patch: Image (height, width, channels) and mask (height, width); a part for each image or mask of the item.
        as_tensor: Return what fastai's `ToTensor` makes of the Pillow images, with two copies of the pixels fewer.

    Returns:
        The elements: `PILImage` and `PILMask`, or `TensorImage` (channels, height, width) and `TensorMask` (height,
        width) with `as_tensor` and for pixels without a Pillow mode. Other elements stay as they are.
    """
    images, masks = (part.image for part in patch.parts), (part.mask for part in patch.parts)
    return [_pixels(element, images, masks, as_tensor) for element in item]


def _pixels(element: Any, images: Iterator[Array], masks: Iterator[Array | None], as_tensor: bool) -> Any:
    if isinstance(element, SlideImage):
        image = next(images)
        return _image(image, element.pixels.scaled(image), as_tensor)
    if isinstance(element, SlideMask):
        return _mask(next(masks), as_tensor)
    return element


def _image(image: Array, scaled: Array | None, as_tensor: bool) -> Any:
    channels = image.shape[2]
    if scaled is not None or channels not in (1, 3):
        pixels = image if scaled is None else scaled
        return TensorChannels(torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1))
    if not as_tensor:
        return PILImage.create(image) if channels == 3 else PILImageBW.create(image[..., 0])
    kind = TensorImageBW if channels == 1 else TensorImage
    return kind(torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1))  # torch rejects negative strides


def _mask(mask: Any, as_tensor: bool) -> Any:
    if mask.dtype == np.uint8 or (mask.min(initial=0) >= 0 and mask.max(initial=0) <= 255):
        small = np.ascontiguousarray(mask, np.uint8)
        return TensorMask(torch.from_numpy(small)) if as_tensor else PILMask.create(small)
    return TensorMask(torch.from_numpy(mask.astype(np.int64)))
