"""Give fastai's `Learner` a method for whole slides."""

from __future__ import annotations

import copy
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from threading import get_ident

import torch
from fastai.callback.core import CancelValidException, GatherPredsCallback
from fastai.callback.progress import ProgressCallback
from fastai.learner import Learner

from patchaug.data.image_pixels import ImagePixels
from patchaug.errors import OptionError
from patchaug.fastai2.blocks import OpenSlideImage
from patchaug.fastai2.lazy_items import prediction_item
from patchaug.fastai2.learner_epochs import is_fitting
from patchaug.fastai2.patch_dl import PatchDL
from patchaug.fastai2.random_patch import random_patch
from patchaug.fastai2.transform_geometry import require_whole_windows
from patchaug.predict.predict_slide import GridOutputs, grid_outputs, image_pixels, predict_slide
from patchaug.predict.run_model import Output, evaluating
from patchaug.sampling.plan import Plan
from patchaug.slides.slide import Slide


@grid_outputs.register
def _grid_outputs(learn: Learner, slide: Slide) -> GridOutputs:
    valid = learn.dls.valid
    if not isinstance(valid, PatchDL):
        raise OptionError(f"predict_slide needs a learner trained on slides; its loader is a {type(valid).__name__}")
    item = prediction_item(valid.layout, valid.n_inp, slide, _image_pixels(learn))
    options = random_patch(valid.after_item)
    for pixels, member in zip(_image_pixels(learn), slide.members, strict=False):
        pixels.require_format([member])
    plan = Plan([slide], options.samplers.test, seed=options.seed, shuffle=False)
    require_whole_windows(valid, plan.read(plan[0]).image)
    return GridOutputs(plan, _outputs(learn, learn.dls.test_dl([slide], plan=plan, lazy_items=[item])))


@image_pixels.register
def _image_pixels(learn: Learner) -> list[ImagePixels]:
    lists = getattr(learn.dls.valid.dataset, "tls", ())
    return [t.pixels for one in lists for t in one.tfms.fs if isinstance(t, OpenSlideImage)]


Learner.predict_slide = predict_slide


class _SlidePrediction(GatherPredsCallback):
    """Stand for `get_preds`, by whose name loggers and trackers know that nothing is trained; keep no prediction."""

    name = "gather_preds"

    def after_batch(self) -> None:
        """Leave the prediction to `_outputs`."""

    def after_validate(self) -> None:
        """Concatenate nothing."""


def _outputs(learn: Learner, loader: PatchDL) -> Generator[Output, None, None]:
    """Run fastai's validation loop, batch by batch as the answers are asked for."""
    if vars(learn).get("_predicts") == get_ident():  # fastai's lock would wait for itself
        raise OptionError(
            "a callback calls predict_slide in an event that predict_slide runs itself, such as after_fit; call it in "
            "after_epoch, or after fit"
        )
    with learn.lock, evaluating(learn.model), _unchanged(learn), ExitStack() as stack:
        bars = [callback for callback in learn.cbs if isinstance(callback, ProgressCallback)]
        stack.enter_context(learn.removed_cbs(bars))
        stack.enter_context(learn.added_cbs(_SlidePrediction()))
        stack.enter_context(learn.no_logging())
        stack.enter_context(learn.no_mbar())
        if not is_fitting(learn):  # else fit and epoch have begun
            stack.enter_context(learn)
        learn.dl, learn.n_iter = loader, len(loader)
        try:
            learn("before_validate")
            for number, batch in enumerate(loader):
                learn.pred = None
                with torch.no_grad():
                    learn.one_batch(number, batch)
                if learn.pred is None:
                    raise OptionError("a callback has left out a batch of the slide; remove it to predict slides")
                yield learn.xb[0], learn.pred
        except CancelValidException as error:
            raise OptionError("a callback has ended the prediction of a slide; remove it to predict slides") from error
        learn("after_validate")


@contextmanager
def _unchanged(learn: Learner) -> Iterator[None]:
    """Leave the records of the last training, and the batch in progress within `fit`."""
    names = ("dl", "n_iter", "iter", "xb", "yb", "pred", "loss", "training", "train_iter", "pct_train", "final_record")
    before = {name: vars(learn)[name] for name in names if name in vars(learn)}
    learn._predicts = get_ident()
    recorder = vars(learn).get("recorder")
    records = {} if recorder is None else {**vars(recorder), "smooth_loss": copy.copy(recorder.smooth_loss)}
    try:
        yield
    finally:
        del learn._predicts
        if "dl" not in before:
            learn._end_cleanup()
        vars(learn).update(before)
        if recorder is not None:
            vars(recorder).update(records)
