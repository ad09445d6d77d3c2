"""Give fastai's `Learner` a method for whole slides."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from threading import get_ident
from typing import Any

import torch
from fastai.callback.core import CancelValidException, GatherPredsCallback
from fastai.callback.progress import ProgressCallback
from fastai.learner import Learner
from fastai.torch_core import to_device
from fasttransform import Pipeline

from patchaug.errors import OptionError
from patchaug.fastai2.blocks import OpenSlideImage, OpenSlideMask
from patchaug.fastai2.lazy_items import prediction_item
from patchaug.fastai2.learner_epochs import is_fitting
from patchaug.fastai2.patch_dl import PatchDL
from patchaug.fastai2.random_patch import RandomPatch, random_patch
from patchaug.fastai2.transform_geometry import require_whole_windows
from patchaug.predict.predict_slide import predict_slide
from patchaug.predict.predict_slides import predict_slides
from patchaug.predict.run_model import evaluating
from patchaug.predict.trained_model import ReadPixels, TrainedModel, trained_model
from patchaug.sampling import Grid
from patchaug.sampling.plan import Plan
from patchaug.slides.slide import Slide


class LearnerModel:
    """Learner of fastai 2 that predicts slides; see `TrainedModel`."""

    def __init__(self, learn: Learner, valid: PatchDL) -> None:
        self.learn, self.valid = learn, valid
        options = random_patch(valid.after_item)
        grid = options.samplers.test
        assert isinstance(grid, Grid)
        self.grid, self.seed = grid, options.seed
        lists = getattr(valid.dataset, "tls", ())
        self._images = [t.pixels for one in lists for t in one.tfms.fs if isinstance(t, OpenSlideImage)]
        self.pixels: Sequence[ReadPixels] = self._images
        masks = [t for one in lists for t in one.tfms.fs if isinstance(t, OpenSlideMask)]
        names = getattr(masks[-1], "vocab", None) if masks else None
        self.codes = None if names is None else tuple(map(str, names))
        self.batch_size = valid.bs or 1
        self.item_transforms = ", ".join(
            type(t).__name__ for t in valid.after_item.fs if not isinstance(t, RandomPatch)
        )

    def over(self, slide: Slide, plan: Plan, groups: Sequence[Sequence[int]], workers: int | None) -> LearnerBatches:
        """Prepare batches of a slide's windows, see `TrainedModel`."""
        item = prediction_item(self.valid.layout, self.valid.n_inp, slide, self._images)
        for pixels, member in zip(self._images, slide.members, strict=False):
            pixels.require_format([member])
        if groups:
            require_whole_windows(self.valid, plan.read(plan[groups[0][0]]).image)
        own = {} if workers is None else {"num_workers": workers}
        loader = self.learn.dls.test_dl([slide], plan=plan, lazy_items=[item], **own)
        loader.groups = [list(group) for group in groups]
        return LearnerBatches(self.learn, loader)


class LearnerBatches:
    """Batches of a slide's windows and the model's answers, within fastai's validation loop; see `WindowBatches`."""

    def __init__(self, learn: Learner, loader: PatchDL) -> None:
        self.learn, self.loader = learn, loader
        self.reads_only = loader.fake_l.num_workers > 0 or loader.only_reads()
        self._transforms, loader.after_batch = loader.after_batch, Pipeline()
        if isinstance(self._transforms, Pipeline):
            self._transforms.split_idx = getattr(loader.dataset, "split_idx", None)

    def raw(self) -> Iterator[Any]:
        """Read the batches, on the learner's device."""
        return iter(self.loader)

    def prepared(self, raw: Any) -> Any:
        """Apply the learner's transforms of batches."""
        return self._transforms(raw)

    @contextmanager
    def answering(self) -> Iterator[Callable[[int, Any], Any]]:
        """Run fastai's validation loop, batch by batch as the answers are asked for."""
        learn, loader = self.learn, self.loader
        if vars(learn).get("_predicts") == get_ident():  # fastai's lock would wait for itself
            raise OptionError(
                "a callback calls predict_slide in an event that predict_slide runs itself, such as after_fit; call it "
                "in after_epoch, or after fit"
            )

        def answer(number: int, batch: Any) -> Any:
            learn.pred = None
            with torch.no_grad():
                learn.one_batch(number, batch)
            if learn.pred is None:
                raise OptionError("a callback has left out a batch of the slide; remove it to predict slides")
            return learn.pred

        with learn.lock, evaluating(learn.model), _unchanged(learn), ExitStack() as stack:
            bars = [callback for callback in learn.cbs if isinstance(callback, ProgressCallback)]
            stack.enter_context(learn.removed_cbs(bars))
            stack.enter_context(learn.added_cbs(_SlidePrediction()))
            stack.enter_context(learn.no_logging())
            stack.enter_context(learn.no_mbar())
            if not is_fitting(learn):  # else fit and epoch have begun
                stack.enter_context(learn)
            if next(learn.model.parameters(), None) is None:  # fastai asks the first one for its device
                vars(learn)["_set_device"] = lambda batch: to_device(batch, learn.dls.device)
                stack.callback(vars(learn).pop, "_set_device")
            learn.dl, learn.n_iter = loader, len(loader)
            try:
                learn("before_validate")
                yield answer
            except CancelValidException as error:
                raise OptionError(
                    "a callback has ended the prediction of a slide; remove it to predict slides"
                ) from error
            learn("after_validate")


@trained_model.register
def _trained_model(learn: Learner) -> TrainedModel:
    valid = learn.dls.valid
    if not isinstance(valid, PatchDL):
        raise OptionError(f"predict_slide needs a learner trained on slides; its loader is a {type(valid).__name__}")
    return LearnerModel(learn, valid)


Learner.predict_slide, Learner.predict_slides = predict_slide, predict_slides


class _SlidePrediction(GatherPredsCallback):
    """Stand for `get_preds`, by whose name loggers and trackers know that nothing is trained; keep no prediction."""

    name = "gather_preds"

    def after_batch(self) -> None:
        """Leave the prediction to `LearnerBatches`."""

    def after_validate(self) -> None:
        """Concatenate nothing."""


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
