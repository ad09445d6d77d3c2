"""The masks of slides: fastai 1's `SegmentationLabelList`, whose masks come from the windows of the images."""

from __future__ import annotations

from collections.abc import Collection
from numbers import Integral
from typing import Any

import numpy as np
import torch
from fastai.core import listify
from fastai.data_block import LabelList
from fastai.layers import CrossEntropyFlat
from fastai.torch_core import try_int
from fastai.vision.data import SegmentationLabelList, SegmentationProcessor
from fastai.vision.image import ImageSegment, TfmAffine, TfmCoord, TfmCrop, TfmPixel

from patchaug.core.validation import refuses_old_names
from patchaug.data.isolated_rng import isolated_rng
from patchaug.data.item_list import as_items
from patchaug.errors import OptionError


class SlideMaskProcessor(SegmentationProcessor):
    """Classes and ignore_index, which go into an exported file."""

    def __init__(self, ds: SlideMaskList) -> None:
        super().__init__(ds)
        self.ignore_index = ds.ignore_index

    def process(self, ds: SlideMaskList) -> None:
        """Set them."""
        super().process(ds)
        ds.ignore_index = self.ignore_index


class SlideMaskList(SegmentationLabelList):
    """The masks that belong to a `SlideItemList`; it never reads by itself, so image and mask cannot part.

    Args:
        items: Paths or arrays.
        classes: Names of the classes, in the order of the mask's integers; any other number is an error.
        ignore_index: Integer that means "no label"; the default loss leaves such pixels out.

    Raises:
        OptionError: There are no classes, or an item is no mask.
    """

    _processor = SlideMaskProcessor

    @refuses_old_names
    def __init__(
        self, items: Any, classes: Collection[str] | None = None, ignore_index: int | None = None, **kwargs: Any
    ) -> None:
        if isinstance(classes, str) or (classes is None and len(items)):
            raise OptionError(
                f"masks need the names of their classes, as classes=['background', 'nucleus']; got {classes!r}"
            )
        names = None if classes is None else [str(name) for name in classes]
        super().__init__(as_items(items), classes=names, **kwargs)
        self.ignore_index = ignore_index
        self.copy_new.append("ignore_index")
        self.loss_func = CrossEntropyFlat(axis=1, **({} if ignore_index is None else {"ignore_index": ignore_index}))

    def get(self, i: int) -> Any:
        """The mask of window i; before there are windows, the source of mask i."""
        if self.x is None or self.x.plan is None:
            return self.items[i]
        # float32, as fastai 1 transforms masks; it holds every class number below 2^24.
        return ImageSegment(torch.from_numpy(self.x.patch_at(i).mask.astype(np.float32))[None])


class SlideLabelList(LabelList):
    """Slides with their masks; here it is known which split they are for."""

    def process(
        self, xp: Any = None, yp: Any = None, name: str | None = None, max_warn_items: int = 5
    ) -> SlideLabelList:
        """Make windows: those of the split `name`, a grid without one."""
        self.y.process(yp)
        labelled = isinstance(self.y, SlideMaskList)
        self.x.split, self.x.masks = name or "test", self.y if labelled else None
        self.x.process(xp)
        self.x.masks = None
        if labelled:
            self.y.items = self.x.items
        return self

    def transform(self, tfms: Any, tfm_y: bool | None = None, **kwargs: Any) -> SlideLabelList:
        """Set the transforms of this split.

        Raises:
            OptionError: Images would move and masks would not, or patches would be resized.
        """
        if "size" in kwargs:
            raise OptionError(f"size={kwargs['size']} would resize each patch; the size of a window is said in patch=")
        tfm_y = isinstance(self.y, SlideMaskList) and (self.tfm_y if tfm_y is None else tfm_y)
        if isinstance(self.y, SlideMaskList) and not tfm_y and any(_moves(one) for one in listify(tfms)):
            raise OptionError("images would move and masks would not: say tfm_y=True")
        return super().transform(tfms, tfm_y, **kwargs)

    def __getitem__(self, idxs: Any) -> Any:
        """The pair of an index, its random transforms run under the key of its draw; or a list of some windows."""
        at = try_int(idxs)
        if not isinstance(at, Integral) or self.item is not None or self.x.plan is None:
            return super().__getitem__(idxs)
        with isolated_rng(self.x.plan.transform_seed(self.x.draw_at(at))):
            return super().__getitem__(at)

    def get_state(self, **kwargs: Any) -> dict[str, Any]:
        """What is exported. Without tfm_y: who loads it has no masks, and fastai would try to transform them."""
        return {**super().get_state(**kwargs), "tfm_y": False}


def _moves(transform: Any) -> bool:
    kind = getattr(transform, "tfm", transform)
    # A crop has nothing to cut without a size.
    return isinstance(kind, (TfmAffine, TfmCoord, TfmPixel)) and not isinstance(kind, TfmCrop)
