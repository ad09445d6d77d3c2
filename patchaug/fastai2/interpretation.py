"""Interpret a learner window by window; fastai's own interpretations number slides."""

from __future__ import annotations

from typing import Any

import torch
from fastai.callback.core import Callback
from fastai.interpret import Interpretation, SegmentationInterpretation
from fastai.learner import Learner, _ConstantFunc
from fastai.torch_core import find_bs

from patchaug.core.arguments import names_arguments_of_init
from patchaug.errors import OptionError
from patchaug.fastai2.losses import SlideCrossEntropy
from patchaug.fastai2.patch_dl import PatchDL


@names_arguments_of_init
class SlideInterpretation(SegmentationInterpretation):
    """Interpret a learner window by window: fastai's `SegmentationInterpretation`, numbered by the loader's windows.

    fastai numbers the losses by item, and an item is a slide with many windows. Losses, draws, pictures and targets
    belong to the windows of one epoch: of training slides, the epoch that the loader was at. Random batch and item
    transforms of fastai are left out, so that a picture is the one that the loss belongs to.

    Examples:
        >>> import numpy as np
        >>> from fastai.vision.all import Learner, nn
        >>> from patchaug.fastai import RandomPatch, SlideDataLoaders, SlideInterpretation
        >>> image, mask = np.zeros((64, 96, 3), np.uint8), np.zeros((64, 96), np.uint8)
        >>> dls = SlideDataLoaders.from_lists(
        ...     [(image, mask)], [(image.copy(), mask)], codes=["a", "b"], item_tfms=RandomPatch(32), bs=1,
        ...     num_workers=0,
        ... )
        >>> learn = Learner(dls, nn.Conv2d(3, 2, 1))
        >>> with learn.no_bar():
        ...     interpretation = SlideInterpretation.from_learner(learn)
        >>> losses, numbers, draws = interpretation.top_losses(2, items=True)
        >>> len(draws), draws[0].window.width
        (2, 32)
    """

    def __init__(self, learn: Learner, dl: PatchDL, losses: torch.Tensor, act: Any = None) -> None:
        super().__init__(learn, dl, losses, act)
        self.indices = range(dl.epoch * dl.n, (dl.epoch + 1) * dl.n)  # the loader may move on

    @classmethod
    def from_learner(
        cls, learn: Learner, ds_idx: int = 1, dl: PatchDL | None = None, act: Any = None
    ) -> SlideInterpretation:
        """Compute the loss of each window of a loader: the mean over its pixels that count.

        Args:
            learn: A learner trained on slides.
            ds_idx: Loader of the learner, if `dl` is None: 0 for training slides, 1 for validation slides.
            dl: The loader; its windows are taken slide by slide.
            act: Activation of the predictions; default: that of the loss.

        Raises:
            OptionError: The loader is not one of slides.
        """
        given = learn.dls[ds_idx] if dl is None else dl
        if not isinstance(given, PatchDL):
            raise OptionError(f"SlideInterpretation needs a loader of slides, got a {type(given).__name__}")
        loader, gathered = given.new(shuffle=False, drop_last=False), _WindowLosses()
        with loader.dataset.set_split_idx(1):
            learn.get_preds(dl=loader, with_loss=True, with_preds=False, with_targs=False, act=act, cbs=gathered)
        return cls(learn, loader, torch.cat(gathered.losses), act)

    def __getitem__(self, idxs: Any) -> tuple[Any, ...]:
        """Predict some windows again.

        Args:
            idxs: Their numbers in the loader: an int, a list of int, or an integer tensor (n,).

        Returns:
            Inputs, predictions, targets, decoded predictions and losses, each with n rows.
        """
        if isinstance(idxs, torch.Tensor):
            idxs = idxs.tolist()
        if not isinstance(idxs, list):
            idxs = [idxs]
        loader = self.dl.new(get_idxs=_ConstantFunc([self.indices[number] for number in idxs]))
        with loader.dataset.set_split_idx(1):
            results = self.learn.get_preds(
                dl=loader, with_input=True, with_loss=False, with_decoded=True, act=self.act, reorder=False
            )
        return (*results, self.losses[idxs])

    def top_losses(self, k: int | None = None, largest: bool = True, items: bool = False) -> tuple[Any, ...]:
        """Find the windows with the largest losses.

        Args:
            k: How many; default: all.
            largest: False finds the smallest losses instead.
            items: Also return the `Draw` of each window, which names slide and window.

        Returns:
            Losses, float (k,), and numbers of the windows, int64 (k,); with `items`, also a list of k draws.
        """
        losses, idx = super().top_losses(k, largest)
        return (losses, idx, [self.dl.plan[self.indices[i]] for i in idx.tolist()]) if items else (losses, idx)


class _WindowLosses(Callback):
    """Gather the loss of each window, float (windows of a batch,) for each batch."""

    def __init__(self) -> None:
        self.losses: list[torch.Tensor] = []

    def after_batch(self) -> None:
        learn, windows = self.learn, find_bs(self.learn.yb)
        loss = learn.loss.detach().as_subclass(torch.Tensor)
        if loss.numel() != windows:
            loss = loss.view(windows, -1)
            if isinstance(learn.loss_func, SlideCrossEntropy):
                counted = torch.stack([learn.loss_func.counted(labels) for labels in learn.y])
                loss = loss.sum(1) / counted.where(counted > 0, 1)
            else:
                loss = loss.mean(1)
        self.losses.append(learn.to_detach(loss.view(windows)))


_init, _from_learner = Interpretation.__init__, Interpretation.from_learner.__func__


def init_without_slides(self: Interpretation, learn: Learner, dl: Any, losses: Any, act: Any = None) -> None:
    """Call fastai's `__init__`, which would take a window's number for that of a slide.

    Raises:
        OptionError: The loader is one of slides.
    """
    _refuse_slides(type(self), dl)
    _init(self, learn, dl, losses, act)


def from_learner_without_slides(
    cls: type[Interpretation], learn: Learner, ds_idx: int = 1, dl: Any = None, act: Any = None
) -> Any:
    """Call fastai's `from_learner`.

    Raises:
        OptionError: The loader is one of slides.
    """
    _refuse_slides(cls, learn.dls[ds_idx] if dl is None else dl)
    return _from_learner(cls, learn, ds_idx, dl, act)


def _refuse_slides(kind: type, loader: Any) -> None:
    if isinstance(loader, PatchDL) and not issubclass(kind, SlideInterpretation):
        raise OptionError(
            f"{kind.__name__} numbers slides, and losses belong to windows; take "
            f"SlideInterpretation.from_learner(learn)"
        )


Interpretation.__init__, Interpretation.from_learner = init_without_slides, classmethod(from_learner_without_slides)
