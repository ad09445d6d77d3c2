"""`SlideItemList`: slides behind fastai 1's data block, a true `SegmentationItemList`.

Its items are slides until fastai calls `process`, after splitting and labelling; so every `split_by_*` and
`label_from_*` works on slides. Then the items become the numbers of an epoch's windows, and `get` turns one integer,
epoch * n + place, into a window by the plan.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fastai.data_block import ItemLists, PreProcessor
from fastai.vision.data import SegmentationItemList
from fastai.vision.image import Image

from patchaug.data.item_list import SlideListMixin, as_items, column, require_apart, require_as_many, require_patch
from patchaug.data.slide_items import LazySlideItem, SlideImage, SlideMask, name_of, slides_of, source_of
from patchaug.errors import OptionError
from patchaug.fastai1.databunch import SlideDataBunch
from patchaug.fastai1.mask_list import SlideLabelList, SlideMaskList
from patchaug.sampling.plan import Draw, Plan
from patchaug.slides.slide import Patch


class SlideProcessor(PreProcessor):
    """Makes windows of slides; holds the options, since class and processor are all that an exported file keeps."""

    def __init__(self, ds: SlideItemList) -> None:
        self.patch, self.ram = ds.patch, ds.ram

    def process(self, ds: SlideItemList) -> None:
        """Set the options and, where there are slides, make their windows."""
        ds.patch, ds.ram = self.patch, self.ram
        if ds.plan is None and len(ds.items):
            ds.make_windows()

    def process_one(self, item: Any) -> Any:
        """For `learn.predict`: a patch as it is; a slide is refused.

        Raises:
            OptionError: The item is no `Image` of fastai's.
        """
        if isinstance(item, Image):
            return item
        raise OptionError(
            f"learn.predict answers for one patch, an Image of fastai's, and got a {type(item).__name__}; take "
            f"learn.predict_slide(slide) for the class map of a whole slide"
        )


class SlideItemList(SlideListMixin, SegmentationItemList):
    """Slides, in the words of fastai 1; see `SlideListMixin` for `from_*` and `split_by_*`.

    Args:
        items: Paths, arrays, open slides.
        patch: The windows, a `PatchOptions`.
        ram: Budget for decoded pixels, see `open_slide`.
        plan: The windows themselves, of a list that already has them.
        **kwargs: As for fastai's `ItemList`.

    Attributes:
        plan: The plan that turns an index into a window; None while the items are slides.

    Raises:
        OptionError: An item is no slide.
    """

    _bunch, _label_cls, _processor = SlideDataBunch, SlideMaskList, SlideProcessor

    def __init__(
        self,
        items: Any,
        *args: Any,
        patch: Any = None,
        ram: int | str = "auto",
        plan: Plan | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(as_items(items), *args, **kwargs)
        self.patch, self.ram = patch, ram
        self.plan = plan if self.items.dtype != object else None  # other slides have other windows
        self.split, self.masks = "test", None  # what `SlideLabelList` says before it processes
        self._kept: tuple[int, Patch] | None = None
        self._label_list = SlideLabelList
        self.copy_new += ["patch", "ram", "plan"]

    def make_windows(self) -> None:
        """Open the slides, and let the items be the windows of an epoch.

        Raises:
            PatchaugError: A slide cannot be opened, or cannot give the windows asked for.
        """
        require_patch(self.patch)
        seed, samplers = self.patch.seed, self.patch.samplers()
        if samplers.halo:
            raise OptionError(
                f"halo={samplers.halo} is for transforms of the batch, and those of fastai 1 work on single images; "
                f"leave it out, or take fastai 2"
            )
        sampler = samplers.of(self.split)
        ram = self.patch.ram if self.ram == "auto" else self.ram
        handles: list[list[LazySlideItem]] = [[SlideImage(source_of(i), ram=ram, name=name_of(i))] for i in self.items]
        if self.masks is not None:
            require_as_many(self.items, self.masks.items)
            words = {"codes": self.masks.classes, "ignore_index": self.masks.ignore_index, "ram": ram}
            for handle, mask in zip(handles, self.masks.items, strict=True):
                handle.append(SlideMask(source_of(mask), **words))
        slides = slides_of(handles, sampler)
        self.plan = samplers.plan(self.split, slides, seed=seed, shuffle=self.split == "train")
        self.items = np.arange(len(self.plan))

    def draw_at(self, index: int) -> Draw:
        """The draw of an index, epoch * len(self) + place."""
        epoch, place = divmod(index, len(self.items))
        return self.plan[epoch * len(self.plan) + int(self.items[place])]

    def patch_at(self, index: int) -> Patch:
        """Image and mask of an index, from one read: fastai asks for the image first, then for the mask."""
        kept = self._kept
        if kept is None or kept[0] != index:
            self._kept = kept = (index, self.plan.read(self.draw_at(index)))
        return kept[1]

    def get(self, i: int) -> Any:
        """The image of window i; before there are windows, the source of slide i."""
        if self.plan is None:
            return self.items[i]
        pixels = np.ascontiguousarray(self.patch_at(i).image.transpose(2, 0, 1))
        return Image(torch.from_numpy(pixels).float().div_(255))

    @property
    def slides(self) -> list[Any]:
        """The slides of this list, once there are windows."""
        return [] if self.plan is None else self.plan.slides

    def split_by_list(self, train: SlideItemList, valid: SlideItemList) -> ItemLists:
        """Two lists given in advance.

        Raises:
            OptionError: A slide stands in both.
        """
        require_apart(train.items, valid.items)
        return super().split_by_list(train, valid)

    def label_from_func(self, func: Callable[[Any], Any], label_cls: Any = None, **kwargs: Any) -> SlideLabelList:
        """Masks by a function of path or array."""
        return self._label_from_list([func(source_of(item)) for item in self.items], label_cls=label_cls, **kwargs)

    def label_from_df(self, cols: int | str = 1, label_cls: Any = None, **kwargs: Any) -> SlideLabelList:
        """Masks from a column of the data frame, paths below `path`."""
        masks = [Path(self.path, name) for name in column(self.inner_df, cols)]
        return self._label_from_list(masks, label_cls=label_cls, **kwargs)

    def _label_from_list(
        self, labels: Iterable[Any], label_cls: Any = None, from_item_lists: bool = False, **kwargs: Any
    ) -> SlideLabelList:
        # numpy would take a list of equal arrays apart, in fastai's own.
        return super()._label_from_list(as_items(labels), label_cls, from_item_lists, **kwargs)
