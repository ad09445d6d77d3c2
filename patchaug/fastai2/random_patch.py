"""`RandomPatch`: the item transform that holds all options, and turns a slide into a patch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
import torch
from fastai.vision.core import PILImage, PILImageBW, PILMask, TensorImage, TensorImageBW, TensorMask
from fasttransform import ItemTransform

from patchaug.augment import as_augment
from patchaug.core.validation import SEED, Classes, OnError, Size, checked_integer, refuses_old_names
from patchaug.data.slide_items import LazySlideItem, SlideImage, SlideMask, slide_of
from patchaug.errors import OptionError
from patchaug.sampling import Empty, PerSlide
from patchaug.sampling.plan import Edge
from patchaug.sampling.splits import samplers_for
from patchaug.slides.slide import Patch


class RandomPatch(ItemTransform):
    """Draw windows of slides: random ones for training, a grid over the whole slide for validation.

    Image and mask are read through one window. Everything random follows from the seed: the same windows for any
    number of workers, other ones in the next epoch. One `RandomPatch` in the `item_tfms` does it all.

    Args:
        size: Side of the window in pixels of `level`, or (height, width).
        per_slide: Windows of each slide in an epoch (random modes); or "area" or "tissue", to share out `windows`.
        windows: Windows of all slides in an epoch, with per_slide "area" or "tissue"; see `Uniform`.
        foreground: Probability that a draw is a foreground draw (mode "random"), see `Foreground`.
        classes: Classes that count as foreground; see `Foreground`. Default: all but 0 and `ignore_index`.
        min_fraction: Least share of a window's pixels that belongs to those classes; see `Foreground`.
        empty: What to do with a slide without foreground: "raise", "uniform" or "skip".
        mode: Windows of the training slides: "random", "grid", or "random-grid" (a grid with a new offset each epoch).
        overlap: Pixels that neighbours of a grid share.
        valid: Windows of the validation slides: "grid", or "random" (the same ones in each epoch).
        level: Pyramid level to read.
        mpp: Micrometres per pixel of the patches, in place of a level; see `Uniform`.
        augment: A transform or Compose of albumentations, or an `Augment`, for the training slides.
        halo: Pixels read around each of their patches, so that no transform invents any. "auto" is what `augment`
            needs. Without `augment` it is a number: the batch's transforms work on patches so much larger on each side,
            and the batch is cropped after the last of them.
        edge: "shift" keeps windows far enough inside for the halo; "reflect" mirrors at the border, see `Plan`.
        on_error: What to do with a window that cannot be read: "raise" or "resample"; see `Plan`.
        seed: 0 to 2^32 - 1.

    Raises:
        OptionError: A value is of a wrong type or out of its limits.
    """

    order = -10  # before every other item transform: they want pixels, and would pass over a handle without a word
    split_idx = None  # on training and validation items alike

    @refuses_old_names
    def __init__(
        self,
        size: Size,
        *,
        per_slide: PerSlide = 1,
        windows: int | None = None,
        foreground: float = 0.0,
        classes: Classes | None = None,
        min_fraction: float = 0.0,
        empty: Empty = "raise",
        mode: Literal["random", "grid", "random-grid"] = "random",
        overlap: int = 0,
        valid: Literal["grid", "random"] = "grid",
        level: int = 0,
        mpp: float | None = None,
        augment: Any = None,
        halo: int | Literal["auto"] = "auto",
        edge: Edge = "shift",
        on_error: OnError = "raise",
        seed: int = SEED,
    ) -> None:
        super().__init__()
        self.samplers = samplers_for(
            mode=mode, valid=valid, size=size, per_slide=per_slide, windows=windows, foreground=foreground,
            classes=classes, min_fraction=min_fraction, empty=empty, overlap=overlap, level=level, mpp=mpp,
            augment=as_augment(augment, halo), halo=halo, edge=edge, on_error=on_error,
        )  # fmt: skip
        self.seed = checked_integer("seed", seed, 0)

    @classmethod
    def from_options(cls, options: Any, *, augment: Any = None) -> RandomPatch:
        """The transform that a `PatchOptions` describes, and what is done to the patches, which is no option."""
        return cls(**options.arguments(cls), augment=augment)

    def __repr__(self) -> str:
        return f"RandomPatch(train={self.samplers.train}, valid={self.samplers.valid}, seed={self.seed})"

    def setups(self, loader):  # noqa: ANN001, ANN201 - as below
        """fastai shows each loader to its transforms: only a `PatchDL` draws windows.

        Raises:
            OptionError: The loader is another one; it would show the same window of each slide in every epoch.
        """
        if not getattr(loader, "draws_windows", False):
            raise OptionError(
                f"RandomPatch stands in a {type(loader).__name__}, and only PatchDL draws windows; leave dl_type out, "
                f"so that the SlideBlock chooses it"
            )

    def encodes(self, item):  # noqa: ANN001, ANN201 - fastai dispatches on annotations; none means every type
        """Pixels in place of the handles: both come from the one read of their draw."""
        handles = [element for element in item if isinstance(element, LazySlideItem)]
        if not handles:
            return item
        first = handles[0]
        if first.plan is None or first.draw is None:
            # Nobody drew a window: DataBlock.summary, or a call by hand, looks at one item. It sees the first.
            plan = self.samplers.plan("train", [slide_of(handles)], seed=self.seed, shuffle=False)
            return pixels_of(item, plan.read(plan[0]))
        return pixels_of(item, first.plan.read(first.draw))


def pixels_of(item: Iterable[Any], patch: Patch) -> list[Any]:
    """An item with the pixels of a patch in place of its handles."""
    return [_pixels(element, patch) for element in item]


def _pixels(element: Any, patch: Patch) -> Any:
    if isinstance(element, SlideImage):
        return _image(patch.image, as_tensor=element.as_tensor)
    if isinstance(element, SlideMask):
        return _mask(patch.mask, as_tensor=element.as_tensor)
    return element


def _image(image: np.ndarray, *, as_tensor: bool) -> Any:
    """A Pillow image where there is a mode for it, so that all of fastai's item transforms work; else a tensor.

    With `as_tensor`, what fastai's ToTensor would make of that image, at once: two copies of the pixels less.
    """
    channels = image.shape[2]
    if channels in (1, 3) and not as_tensor:
        return PILImage.create(image) if channels == 3 else PILImageBW.create(image[..., 0])
    kind = TensorImageBW if channels == 1 else TensorImage
    pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)  # a flip is a view that runs backwards
    return kind(pixels if as_tensor and channels in (1, 3) else pixels.contiguous())


def _mask(mask: np.ndarray, *, as_tensor: bool) -> Any:
    if mask.dtype == np.uint8 or (mask.min(initial=0) >= 0 and mask.max(initial=0) <= 255):
        small = np.ascontiguousarray(mask, np.uint8)
        return TensorMask(torch.from_numpy(small)) if as_tensor else PILMask.create(small)
    return TensorMask(torch.from_numpy(mask.astype(np.int64)))
