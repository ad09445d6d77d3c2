"""Give fastai's `Learner` a method for whole slides, and interpret it window by window."""

from __future__ import annotations

from typing import Any

import torch
from fastai.interpret import SegmentationInterpretation
from fastai.learner import Learner, _ConstantFunc

from patchaug.errors import OptionError
from patchaug.fastai2.lazy_items import prediction_item
from patchaug.fastai2.patch_dl import PatchDL
from patchaug.fastai2.random_patch import random_patch
from patchaug.fastai2.transform_geometry import require_whole_windows
from patchaug.predict.predict_slide import GridBatches, grid_batches, predict_slide
from patchaug.sampling.plan import Plan
from patchaug.slides.slide import Slide


@grid_batches.register
def _grid_batches(learn: Learner, slide: Slide) -> GridBatches:
    valid = learn.dls.valid
    if not isinstance(valid, PatchDL):
        raise OptionError(f"predict_slide needs a learner trained on slides; its loader is a {type(valid).__name__}")
    item = prediction_item(valid.layout, valid.n_inp, slide)
    options = random_patch(valid.after_item)
    plan = Plan([slide], options.samplers.test, seed=options.seed, shuffle=False)
    require_whole_windows(valid, plan.read(plan[0]).image)
    loader = learn.dls.test_dl([slide], plan=plan, lazy_items=[item])
    return GridBatches(plan, (tuple(batch)[: len(item)] for batch in loader))


Learner.predict_slide = predict_slide


class SlideInterpretation(SegmentationInterpretation):
    """Interpret a learner window by window: fastai's `SegmentationInterpretation`, numbered by the loader's windows.

    fastai numbers the losses by item, and an item is a slide with many windows.

    Example:
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
        loader = self.dl.new(get_idxs=_ConstantFunc(idxs))
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
        return (losses, idx, [self.dl.plan[i] for i in idx.tolist()]) if items else (losses, idx)
