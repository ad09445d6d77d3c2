"""Learners of `patchaug advise`: the model of `patchaug train`, trained for a number of seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fastai.callback.core import CancelFitException, CancelValidException

# fastai.vision.all, because its modules patch methods into Learner.
from fastai.vision.all import GradientAccumulation, combined_cos, set_seed

from patchaug.advise.candidate import Candidate
from patchaug.advise.measurements import PIXELS, PIXELS_ON_CPU, Network
from patchaug.advise.receptive_field import measure_receptive_field
from patchaug.advise.short_training import Trained
from patchaug.cli.class_pixels import balanced_weights, class_pixels
from patchaug.cli.learner import make_callbacks, make_learner, make_loaders, make_loss
from patchaug.fastai2.plain_errors import PlainErrors
from patchaug.options.fields import TrainOptions
from patchaug.slides.slide import Slide

_WINDOWS = 2**20  # of an epoch, more than a short training takes
_RISE = 0.25  # of the time, in which the learning rate rises


class ShortRuns:
    """Makes and trains learners of one model on windows of any size.

    Args:
        train: Training slides, with masks.
        valid: Validation slides, with masks.
        options: Options of the training.
        out: Folder of the results.
    """

    def __init__(self, train: Sequence[Slide], valid: Sequence[Slide], options: TrainOptions, out: Path) -> None:
        self._train, self._valid, self._options, self._out = train, valid, options, out

    def network(self, candidate: Candidate) -> Network:
        """Make the model, and measure its receptive field.

        Args:
            candidate: Windows with which it is made.

        Raises:
            PatchaugError: The model cannot be made, or does not fit the slides.
        """
        learn = self._learner(candidate, 2, self._options.seed)
        n_in = self._train[0].channels
        field = measure_receptive_field(learn.model, n_in)
        device = learn.dls.device
        pixels = PIXELS_ON_CPU if device.type == "cpu" else PIXELS
        return Network(learn.model, learn.loss_func, n_in, device, field, self._options.workers or 0, pixels)

    def train(self, candidate: Candidate, batch: int, seconds: float, seed: int) -> Trained:
        """Train a learner for some seconds; 0 makes it only.

        Args:
            candidate: Its windows.
            batch: Windows in a batch.
            seconds: Time of the training, from the first batch on.
            seed: Seed of weights and windows.
        """
        learn = self._learner(candidate, batch, seed)
        clock = TimedOneCycle(seconds, self._options.lr)
        if seconds:
            others = [
                one for one in make_callbacks(learn.dls, self._options) if not isinstance(one, GradientAccumulation)
            ]
            if learn.opt is not None and learn.opt.frozen_idx:  # a pretrained U-Net begins frozen
                learn.unfreeze()
            with learn.no_bar(), learn.no_logging():
                learn.fit(1, self._options.lr, cbs=[clock, *others])
        return Trained(learn, clock.steps, clock.took)

    def _learner(self, candidate: Candidate, batch: int, seed: int) -> Any:
        options = self._options
        many = {"windows": _WINDOWS} if isinstance(options.per_slide, str) else {"per_slide": _WINDOWS}
        workers = options.workers or 0  # the time to start processes would be a part of a short training
        options = options.model_copy(
            update={
                **candidate.options(), **many, "bs": batch, "seed": seed, "workers": workers,
                "split_region": None, "region": None,  # the slides are open, as parts and with their regions
            }
        )  # fmt: skip
        set_seed(seed)
        dls = make_loaders([(one, one) for one in self._train], [(one, one) for one in self._valid], options, self._out)
        learn = make_learner(dls, options, self._out)
        weights = options.numbers_of_classes(options.codes)
        if options.class_weights == "balanced":
            weights = balanced_weights(class_pixels(dls.train, len(options.codes)))
        learn.loss_func = make_loss(options, weights)
        return learn


class TimedOneCycle(PlainErrors):
    """One cycle of learning rate and momentum over a number of seconds, after which the training ends.

    Args:
        seconds: Time of the training, from the first batch on.
        lr: Highest learning rate.
        clock: Returns seconds; default: `time.monotonic`.

    Attributes:
        steps: Batches that were trained.
        took: Seconds that they took.
    """

    order = 60

    def __init__(self, seconds: float, lr: float, clock: Callable[[], float] | None = None) -> None:
        self.seconds, self.lr, self.clock = seconds, lr, clock or time.monotonic
        self.steps, self.took = 0, 0.0
        self._began: float | None = None
        self._rate = combined_cos(_RISE, lr / 25, lr, lr / 1e5)
        self._momentum = combined_cos(_RISE, 0.95, 0.85, 0.95)

    def before_batch(self) -> None:
        """Set the rate of this moment."""
        if not self.learn.training:
            return
        now = self.clock()
        self._began = now if self._began is None else self._began
        place = min((now - self._began) / self.seconds, 1.0)
        self.learn.opt.set_hyper("lr", self._rate(place))
        self.learn.opt.set_hyper("mom", self._momentum(place))

    def after_batch(self) -> None:
        """End the training when the time is up."""
        if not self.learn.training or self._began is None:
            return
        self.steps += 1
        self.took = self.clock() - self._began
        if self.took >= self.seconds:
            raise CancelFitException

    def before_validate(self) -> None:
        """Leave out the validation: the blocks are predicted afterwards."""
        raise CancelValidException
