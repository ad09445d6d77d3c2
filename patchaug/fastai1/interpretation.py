"""Interpret a learner of fastai 1 window by window: losses, draws, pictures and targets of the same windows."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import fastai.basic_train
import numpy as np
import torch
from fastai.basic_data import DatasetType, DeviceDataLoader
from fastai.basic_train import Learner, _loss_func2activ
from fastai.callback import CallbackHandler
from fastai.core import ifnone
from fastai.train import Interpretation
from fastai.vision.image import ImageSegment
from fastai.vision.interpret import SegmentationInterpretation

from patchaug.data.patch_loader import PatchLoader
from patchaug.errors import OptionError
from patchaug.fastai1.databunch import SlideDataBunch, fixed
from patchaug.fastai1.learner import callbacks_of
from patchaug.fastai1.losses import SlideCrossEntropy


class SlideInterpretation(SegmentationInterpretation):
    """Interpret a learner window by window: fastai's `SegmentationInterpretation`, which can also name the slides.

    Losses, draws, pictures and targets belong to the windows of one epoch: of training slides, the epoch of the next
    pass, slide by slide. Random transforms of training slides are left out.

    Examples:
        >>> from fastai.vision import Learner
        >>> from torch import nn
        >>> from patchaug.fastai import SlideInterpretation, SlideItemList
        >>> data = (
        ...     SlideItemList.from_arrays([image, image], patch=PatchOptions(64, per_slide=8))
        ...     .split_by_idx([1])
        ...     .label_from_func(lambda pixels: mask, classes=["background", "nucleus"])
        ...     .databunch(bs=4, num_workers=0)
        ... )
        >>> learn = Learner(data, nn.Conv2d(3, 2, 1))
        >>> interpretation = SlideInterpretation.from_learner(learn)
        >>> losses, numbers, draws = interpretation.top_losses((64, 64), 2, items=True)
        >>> len(draws), draws[0].window.width
        (2, 64)
    """

    first = 0  # index of the first window

    @classmethod
    def from_learner(
        cls, learn: Learner, ds_type: DatasetType = DatasetType.Valid, activ: Any = None
    ) -> SlideInterpretation:
        """Predict the windows of a loader, and compute the loss of each pixel.

        Args:
            learn: A learner trained on slides.
            ds_type: The loader: `DatasetType.Valid`, `Train` or `Fix`.
            activ: Activation of the predictions; default: that of the loss.

        Raises:
            OptionError: The learner was trained on other data than slides.
        """
        data = learn.data
        if not isinstance(data, SlideDataBunch):
            raise OptionError(f"SlideInterpretation needs a learner trained on slides, got a {type(data).__name__}")
        if ds_type != DatasetType.Train:
            return cls(learn, *learn.get_preds(ds_type, activ=activ, with_loss=True), ds_type)
        windows, valid = fixed(data.train_ds, data.valid_ds), data.valid_dl
        first = data.epoch * len(windows)
        loader = PatchLoader(
            windows, valid.batch_size, sampler=range(first, first + len(windows)), num_workers=valid.num_workers
        )
        predictions = fastai.basic_train.get_preds(
            learn.model, DeviceDataLoader(loader, data.device, valid.tfms, valid.collate_fn),
            cb_handler=CallbackHandler(callbacks_of(learn)), activ=ifnone(activ, _loss_func2activ(learn.loss_func)),
            loss_func=learn.loss_func,
        )  # fmt: skip
        interpretation = cls(learn, *predictions, ds_type)
        interpretation.ds, interpretation.first = windows, first
        return interpretation

    def top_losses(
        self, sizes: tuple[int, int], k: int | None = None, largest: bool = True, items: bool = False
    ) -> Any:
        """Find the windows with the largest losses: the mean over the pixels of a window that count.

        Args:
            sizes: (height, width) of a patch.
            k: How many; default: all.
            largest: False finds the smallest losses instead.
            items: Also return the `Draw` of each window, which names slide and window.

        Returns:
            Losses, float (k,), and numbers of the windows, int64 (k,); with `items`, also a list of k draws.
        """
        losses = self.losses.view(-1, sizes[0] * sizes[1])
        loss_func = self.learn.loss_func
        if isinstance(loss_func, SlideCrossEntropy) and not loss_func.counts_all:
            counted = torch.stack([loss_func.counted(labels.long()).float().cpu() for labels in self.y_true])
            losses = losses.sum(-1) / counted.where(counted > 0, torch.ones(()))
        else:
            losses = losses.mean(-1)
        worst, idx = losses.topk(ifnone(k, len(losses)), largest=largest)
        return (worst, idx, [self.ds.x.draw_at(self.first + i) for i in idx.tolist()]) if items else (worst, idx)

    def show_xyz(self, i: int, classes: Any = None, sz: int = 10) -> None:
        """Draw image, mask and prediction of window `i`, see fastai's `show_xyz`."""
        x, y = self.ds[self.first + int(i)]
        self.ds.show_xys([x], [y], figsize=(sz / 2, sz / 2))
        self._interp_show(ImageSegment(self.y_true[i]), classes, sz=sz, title_suffix="true")
        self._interp_show(ImageSegment(self.pred_class[i][None, :]), classes, sz=sz, title_suffix="pred")

    def _interp_show(
        self, ims: Any, classes: Any = None, sz: int = 20, cmap: str = "tab20", title_suffix: str | None = None
    ) -> None:
        # fastai's own code needs np.float, which numpy has removed, and a name for each number.
        numbers = torch.tensor([self.c2i[name] for name in ifnone(classes, self.data.classes)])
        pixels = ims.data.float()
        ims = SimpleNamespace(data=pixels.where(torch.isin(ims.data, numbers), torch.tensor(np.nan)))
        super()._interp_show(ims, None, sz, cmap, title_suffix)


_init, _from_learner = Interpretation.__init__, Interpretation.from_learner.__func__


def init_without_slides(self: Interpretation, learn: Learner, *args: Any, **kwargs: Any) -> None:
    """Call fastai's `__init__`, which would show other windows than those that were scored.

    Raises:
        OptionError: The learner was trained on slides.
    """
    _refuse_slides(type(self), learn)
    _init(self, learn, *args, **kwargs)


def from_learner_without_slides(cls: type[Interpretation], learn: Learner, *args: Any, **kwargs: Any) -> Any:
    """Call fastai's `from_learner`.

    Raises:
        OptionError: The learner was trained on slides.
    """
    _refuse_slides(cls, learn)
    return _from_learner(cls, learn, *args, **kwargs)


def _refuse_slides(kind: type, learn: Learner) -> None:
    if isinstance(learn.data, SlideDataBunch) and not issubclass(kind, SlideInterpretation):
        raise OptionError(
            f"{kind.__name__} shows other windows than those that it scores; use "
            f"SlideInterpretation.from_learner(learn)"
        )


Interpretation.__init__, Interpretation.from_learner = init_without_slides, classmethod(from_learner_without_slides)
