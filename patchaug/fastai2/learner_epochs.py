"""Tell a loader of slides which passes of a learner train, so that every trained epoch has windows of its own.

The loader moves on with each pass. Two things are known to the learner only: when a pass ends by an exception, and
which passes only look.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from fastai.callback.schedule import LRFinder
from fastai.learner import Learner, SkipToEpoch
from fastcore.basics import noop

from patchaug.fastai2.distributed import leave_ranks, prepare_ranks
from patchaug.fastai2.patch_dl import PatchDL
from patchaug.fastai2.rank_training import divided
from patchaug.fastai2.weighted_learner import require_weighable, warn_of_unweighted_metrics, weigh_batch

_with_events, _do_epoch_train, _do_epoch_validate = (
    Learner._with_events, Learner._do_epoch_train, Learner._do_epoch_validate,
)  # fmt: skip


def _peeking(loader: Any) -> AbstractContextManager[None]:
    return loader.peeking() if isinstance(loader, PatchDL) else nullcontext()


def with_events(
    self: Learner, f: Callable[[], None], event_type: str, ex: type[Exception], final: Callable[[], Any] = noop
) -> None:
    """Call fastai's `_with_events`; a fit begins with its `start_epoch`, and `lr_find` does not count.

    Batches of a loader with importance weights are weighed.

    Raises:
        OptionError: Several processes train, each for itself.
    """
    ours = {"fit": _fit_epochs, "batch": weigh_batch}.get(event_type)
    if event_type == "fit":
        prepare_ranks(self)
        self._in_fit = True
    try:
        _with_events(self, f if ours is None else (lambda: ours(self, f)), event_type, ex, final)
    finally:
        if event_type == "fit":
            self._in_fit = False
            leave_ranks(self)


def _fit_epochs(learn: Learner, epochs: Callable[[], None]) -> None:
    loader = learn.dls.train
    require_weighable(learn)
    with _peeking(loader) if learn._grab_cbs(LRFinder) else nullcontext():
        for skip in learn._grab_cbs(SkipToEpoch):
            if isinstance(loader, PatchDL):
                loader.start_at(skip._skip_to)
        learn._is_fitting = True
        try:
            epochs()
        finally:
            learn._is_fitting = False


def is_fitting(learn: Learner) -> bool:
    """Decide whether the epochs of a fit are in progress, as they are for its callbacks."""
    return bool(vars(learn).get("_is_fitting", False))


def train_one_epoch(self: Learner) -> None:
    """Call fastai's `_do_epoch_train`; a pass that a callback, an error or Ctrl-C ends has used its epoch."""
    loader = self.dls.train
    try:
        with divided(self, loader):
            _do_epoch_train(self)
    finally:
        if isinstance(loader, PatchDL):
            loader.leave_pass()


def validate_without_moving(self: Learner, ds_idx: int = 1, dl: Any = None) -> None:
    """Call fastai's `_do_epoch_validate`, which may get the training loader."""
    loader = self.dls[ds_idx] if dl is None else dl
    warn_of_unweighted_metrics(self, loader)
    with _peeking(loader), divided(self, loader):
        _do_epoch_validate(self, ds_idx, dl)


Learner._with_events, Learner._do_epoch_train = with_events, train_one_epoch
Learner._do_epoch_validate = validate_without_moving
