"""A trained learner looked at slide by slide, and window by window."""

from __future__ import annotations

from typing import Any

import torch
from fastai.interpret import SegmentationInterpretation
from fastai.learner import Learner, _ConstantFunc
from fastcore.basics import patch

from patchaug.errors import OptionError
from patchaug.fastai2.patch_dl import PatchDL, random_patch
from patchaug.predict.run_model import predict_map
from patchaug.sampling.plan import Plan
from patchaug.slides.open import open_slide
from patchaug.slides.slide import Slide


def predict_slide(learn: Learner, slide: Any, *, out: Any = None) -> Any:
    """The class of each pixel of a slide, by a grid: `learn.predict_slide(slide)`.

    The grid is that of the options (`size`, `overlap`, level), whatever `valid` says. Where windows overlap, a pixel
    is taken from the one in which it lies farther from the edge. In memory at any time: one batch with its activations,
    and a band of the slide as high as a window; only the map itself grows with the slide.

    Args:
        learn: A learner trained on a `PatchDL`, or loaded by `load_learner`.
        slide: A `Slide`, or what `open_slide` takes; its mask is not looked at.
        out: Where to put the map: an array, a `numpy.memmap`, a zarr array, of the map's shape. Default: a new array.

    Returns:
        (height, width) at the level that was read for training: `out`, or a new array of uint8, of uint16 where there
        are more than 256 classes.

    Raises:
        OptionError: The learner was not trained on slides, or `out` or the model's output does not fit.
        PatchaugError: The slide cannot be opened or read, or is smaller than a window.
    """
    valid = learn.dls.valid
    if not isinstance(valid, PatchDL):
        raise OptionError(f"predict_slide needs a learner trained on slides; its loader is a {type(valid).__name__}")
    described = random_patch(valid.after_item)
    slide = (slide if isinstance(slide, Slide) else open_slide(slide)).without_mask()
    plan = Plan([slide], described.samplers.test, seed=described.seed, shuffle=False)
    loader = learn.dls.test_dl([slide], plan=plan)
    return predict_map(learn.model, plan, (batch[0] for batch in loader), out)


patch(predict_slide)  # learn.predict_slide


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
