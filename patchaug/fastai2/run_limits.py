"""Callbacks that end a run before its last epoch: without progress, or without time."""

from __future__ import annotations

import time

from fastai.learner import CancelFitException

from patchaug.fastai2.checkpoint import Checkpoint
from patchaug.fastai2.plain_errors import PlainErrors


class EarlyStopping(PlainErrors):
    """End `fit` before an epoch, if the epochs since the best one are too many.

    The best epoch is that of a `Checkpoint`, which saves and restores it; so a resumed run stops where an unbroken one
    does.

    Args:
        checkpoint: The checkpoint of the run.
        patience: Epochs in a row without a better value.

    Attributes:
        stopped: Whether the run was ended.
    """

    def __init__(self, checkpoint: Checkpoint, patience: int) -> None:
        self.checkpoint, self.patience, self.stopped = checkpoint, patience, False

    @property
    def best_epoch(self) -> int:
        """The best epoch so far, 1 and on; 0 if none has a value."""
        return 0 if self.checkpoint.best is None else int(self.checkpoint.best["epoch"])

    def before_epoch(self) -> None:
        """End the run if it is time."""
        if not hasattr(self.learn, "gather_preds") and self.learn.epoch - self.best_epoch >= self.patience:
            self.stopped = True
            raise CancelFitException


class TimeLimit(PlainErrors):
    """Ask a `Checkpoint` to save and end the run when the time is up.

    Args:
        checkpoint: The checkpoint of the run.
        seconds: Time that the run may take.
        started: `time.monotonic()` when it began.
    """

    order = 99  # before the checkpoint, which then saves in the same event

    def __init__(self, checkpoint: Checkpoint, seconds: float, started: float) -> None:
        self.checkpoint, self.seconds, self.started = checkpoint, seconds, started

    def after_batch(self) -> None:
        """Look at the clock."""
        if self.checkpoint.stopped is None and time.monotonic() - self.started >= self.seconds:
            self.checkpoint.stop("time limit")
