"""`SlideItemList`: slides behind fastai 1's data block, a true `SegmentationItemList`.

Its items are slides until fastai calls `process`, after splitting and labelling; so every `split_by_*` and
`label_from_*` works on slides. Then the items become the numbers of an epoch's windows, and `get` turns one integer,
epoch * n + place, into a window by the plan.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fastai.data_block import ItemLists, PreProcessor
from fastai.vision.data import SegmentationItemList
from fastai.vision.image import Image

from patchaug.augment import as_augment
from patchaug.core.arrays import Array
from patchaug.data.channel_planes import planes_of
from patchaug.data.image_pixels import ImagePixels
from patchaug.data.item_list import SlideListMixin, as_items, column, require_apart, require_as_many, require_patch
from patchaug.data.slide_items import LazySlideItem, SlideImage, SlideMask, name_of, place_of, slides_of, source_of
from patchaug.errors import OptionError
from patchaug.fastai1.channels_image import image_of
from patchaug.fastai1.databunch import SlideDataBunch
from patchaug.fastai1.item_transforms import CropOnly
from patchaug.fastai1.label_list import SlideLabelList
from patchaug.fastai1.mask_list import SlideMaskList
from patchaug.sampling import Adaptive
from patchaug.sampling.plan import Draw, Plan
from patchaug.slides.patch import Patch


class SlideProcessor(PreProcessor):
    """Make windows of slides; it holds the options, since an exported file stores only class and processor."""

    def __init__(self, ds: SlideItemList) -> None:
        self.patch, self.ram, self.pixels = ds.patch, ds.ram, ds.pixels

    def process(self, ds: SlideItemList) -> None:
        """Set the options and, where there are slides, make their windows.

        Raises:
            OptionError: The list is one of several in an item.
        """
        if not ds.processed_alone:
            raise OptionError(
                "an item of several slides (MixedItemList) would draw a window for each of them; use fastai 2 and "
                "blocks=(SlideBlock, SlideBlock), which read all through one window"
            )
        ds.patch, ds.ram, ds.pixels = self.patch, self.ram, self.pixels
        if ds.plan is None and len(ds.items):
            ds.make_windows()

    def process_one(self, item: Any) -> Any:
        """Accept a patch for `learn.predict`.

        Raises:
            OptionError: The item is not an `Image` of fastai's, but a slide.
        """
        if isinstance(item, Image):
            return item
        raise OptionError(
            f"learn.predict needs one patch, an Image of fastai's, and got a {type(item).__name__}; take "
            f"learn.predict_slide(slide) for the class map of a whole slide"
        )


class SlideItemList(SlideListMixin, SegmentationItemList):
    """List slides with the methods of fastai 1; see `SlideListMixin` for `from_*` and `split_by_*`.

    Args:
        items: Paths, arrays, open slides.
        patch: The windows, a `PatchOptions`. Its `halo` and `edge` are those of `RandomPatch`: transforms of training
            slides work on patches that are larger by the halo, and each patch is cropped after the last of them.
        augment: A transform or Compose of albumentations, or an `Augment`, for the training slides.
        ram: Budget for decoded pixels, see `open_slide`.
        pixels: Channels, picture and scale of the images; default: those of `patch`.
        plan: The windows themselves, of a list that already has them.
        **kwargs: As for fastai's `ItemList`.

    Attributes:
        plan: The plan that turns an index into a window; None while the items are slides.

    Raises:
        OptionError: An item is not a slide, or `augment` is not a transform of albumentations.

    Examples:
        >>> from patchaug import PatchOptions
        >>> from patchaug.fastai import SlideItemList, get_transforms
        >>> data = (
        ...     SlideItemList.from_folder(path, patch=PatchOptions(64, per_slide=8, halo=16))
        ...     .split_by_idx([2])
        ...     .label_from_func(lambda image: image.with_name(f"{image.stem}_mask.tiff"), classes=codes)
        ...     .transform(get_transforms(max_rotate=30), tfm_y=True)
        ...     .databunch(bs=4, num_workers=0)
        ... )
        >>> len(data.train_dl), tuple(data.train_ds[0][0].shape)
        (4, (3, 64, 64))
    """

    _bunch, _label_cls, _processor = SlideDataBunch, SlideMaskList, SlideProcessor

    def __init__(
        self,
        items: Any,
        *args: Any,
        patch: Any = None,
        augment: Any = None,
        ram: int | str = "auto",
        plan: Plan | None = None,
        pixels: ImagePixels | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(as_items(items), *args, **kwargs)
        self.items: Array
        self.patch, self.ram = patch, ram
        self.augment = as_augment(augment, "auto" if patch is None else patch.halo)
        chosen = () if patch is None else (patch.channels, patch.series, patch.scale)
        self.pixels: ImagePixels = ImagePixels(*chosen) if pixels is None else pixels
        self.plan = plan if self.items.dtype != object else None  # new slides need a new plan
        self.split, self.masks = "test", None
        self.processed_alone = False  # by its own `process`, not by that of a list of lists
        self._last_patch: tuple[int, Patch] | None = None
        self._label_list = SlideLabelList
        self.copy_new += ["patch", "augment", "ram", "plan", "pixels"]

    def process(self, processor: Any = None) -> SlideItemList:
        """Make windows of the slides, see fastai's `process`."""
        self.processed_alone = True
        processed: SlideItemList = super().process(processor)
        return processed

    def set_split(self, split: str, masks: Any = None) -> None:
        """Set what the windows are for, before they are made.

        Args:
            split: "train", "valid" or "test".
            masks: The `SlideMaskList` of the slides, or None.
        """
        self.split, self.masks = split, masks

    def make_windows(self) -> None:
        """Open the slides and replace the items by the windows of an epoch.

        Raises:
            PatchaugError: A slide cannot be opened, or cannot give the windows asked for.
            OptionError: Importance weights are asked for.
        """
        require_patch(self.patch)
        seed, samplers = self.patch.seed, self.patch.samplers()._replace(augment=self.augment)
        if samplers.weights:
            raise OptionError(
                "fastai 1 has no place for importance weights; use fastai 2, or PatchDataset(..., weights=True) with "
                "WeightedLoss in a loop of your own"
            )
        sampler = samplers.of(self.split)
        if isinstance(sampler, Adaptive):
            raise OptionError("fastai 1 does not record the losses of windows; use fastai 2 for mode='adaptive'")
        ram = self.patch.ram if self.ram == "auto" else self.ram
        pairs: list[list[LazySlideItem]] = [
            [SlideImage(source_of(i), pixels=self.pixels, ram=ram, name=name_of(i), **place_of(i))] for i in self.items
        ]
        if self.masks is not None:
            require_as_many(self.items, self.masks.items)
            names = ("codes", "ignore_index", "outside", "label", "invalid")
            options = {"ram": ram, **{name: getattr(self.masks, name) for name in names}}
            for pair, mask in zip(pairs, self.masks.items, strict=True):
                pair.append(SlideMask(source_of(mask), **options))
        slides = slides_of(pairs, sampler, samplers.indexing)
        self.plan = samplers.plan(self.split, slides, seed=seed, shuffle=self.split == "train")
        self.items = np.arange(len(self.plan))

    def without_augment(self) -> SlideItemList:
        """Return a list of the same windows of each epoch, slide by slide and without `augment`."""
        same = copy.copy(self)
        same._last_patch = None
        if self.plan is not None:
            same.plan = self.plan.ordered(False)  # a copy, since training plans are shuffled
            if same.plan.augment is not None:
                same.plan.augment = CropOnly(same.plan.augment)
        return same

    def draw_at(self, index: int) -> Draw:
        """Return the draw of an index, epoch * len(self) + place."""
        epoch, place = divmod(index, len(self.items))
        assert self.plan is not None, "the items are still slides"
        return self.plan[epoch * len(self.plan) + int(self.items[place])]

    def patch_at(self, index: int) -> Patch:
        """Read image and mask of an index once: fastai asks for the image first, then for the mask."""
        last = self._last_patch
        if last is None or last[0] != index:
            assert self.plan is not None, "the items are still slides"
            self._last_patch = last = (index, self.plan.read(self.draw_at(index)))
        return last[1]

    def get(self, i: int) -> Any:
        """Return the image of window i, float32 (channels, height, width); of slides the source."""
        if self.plan is None:
            return self.items[i]
        image = self.patch_at(i).image
        scaled = self.pixels.scaled(image)
        pixels = planes_of(image if scaled is None else scaled)
        return image_of(pixels.float().div_(255) if scaled is None else pixels, scaled is not None)

    def reconstruct(self, t: torch.Tensor) -> Image:
        """Return the image of a tensor (channels, height, width), to be shown."""
        scaled = self.pixels.scale is not None
        return image_of(t.float() if scaled or t.shape[0] != 3 else t.float().clamp(0, 1), scaled)

    @property
    def slides(self) -> list[Any]:
        """The slides of this list; empty before the windows are made."""
        return [] if self.plan is None else self.plan.slides

    def split_by_list(self, train: SlideItemList, valid: SlideItemList) -> ItemLists:
        """Split into two lists that were made before.

        Raises:
            OptionError: A slide is in both lists.
        """
        require_apart(train.items, valid.items)
        return super().split_by_list(train, valid)

    def label_from_func(self, func: Callable[[Any], Any], label_cls: Any = None, **kwargs: Any) -> SlideLabelList:
        """Label each slide by a function of its path or array."""
        return self._label_from_list([func(source_of(item)) for item in self.items], label_cls=label_cls, **kwargs)

    def label_from_df(self, cols: int | str = 1, label_cls: Any = None, **kwargs: Any) -> SlideLabelList:
        """Label with paths from a column of the data frame, below `path`."""
        masks = [Path(self.path, name) for name in column(self.inner_df, cols)]
        return self._label_from_list(masks, label_cls=label_cls, **kwargs)

    def _label_from_list(
        self, labels: Iterable[Any], label_cls: Any = None, from_item_lists: bool = False, **kwargs: Any
    ) -> SlideLabelList:
        # fastai's own code lets numpy stack arrays of one size.
        labelled: SlideLabelList = super()._label_from_list(
            as_items(labels, masks=True), label_cls, from_item_lists, **kwargs
        )
        return labelled
