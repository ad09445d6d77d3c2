"""A trained learner of fastai 1 looked at slide by slide, and window by window."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from fastai.basic_data import DeviceDataLoader
from fastai.basic_train import Learner
from fastai.data_block import EmptyLabelList
from fastai.vision.interpret import SegmentationInterpretation

from patchaug.core.atomic import atomic_write
from patchaug.data.export import drop_activations
from patchaug.errors import OptionError
from patchaug.fastai1.mask_list import SlideLabelList
from patchaug.fastai1.slide_list import SlideItemList
from patchaug.predict.run_model import predict_map
from patchaug.slides.open import open_slide
from patchaug.slides.slide import Slide


def predict_slide(learn: Learner, slide: Any, *, out: Any = None) -> Any:
    """The class of each pixel of a slide, by a grid: `learn.predict_slide(slide)`.

    The grid is that of the options (`size`, `overlap`, level), whatever `valid` says. Where windows overlap, a pixel
    is taken from the one in which it lies farther from the edge. In memory at any time: one batch with its activations,
    and a band of the slide as high as a window; only the map itself grows with the slide.

    Args:
        learn: A learner trained on a `SlideDataBunch`, or loaded by `load_learner`.
        slide: A `Slide`, or what `open_slide` takes; its mask is not looked at.
        out: Where to put the map: an array, a `numpy.memmap`, a zarr array, of the map's shape. Default: a new array.

    Returns:
        (height, width) at the level that was read for training: `out`, or a new array of uint8, of uint16 where there
        are more than 256 classes.

    Raises:
        OptionError: The learner was not trained on slides, or `out` or the model's output does not fit.
        PatchaugError: The slide cannot be opened or read, or is smaller than a window.
    """
    data = learn.data
    known = getattr(data.valid_ds, "x", None)
    if not isinstance(known, SlideItemList):
        raise OptionError(f"predict_slide needs a learner trained on slides; its items are a {type(known).__name__}")
    items = known.new([slide if isinstance(slide, Slide) else open_slide(slide)])
    # Every window, and none in the place of another.
    items.patch = known.patch.model_copy(update={"valid": "grid", "on_error": "raise"})
    items.make_windows()
    loader = DeviceDataLoader.create(
        SlideLabelList(items, EmptyLabelList([0])), data.valid_dl.batch_size, device=data.device,
        tfms=data.valid_dl.tfms, num_workers=data.valid_dl.num_workers,
    )  # fmt: skip
    return predict_map(learn.model, items.plan, (batch[0] for batch in loader), out)


Learner.predict_slide = predict_slide

_export = Learner.export


def export(learn: Learner, file: Any = "export.pkl", destroy: bool = False) -> Any:
    """fastai's `export`; of a learner on slides atomically and without the activations of its last batch."""
    if not isinstance(getattr(learn.data.valid_ds, "x", None), SlideItemList):
        return _export(learn, file, destroy)
    drop_activations(learn.model)
    if not isinstance(file, (str, os.PathLike)):  # a stream
        return _export(learn, file, destroy)
    with atomic_write(Path(learn.path, file).absolute(), "learner") as temporary:
        return _export(learn, temporary, destroy)


Learner.export = export


class SlideInterpretation(SegmentationInterpretation):
    """fastai's SegmentationInterpretation: its numbers are windows of the split, and it can name their slides."""

    def top_losses(
        self, sizes: tuple[int, int], k: int | None = None, largest: bool = True, items: bool = False
    ) -> Any:
        """The k largest or smallest losses and their numbers; with items, also their draws (slide and window)."""
        losses, idx = super().top_losses(sizes, k, largest)
        return (losses, idx, [self.ds.x.draw_at(i) for i in idx.tolist()]) if items else (losses, idx)

    def _interp_show(
        self, ims: Any, classes: Any = None, sz: int = 20, cmap: str = "tab20", title_suffix: str | None = None
    ) -> None:
        if classes is not None:  # fastai's own way asks for np.float, which numpy has no more
            numbers = torch.tensor([self.c2i[name] for name in classes])
            pixels = ims.data.float()
            ims = SimpleNamespace(data=pixels.where(torch.isin(ims.data, numbers), torch.tensor(np.nan)))
        super()._interp_show(ims, None, sz, cmap, title_suffix)
