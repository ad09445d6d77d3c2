"""Show masks over their images in the package's colours: class 0 is clear, and pixels without a label are grey."""

from __future__ import annotations

from typing import Any

import torch
from fastai.torch_core import TensorMask, show_image
from fastai.vision.core import AddMaskCodes

from patchaug.core.palette import class_colours


class ShownMask(TensorMask):
    """A decoded mask, which draws class 0 clear."""

    codes: Any = None
    ignore_index: int | None = None

    def show(self, ctx: Any = None, **kwargs: Any) -> Any:
        """Draw the mask on axes; arguments as for `imshow`, of which `alpha` has a default."""
        numbers = self.as_subclass(torch.Tensor).cpu().numpy()
        return show_image(class_colours(numbers, self.ignore_index), ctx=ctx, **{"alpha": 0.5, **kwargs})


class ClassColours(AddMaskCodes):
    """Give decoded masks their class names and colours, in place of fastai's `AddMaskCodes`."""

    def __init__(self, codes: Any = None, ignore_index: int | None = None) -> None:
        super().__init__(codes)
        self.ignore_index = ignore_index

    def decodes(self, mask: TensorMask) -> Any:
        """Return the mask as one that shows itself."""
        shown = mask.as_subclass(ShownMask)
        shown.codes, shown.ignore_index = self.codes, self.ignore_index
        return shown
