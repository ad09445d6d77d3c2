"""Give fastai 1's `Learner` a method for whole slides, and interpret it window by window."""

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
from patchaug.fastai1.label_list import SlideLabelList
from patchaug.fastai1.slide_list import SlideItemList
from patchaug.predict.predict_slide import GridOutputs, grid_outputs, image_pixels, predict_slide
from patchaug.predict.run_model import model_outputs
from patchaug.slides.slide import Slide


@grid_outputs.register
def _grid_outputs(learn: Learner, slide: Slide) -> GridOutputs:
    data = learn.data
    valid = getattr(data.valid_ds, "x", None)
    if not isinstance(valid, SlideItemList):
        raise OptionError(f"predict_slide needs a learner trained on slides; its items are a {type(valid).__name__}")
    if len(slide.members) > 1:
        raise OptionError(
            f"the model has one input, and predict_slide got {len(slide.members)} slides; call it with one"
        )
    valid.pixels.require_format([slide])
    # Every window of the grid, and an error for one that cannot be read.
    items = valid.new([slide], patch=valid.patch.model_copy(update={"valid": "grid", "on_error": "raise"}))
    items.make_windows()
    loader = DeviceDataLoader.create(
        SlideLabelList(items, EmptyLabelList([0])), data.valid_dl.batch_size, device=data.device,
        tfms=data.valid_dl.tfms, num_workers=data.valid_dl.num_workers,
    )  # fmt: skip
    return GridOutputs(items.plan, model_outputs(learn.model, (batch[0] for batch in loader)))


@image_pixels.register
def _image_pixels(learn: Learner) -> list[Any]:
    items = getattr(learn.data.valid_ds, "x", None)
    return [items.pixels] if isinstance(items, SlideItemList) else []


Learner.predict_slide = predict_slide

_export = Learner.export


def export_without_activations(learn: Learner, file: Any = "export.pkl", destroy: bool = False) -> Any:
    """Call fastai's `export`; a learner on slides is written atomically, without the activations of its last batch."""
    if not isinstance(getattr(learn.data.valid_ds, "x", None), SlideItemList):
        return _export(learn, file, destroy)
    drop_activations(learn.model)
    if not isinstance(file, (str, os.PathLike)):  # a stream
        return _export(learn, file, destroy)
    with atomic_write(Path(learn.path, file).absolute(), "learner") as temporary:
        return _export(learn, temporary, destroy)


Learner.export = export_without_activations


class SlideInterpretation(SegmentationInterpretation):
    """Interpret a learner window by window: fastai's `SegmentationInterpretation`, which can also name the slides."""

    def top_losses(
        self, sizes: tuple[int, int], k: int | None = None, largest: bool = True, items: bool = False
    ) -> Any:
        """Find the windows with the largest losses.

        Args:
            sizes: (height, width) of a patch.
            k: How many; default: all.
            largest: False finds the smallest losses instead.
            items: Also return the `Draw` of each window, which names slide and window.

        Returns:
            Losses, float (k,), and numbers of the windows, int64 (k,); with `items`, also a list of k draws.
        """
        losses, idx = super().top_losses(sizes, k, largest)
        return (losses, idx, [self.ds.x.draw_at(i) for i in idx.tolist()]) if items else (losses, idx)

    def _interp_show(
        self, ims: Any, classes: Any = None, sz: int = 20, cmap: str = "tab20", title_suffix: str | None = None
    ) -> None:
        if classes is not None:  # fastai's own code needs np.float, which numpy has removed
            numbers = torch.tensor([self.c2i[name] for name in classes])
            pixels = ims.data.float()
            ims = SimpleNamespace(data=pixels.where(torch.isin(ims.data, numbers), torch.tensor(np.nan)))
        super()._interp_show(ims, None, sz, cmap, title_suffix)
