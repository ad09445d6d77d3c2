"""Image of fastai 1 with any number of channels, or values that a scale took to 0..1."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from fastai.vision.image import Image

from patchaug.core.display import stretched


class ChannelsImage(Image):
    """Float image (channels, height, width), shown by its first three channels.

    Each of them is stretched between its 2nd and 98th percentile; one channel is shown in grey.

    Examples:
        >>> import torch
        >>> from patchaug.fastai1.channels_image import ChannelsImage
        >>> tuple(ChannelsImage(torch.zeros(6, 40, 50)).shape)
        (6, 40, 50)
    """

    def show(self, ax: Any = None, *args: Any, cmap: Any = "gray", **kwargs: Any) -> None:
        """Show the image, see fastai's `Image.show`."""
        shown = stretched(self.data.detach().cpu().float().numpy().transpose(1, 2, 0))
        pixels = torch.from_numpy(np.ascontiguousarray(shown.transpose(2, 0, 1))).float().div_(255)
        Image(pixels).show(ax, *args, cmap=cmap, **kwargs)


def image_of(pixels: torch.Tensor, scaled: bool) -> Image:
    """Return pixels as an image of fastai: its own for 8-bit RGB, else a `ChannelsImage`.

    Args:
        pixels: float32 (channels, height, width).
        scaled: Whether a scale took them to 0..1.
    """
    return ChannelsImage(pixels) if scaled or pixels.shape[0] != 3 else Image(pixels)
