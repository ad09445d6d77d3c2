"""Tell a loader of slides which passes of a learner train, so that every trained epoch has windows of its own.

The loader moves on with each pass. Two things are known to the learner only: when a pass ends by an exception, and
which passes only look.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from fastai.callback.schedule import LRFinder
from fastai.learner import Learner, SkipToEpoch

from patchaug.fastai2.patch_dl import PatchDL

_do_fit, _do_epoch_train = Learner._do_fit, Learner._do_epoch_train
_do_epoch_validate = Learner._do_epoch_validate


def _peeking(loader: Any) -> AbstractContextManager[None]:
    return loader.peeking() if isinstance(loader, PatchDL) else nullcontext()


def fit_from_its_epoch(self: Learner) -> None:
    """Call fastai's `_do_fit`; `start_epoch` sets the epoch of the windows, and `lr_find` leaves it."""
    loader = self.dls.train
    with _peeking(loader) if self._grab_cbs(LRFinder) else nullcontext():
        for skip in self._grab_cbs(SkipToEpoch):
            if isinstance(loader, PatchDL):
                loader.start_at(skip._skip_to)
        _do_fit(self)


def train_one_epoch(self: Learner) -> None:
    """Call fastai's `_do_epoch_train`; a pass that a callback, an error or Ctrl-C ends has used its epoch."""
    loader = self.dls.train
    try:
        _do_epoch_train(self)
    finally:
        if isinstance(loader, PatchDL):
            loader.leave_pass()


def validate_without_moving(self: Learner, ds_idx: int = 1, dl: Any = None) -> None:
    """Call fastai's `_do_epoch_validate`, which may be given the training loader."""
    with _peeking(self.dls[ds_idx] if dl is None else dl):
        _do_epoch_validate(self, ds_idx, dl)


Learner._do_fit, Learner._do_epoch_train = fit_from_its_epoch, train_one_epoch
Learner._do_epoch_validate = validate_without_moving
