"""Optimizers and learning rate schedules by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

# fastai.vision.all, because its modules patch fit_one_cycle and fit_flat_cos into Learner.
from fastai.vision.all import SGD, Adam, Learner, ParamScheduler, combined_cos

from patchaug.errors import OptionError
from patchaug.fastai2.plain_errors import PlainErrors

OPTIMIZERS: dict[str, Callable[..., Any]] = {
    "adamw": Adam,  # fastai's decouples the weight decay
    "adam": partial(Adam, decouple_wd=False, wd=0.0),
    "sgd": partial(SGD, mom=0.9),
}
_MULTIPLIER = 100  # between the rates of the last and the first group in fine-tuning, as in fastai's `fine_tune`


def fit_schedule(learn: Learner, name: str, epochs: int, lr: float, cbs: Sequence[Any]) -> None:
    """Train for a number of epochs in one call of `fit`.

    Args:
        learn: The learner.
        name: "one-cycle", "flat-cos", "fine-tune" or "constant".
        epochs: Number of epochs in all.
        lr: Highest learning rate.
        cbs: Callbacks of this call.

    Raises:
        OptionError: Fine-tuning, and the model has a single group of parameters.

    Examples:
        >>> with learn.no_bar(), learn.no_logging():
        ...     fit_schedule(learn, "flat-cos", 1, 1e-3, [])
        >>> len(learn.recorder.values)
        1
    """
    if name == "fine-tune":
        start = FrozenStart()
        learn.fit(epochs, lr, cbs=[start, ParamScheduler(_fine_tune(learn, epochs, lr)), *cbs])
        return
    if learn.opt is not None and learn.opt.frozen_idx:  # a pretrained U-Net begins frozen
        learn.unfreeze()
    if name == "one-cycle":
        learn.fit_one_cycle(epochs, lr, cbs=cbs)
    elif name == "flat-cos":
        learn.fit_flat_cos(epochs, lr, cbs=cbs)
    else:
        learn.fit(epochs, lr, cbs=cbs)


def require_groups(learn: Learner) -> None:
    """Raise OptionError unless the model has groups of parameters, of which fine-tuning freezes all but the last."""
    if learn.opt is None:
        learn.create_opt()
    if len(learn.opt.param_lists) < 2:
        raise OptionError(
            "schedule fine-tune freezes the encoder at first, and the model has one group of parameters; give it an "
            "attribute `encoder`, or choose another schedule"
        )


class FrozenStart(PlainErrors):
    """Train the last group of parameters alone in the first epoch, and all groups from the second one on."""

    order = 50

    def __init__(self) -> None:
        self.frozen = False

    def before_fit(self) -> None:
        """Freeze all groups but the last."""
        if not hasattr(self.learn, "gather_preds") and not hasattr(self.learn, "lr_finder"):
            self.learn.freeze()
            self.frozen = True

    def before_epoch(self) -> None:
        """Release them, once."""
        if self.frozen and self.learn.epoch > 0:
            self.learn.unfreeze()
            self.frozen = False

    def state_dict(self) -> dict[str, Any]:
        """Return whether the groups are frozen, for a checkpoint."""
        return {"frozen": self.frozen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore it, and leave the state of the optimizer as it is."""
        self.frozen = state["frozen"]
        if not self.frozen:
            self.learn.opt.freeze_to(0)


def _fine_tune(learn: Learner, epochs: int, lr: float) -> dict[str, Callable[[float], Any]]:
    """Return rates and momenta of fastai's `fine_tune`, over one call of `fit`."""
    require_groups(learn)
    half = lr / 2
    learn.opt.set_hyper("lr", slice(half / _MULTIPLIER, half))
    rates = np.array([group["lr"] for group in learn.opt.hypers])
    moms = learn.moms
    first, rest = combined_cos(0.99, lr / 25, lr, lr / 1e5), combined_cos(0.3, rates / 5, rates, rates / 1e5)
    moms_first, moms_rest = combined_cos(0.99, *moms), combined_cos(0.3, *moms)
    frozen = 1 / epochs

    def in_two(begin: Callable[[float], Any], end: Callable[[float], Any]) -> Callable[[float], Any]:
        # Sums of steps are a little off: a batch belongs to the part that its middle lies in.
        return lambda at: begin(at / frozen) if at < frozen - 1e-6 else end(max(at - frozen, 0.0) / (1 - frozen))

    return {"lr": in_two(first, rest), "mom": in_two(moms_first, moms_rest)}
