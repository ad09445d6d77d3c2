"""Give fastai 1's `Learner` a method for whole slides, and export it without activations."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import torch
from fastai.basic_data import DeviceDataLoader
from fastai.basic_train import Learner, Recorder
from fastai.callback import CallbackHandler
from fastai.core import defaults, listify
from fastai.data_block import EmptyLabelList

from patchaug.core.atomic import atomic_write
from patchaug.data.export import drop_activations
from patchaug.errors import OptionError
from patchaug.fastai1.label_list import SlideLabelList
from patchaug.fastai1.slide_list import SlideItemList
from patchaug.predict.predict_slide import GridOutputs, grid_outputs, image_pixels, predict_slide
from patchaug.predict.run_model import Output, evaluating
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
    windows = SlideLabelList(items, EmptyLabelList([0]), tfms=data.valid_ds.tfms, **data.valid_ds.tfmargs)
    loader = DeviceDataLoader.create(
        windows, data.valid_dl.batch_size, device=data.device, tfms=data.valid_dl.tfms,
        num_workers=data.valid_dl.num_workers,
    )  # fmt: skip
    return GridOutputs(items.plan, _outputs(learn, loader))


def _outputs(learn: Learner, loader: DeviceDataLoader) -> Generator[Output, None, None]:
    """Run the model on batches as fastai's `get_preds` does: callbacks change the images and the model's answers."""
    handler = CallbackHandler(callbacks_of(learn))
    with evaluating(learn.model):
        for images, targets in loader:
            with torch.no_grad():
                inputs = handler.on_batch_begin(images, targets, train=False)[0]
                scores = handler.on_loss_begin(
                    learn.model(*(inputs if isinstance(inputs, (list, tuple)) else (inputs,)))
                )
                handler.on_batch_end(None)
            yield images, scores


def callbacks_of(learn: Learner) -> list[Any]:
    """Return the callbacks that fastai's `get_preds` runs, without a recorder, which would replace that of the fit."""
    makers = [*learn.callback_fns, *listify(defaults.extra_callback_fns)]
    made = [make(learn) for make in makers if getattr(make, "func", make) is not Recorder]
    return [*made, *listify(learn.callbacks)]


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
