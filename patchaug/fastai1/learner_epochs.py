"""Tell the training loader which passes of a learner train, so that every trained epoch has windows of its own.

The loader moves on with each pass. Two things are known to the learner only: when a pass ends by an exception, and
which passes only look.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

from fastai.basic_train import Learner
from fastai.callback import Callback
from fastai.callbacks import LRFinder
from fastai.core import defaults, ifnone, listify

from patchaug.errors import OptionError
from patchaug.fastai1.databunch import SlideDataBunch
from patchaug.fastai1.metrics import use_ignore_index

_fit, _validate, _get_preds, _tta = Learner.fit, Learner.validate, Learner.get_preds, Learner.TTA


class WindowsOfStart(Callback):
    """Set the epoch of the windows to the epoch that a learner starts with.

    Args:
        data: The loaders.
    """

    _order = 10_000  # after the callbacks that choose the epoch

    def __init__(self, data: SlideDataBunch) -> None:
        self.data = data

    def on_train_begin(self, epoch: int, **kwargs: Any) -> None:
        """Set the epoch; 0 is where learners start that were not given any."""
        if epoch:
            self.data.epoch = epoch


def fit_from_its_epoch(
    self: Learner, epochs: int, lr: Any = defaults.lr, wd: Any = None, callbacks: Any = None
) -> None:
    """Call fastai's `fit`; a pass that a callback, an error or Ctrl-C ends has used its epoch, and `lr_find` none."""
    data, callbacks = self.data, listify(callbacks)
    if not isinstance(data, SlideDataBunch):
        _fit(self, epochs, lr, wd, callbacks)
        return
    use_ignore_index(self.metrics, data)
    with data.peeking() if any(isinstance(one, LRFinder) for one in callbacks) else nullcontext():
        try:
            _fit(self, epochs, lr, wd, [*callbacks, WindowsOfStart(data)])
        finally:
            data.leave_pass()


def validate_without_moving(self: Learner, dl: Any = None, callbacks: Any = None, metrics: Any = None) -> Any:
    """Call fastai's `validate`, which may be given the training loader."""
    if not isinstance(self.data, SlideDataBunch):
        return _validate(self, dl, callbacks, metrics)
    use_ignore_index(listify(ifnone(metrics, self.metrics)), self.data)
    with self.data.peeking():
        return _validate(self, dl, callbacks, metrics)


def get_preds_without_moving(self: Learner, *args: Any, **kwargs: Any) -> Any:
    """Call fastai's `get_preds`, which may be asked for the training loader."""
    with self.data.peeking() if isinstance(self.data, SlideDataBunch) else nullcontext():
        return _get_preds(self, *args, **kwargs)


def tta_without_slides(self: Learner, *args: Any, **kwargs: Any) -> Any:
    """Call fastai's `TTA`.

    Raises:
        OptionError: The learner was trained on slides.
    """
    if isinstance(self.data, SlideDataBunch):
        raise OptionError(
            "fastai 1's TTA averages the predictions of enlarged and mirrored patches without moving the pixels back; "
            "use learn.predict_slide(slide) with overlap in the options"
        )
    return _tta(self, *args, **kwargs)


Learner.fit, Learner.validate = fit_from_its_epoch, validate_without_moving
Learner.get_preds, Learner.TTA = get_preds_without_moving, tta_without_slides
