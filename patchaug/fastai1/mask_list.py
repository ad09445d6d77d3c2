"""Masks of slides for fastai 1: a `SegmentationLabelList` that reads through the windows of the images."""

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
    """Store classes and ignore_index in an exported file."""

    def __init__(self, ds: SlideMaskList) -> None:
        super().__init__(ds)
        self.ignore_index = ds.ignore_index

    def process(self, ds: SlideMaskList) -> None:
        """Set classes and ignore_index of a list."""
        super().process(ds)
        ds.ignore_index = self.ignore_index


class SlideMaskList(SegmentationLabelList):
    """List the masks of a `SlideItemList`, which reads them together with the images.

    Args:
        items: Paths or arrays.
        classes: Names of the classes, in the order of the mask's integers; any other number is an error.
        ignore_index: Integer that means "no label"; the default loss ignores such pixels.

    Raises:
        OptionError: The classes are missing, or an item is not a mask.
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
        """Return the mask of window i, float32 (1, height, width); of unprocessed masks the source."""
        if self.x is None or self.x.plan is None:
            return self.items[i]
        # float32, as fastai 1 transforms masks; it holds every class number below 2^24.
        return ImageSegment(torch.from_numpy(self.x.patch_at(i).mask.astype(np.float32))[None])


class SlideLabelList(LabelList):
    """Pair slides with their masks, for one split."""

    def process(
        self, xp: Any = None, yp: Any = None, name: str | None = None, max_warn_items: int = 5
    ) -> SlideLabelList:
        """Make windows: those of the split `name`, a grid without one."""
        self.y.process(yp)
        labelled = isinstance(self.y, SlideMaskList)
        self.x.set_split(name or "test", self.y if labelled else None)
        self.x.process(xp)
        self.x.set_split(self.x.split)
        if labelled:
            self.y.items = self.x.items
        return self

    def transform(self, tfms: Any, tfm_y: bool | None = None, **kwargs: Any) -> SlideLabelList:
        """Set the transforms of this split.

        Raises:
            OptionError: Images would move without their masks, or patches would be resized.
        """
        if "size" in kwargs:
            raise OptionError(f"size={kwargs['size']} would resize each patch; set the size of a window in patch=")
        tfm_y = isinstance(self.y, SlideMaskList) and (self.tfm_y if tfm_y is None else tfm_y)
        if isinstance(self.y, SlideMaskList) and not tfm_y and any(_moves(one) for one in listify(tfms)):
            raise OptionError("transforms would move images without their masks: set tfm_y=True")
        moved: SlideLabelList = super().transform(tfms, tfm_y, **kwargs)
        return moved

    def __getitem__(self, idxs: Any) -> Any:
        """Return the pair of an index, its random transforms run under the key of its draw; or some windows."""
        at = try_int(idxs)
        if not isinstance(at, Integral) or self.item is not None or self.x.plan is None:
            return super().__getitem__(idxs)
        with isolated_rng(self.x.plan.transform_seed(self.x.draw_at(at))):
            return super().__getitem__(at)

    def get_state(self, **kwargs: Any) -> dict[str, Any]:
        """Return the state to export, without tfm_y: a loaded learner has no masks to transform."""
        return {**super().get_state(**kwargs), "tfm_y": False}


def _moves(transform: Any) -> bool:
    kind = getattr(transform, "tfm", transform)
    # Without a size a crop cuts nothing.
    return isinstance(kind, (TfmAffine, TfmCoord, TfmPixel)) and not isinstance(kind, TfmCrop)
