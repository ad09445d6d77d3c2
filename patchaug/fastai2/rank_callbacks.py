"""Callbacks of fastai that would act on the part of one rank, and act on whole batches."""

from __future__ import annotations

from fastai.callback.core import CancelBatchException
from fastai.callback.training import GradientAccumulation
from fastai.learner import Recorder
from fastcore.foundation import L

from patchaug.data.process_group import value_of_first
from patchaug.fastai2.rank_training import batch_windows, rank_training

_record = Recorder.after_epoch


def scale_by_whole_batch(self: GradientAccumulation) -> None:
    """Do what fastai's `after_loss` does, with the windows of all ranks."""
    self.learn.loss_grad /= self.n_acc / batch_windows(self.learn)


def step_after_whole_batches(self: GradientAccumulation) -> None:
    """Do what fastai's `before_step` does, with the windows of all ranks."""
    windows = batch_windows(self.learn)
    self.learn.loss_grad *= self.n_acc / windows
    self.count += windows
    if self.count < self.n_acc:
        raise CancelBatchException
    self.count = 0


def record_alike(self: Recorder) -> None:
    """Call fastai's `after_epoch`; all ranks take the values of rank 0, so that callbacks decide alike on them."""
    _record(self)
    training = rank_training(self.learn)
    if training is not None and not training.failed:
        values = L(value_of_first(list(self.values[-1])))
        self.values[-1] = self.learn.final_record = values


GradientAccumulation.after_loss = scale_by_whole_batch
GradientAccumulation.before_step = step_after_whole_batches
Recorder.after_epoch = record_alike
