"""Give fastai 1's `Learner` a method for whole slides, and export it without activations."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fastai.basic_data import DeviceDataLoader
from fastai.basic_train import Learner, Recorder
from fastai.callback import CallbackHandler
from fastai.core import defaults, listify
from fastai.data_block import EmptyLabelList

from patchaug.core.atomic import atomic_write
from patchaug.data.export import drop_activations
from patchaug.data.patch_loader import PatchLoader
from patchaug.errors import OptionError
from patchaug.fastai1.label_list import SlideLabelList
from patchaug.fastai1.slide_list import SlideItemList
from patchaug.predict.predict_slide import predict_slide
from patchaug.predict.predict_slides import predict_slides
from patchaug.predict.run_model import evaluating
from patchaug.predict.trained_model import ReadPixels, TrainedModel, trained_model
from patchaug.sampling.plan import Plan
from patchaug.slides.slide import Slide


class LearnerModel:
    """Learner of fastai 1 that predicts slides; see `TrainedModel`."""

    def __init__(self, learn: Learner, valid: SlideItemList) -> None:
        self.learn, self.valid = learn, valid
        self.patch = valid.patch.model_copy(update={"valid": "grid", "on_error": "raise"})
        self.grid, self.seed = self.patch.samplers().test, self.patch.seed
        classes = getattr(learn.data, "classes", None)
        self.codes = None if classes is None else tuple(map(str, classes))
        self.pixels: Sequence[ReadPixels] = [valid.pixels]
        self.batch_size = learn.data.valid_dl.batch_size
        self.item_transforms = ", ".join(map(repr, learn.data.valid_ds.tfms or ()))

    def over(self, slide: Slide, plan: Plan, groups: Sequence[Sequence[int]], workers: int | None) -> LearnerBatches:
        """Prepare batches of a slide's windows, see `TrainedModel`."""
        if len(slide.members) > 1:
            raise OptionError(
                f"the model has one input, and predict_slide got {len(slide.members)} slides; call it with one"
            )
        self.valid.pixels.require_format([slide])
        data = self.learn.data
        items = self.valid.new(np.arange(len(plan)), patch=self.patch, plan=plan)
        windows = SlideLabelList(items, EmptyLabelList([0]), tfms=data.valid_ds.tfms, **data.valid_ds.tfmargs)
        loader = PatchLoader(
            windows, batch_sampler=[list(group) for group in groups],
            num_workers=data.valid_dl.num_workers if workers is None else workers,
        )  # fmt: skip
        return LearnerBatches(self.learn, DeviceDataLoader(loader, data.device, data.valid_dl.tfms))


class LearnerBatches:
    """Batches of a slide's windows and the model's answers, as fastai's `get_preds` gives them; see `WindowBatches`."""

    def __init__(self, learn: Learner, loader: DeviceDataLoader) -> None:
        self.learn, self.loader = learn, loader
        self.reads_only = loader.dl.num_workers > 0  # a patch sets the random generators of its process

    def raw(self) -> Iterator[Any]:
        """Read the batches."""
        return iter(self.loader.dl)

    def prepared(self, raw: Any) -> Any:
        """Move a batch to the learner's device and apply its transforms of batches."""
        return self.loader.proc_batch(raw)

    @contextmanager
    def answering(self) -> Iterator[Callable[[int, Any], Any]]:
        """Run the model as fastai's `get_preds` does: callbacks change the images and the model's answers."""
        learn, handler = self.learn, CallbackHandler(callbacks_of(self.learn))

        def answer(number: int, batch: Any) -> Any:
            with torch.no_grad():
                inputs = handler.on_batch_begin(*batch, train=False)[0]
                scores = handler.on_loss_begin(
                    learn.model(*(inputs if isinstance(inputs, (list, tuple)) else (inputs,)))
                )
                handler.on_batch_end(None)
            return scores

        with evaluating(learn.model):
            yield answer


@trained_model.register
def _trained_model(learn: Learner) -> TrainedModel:
    valid = getattr(learn.data.valid_ds, "x", None)
    if not isinstance(valid, SlideItemList):
        raise OptionError(f"predict_slide needs a learner trained on slides; its items are a {type(valid).__name__}")
    return LearnerModel(learn, valid)


def callbacks_of(learn: Learner) -> list[Any]:
    """Return the callbacks that fastai's `get_preds` runs, without a recorder, which would replace that of the fit."""
    makers = [*learn.callback_fns, *listify(defaults.extra_callback_fns)]
    made = [make(learn) for make in makers if getattr(make, "func", make) is not Recorder]
    return [*made, *listify(learn.callbacks)]


Learner.predict_slide, Learner.predict_slides = predict_slide, predict_slides

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
