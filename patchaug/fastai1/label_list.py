"""`SlideLabelList`: images and masks of one split, transformed together under the key of their window."""

from __future__ import annotations

from numbers import Integral
from typing import Any

from fastai.core import listify
from fastai.data_block import EmptyLabelList, LabelList
from fastai.torch_core import try_int
from fastai.vision.image import Image

from patchaug.data.isolated_rng import isolated_rng
from patchaug.errors import OptionError
from patchaug.fastai1.item_transforms import keyed_transforms, require_moving_together, require_size
from patchaug.fastai1.mask_list import SlideMaskList


class SlideLabelList(LabelList):
    """Pair slides with their masks, for one split."""

    def process(
        self, xp: Any = None, yp: Any = None, name: str | None = None, max_warn_items: int = 5
    ) -> SlideLabelList:
        """Make windows: those of the split `name`, a grid without one.

        Raises:
            OptionError: The labels are something else than masks.
        """
        if not isinstance(self.y, (SlideMaskList, EmptyLabelList)):
            raise OptionError(
                f"labels of slides are masks, read through the window of the image, and these are a "
                f"{type(self.y).__name__}, with one item for each slide; leave label_cls out, or use fastai 2 for "
                f"slides as targets"
            )
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
        for name in ("size", "mult"):
            if name in kwargs:
                raise OptionError(
                    f"{name}={kwargs[name]} would resize each patch; set the size of a window in patch=, and its "
                    f"resolution by mpp"
                )
        masked = isinstance(self.y, SlideMaskList)
        tfm_y = masked and (self.tfm_y if tfm_y is None else tfm_y)
        if masked:
            require_moving_together(listify(tfms), tfm_y)
        moved: SlideLabelList = super().transform(tfms, tfm_y, **kwargs)
        if tfms and self.x.plan is not None and len(self.x.items):
            _ = self[0]  # sizes that do not fit are an error here, before training
        return moved

    def transform_y(self, tfms: Any = None, **kwargs: Any) -> SlideLabelList:
        """Apply the image's transforms to the masks too.

        Raises:
            OptionError: Masks would get transforms of their own.
        """
        if tfms is not None or kwargs:
            raise OptionError("masks move with their images: transform(tfms, tfm_y=True) sets transforms of both")
        return self.transform(self.tfms, True, **self.tfmargs)

    def __getitem__(self, idxs: Any) -> Any:
        """Return the pair of an index, its random transforms run under the key of its draw; or some windows."""
        at = try_int(idxs)
        if not isinstance(at, Integral) or self.item is not None or self.x.plan is None:
            return super().__getitem__(idxs)
        with isolated_rng(self.x.plan.transform_seed(self.x.draw_at(at))):
            image, mask = self.x[at], self.y[at]
            if self.tfms or self.tfmargs:
                keyed = keyed_transforms(self.tfms)
                image = image.apply_tfms(keyed, do_resolve=False, **self.tfmargs)
                if self.tfm_y:
                    chosen = [id(one) for one in listify(self.tfms_y)]
                    both = [one for one in keyed if id(one.transform) in chosen]
                    mask = mask.apply_tfms(both, do_resolve=False, **self.tfmargs_y)
        return self._cropped(image), self._cropped(mask)

    def _cropped(self, item: Any) -> Any:
        if not isinstance(item, Image):
            return item
        return type(item)(require_size(item.px, self.x.plan, trains=self.x.split == "train"))

    def get_state(self, **kwargs: Any) -> dict[str, Any]:
        """Return the state to export, without tfm_y: a loaded learner has no masks to transform."""
        return {**super().get_state(**kwargs), "tfm_y": False}
