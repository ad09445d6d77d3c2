"""A trained learner looked at slide by slide, and window by window."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from fastai.interpret import SegmentationInterpretation
from fastai.learner import Learner, _ConstantFunc

from patchaug.resample import nearest
from patchaug.slide import Slide


def predict_slide(learn: Learner, slide: Slide) -> np.ndarray:
    """The class of each pixel of a slide, by the grid of the learner's validation windows.

    Where windows overlap, the later one counts.

    Args:
        learn: A learner trained on a `PatchDL`, or loaded by `load_learner`.
        slide: The slide; its mask is not looked at.

    Returns:
        uint8 (height, width), at the level that was read for training (with `mpp`, the level read for it).
    """
    loader = learn.dls.test_dl([slide])
    width, height = slide.level_size(loader.plan.laws[0].frame.level)
    classes = np.zeros((height, width), np.uint8)
    at = 0
    was_training = learn.model.training
    learn.model.eval()
    try:
        with torch.no_grad():
            for batch in loader:
                for predicted in learn.model(batch[0]).argmax(dim=1).byte().cpu().numpy():
                    window = loader.plan[at].window
                    # Patches of another resolution than their level's grow back to their window.
                    classes[window.y : window.bottom, window.x : window.right] = nearest(
                        predicted, window.height, window.width
                    )
                    at += 1
    finally:
        learn.model.train(was_training)
    return classes


class SlideInterpretation(SegmentationInterpretation):
    """fastai's SegmentationInterpretation for loaders with more samples than items.

    fastai looks up the item of a loss by its number, and a slide has many. Here a number is a window of the loader.
    """

    def __getitem__(self, idxs: Any) -> tuple[Any, ...]:
        """Inputs, predictions, targets, decoded predictions and losses of windows, by number in the loader."""
        if isinstance(idxs, torch.Tensor):
            idxs = idxs.tolist()
        if not isinstance(idxs, list):
            idxs = [idxs]
        loader = self.dl.new(get_idxs=_ConstantFunc(idxs))
        found = self.learn.get_preds(
            dl=loader, with_input=True, with_loss=False, with_decoded=True, act=self.act, reorder=False
        )
        return (*found, self.losses[idxs])

    def top_losses(self, k: int | None = None, largest: bool = True, items: bool = False) -> tuple[Any, ...]:
        """The k largest or smallest losses and their numbers; with items, also their draws (slide and window)."""
        losses, idx = super().top_losses(k, largest)
        return (losses, idx, [self.dl.plan[i] for i in idx.tolist()]) if items else (losses, idx)
