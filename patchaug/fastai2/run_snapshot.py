"""State of a learner within `fit`, as tensors and plain values that `torch.load(weights_only=True)` reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from fastai.torch_core import get_model
from fastcore.foundation import L

# Attributes of fastai's callbacks that change within `fit`, by the class that has them.
_ATTRIBUTES = {
    "TrackerCallback": ("best",),
    "EarlyStoppingCallback": ("wait",),
    "ReduceLROnPlateau": ("wait",),
    "GradientAccumulation": ("count",),
}


def plain(value: Any) -> Any:
    """Copy a nested value, with arrays' scalars as numbers, and subclasses of tensors, lists and dicts as those."""
    if isinstance(value, torch.Tensor):
        return value.detach().as_subclass(torch.Tensor)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple, L)):
        return [plain(one) for one in value]
    return value


def moved(value: Any, device: Any) -> Any:
    """Copy a nested value with its tensors on a device."""
    if isinstance(value, torch.Tensor):
        return value.to(device)
    if isinstance(value, dict):
        return {key: moved(one, device) for key, one in value.items()}
    return [moved(one, device) for one in value] if isinstance(value, list) else value


def learner_state(learn: Any) -> dict[str, Any]:
    """Return the weights, the optimizer, the gradients that wait for a step, and the records of a learner."""
    recorder = learn.recorder
    waiting = any(getattr(cb, "count", 0) for cb in learn.cbs if type(cb).__name__ == "GradientAccumulation")
    gradients = [None if p.grad is None else p.grad.detach() for p in learn.model.parameters()] if waiting else []
    return {
        "model": dict(get_model(learn.model).state_dict()),
        "optimizer": plain(learn.opt.state_dict()),
        "gradients": gradients,
        "recorder": {
            **{name: plain(getattr(recorder, name)) for name in ("lrs", "iters", "values")},
            "losses": torch.stack([plain(loss).cpu() for loss in recorder.losses]) if recorder.losses else None,
            "smooth": [recorder.smooth_loss.count, plain(recorder.smooth_loss.val)],
        },
        "scaler": scaler.state_dict() if (scaler := _scaler(learn)) is not None else None,
        "callbacks": {name: plain(_callback_state(cb)) for name, cb in _stateful(learn).items()},
    }


def restore_learner(learn: Any, state: dict[str, Any]) -> None:
    """Restore what `learner_state` returned; to be called when `before_fit` of all other callbacks is done."""
    device = next(learn.model.parameters()).device
    get_model(learn.model).load_state_dict(state["model"])
    optimizer = moved(state["optimizer"], device)
    if "hypers" in optimizer:
        optimizer["hypers"] = L(optimizer["hypers"])
    learn.opt.load_state_dict(optimizer)
    for parameter, gradient in zip(learn.model.parameters(), state["gradients"], strict=False):
        parameter.grad = None if gradient is None else gradient.to(device)
    recorder, saved = learn.recorder, state["recorder"]
    recorder.lrs, recorder.iters = list(saved["lrs"]), list(saved["iters"])
    recorder.values = [L(row) for row in saved["values"]]
    recorder.losses = [] if saved["losses"] is None else list(saved["losses"].unbind())
    recorder.smooth_loss.count, recorder.smooth_loss.val = saved["smooth"]
    if recorder.losses:
        learn.smooth_loss = recorder.smooth_loss.value
    if state["scaler"] is not None and (scaler := _scaler(learn)) is not None:
        scaler.load_state_dict(state["scaler"])
    callbacks = _stateful(learn)
    for name, values in state["callbacks"].items():
        if name in callbacks:
            _restore_callback(callbacks[name], values)


def _scaler(learn: Any) -> Any:
    """Return the gradient scaler of mixed precision, or None."""
    return vars(learn).get("scaler")  # fastai's callback leaves it there, and None after `fit`


def _stateful(learn: Any) -> dict[str, Any]:
    """Return the callbacks with a state, by their name and number among those of the same name."""
    found: dict[str, Any] = {}
    for cb in learn.cbs:
        # On the class: fastai looks up attributes that an instance lacks in the learner and its model.
        if hasattr(type(cb), "state_dict") or _attributes(cb):
            name = type(cb).__name__
            found[f"{name} {sum(key.startswith(name + ' ') for key in found)}"] = cb
    return found


def _attributes(cb: Any) -> list[str]:
    return [name for kind in type(cb).__mro__ for name in _ATTRIBUTES.get(kind.__name__, ()) if name in vars(cb)]


def _callback_state(cb: Any) -> dict[str, Any]:
    if hasattr(type(cb), "state_dict"):
        return dict(cb.state_dict())
    return {name: getattr(cb, name) for name in _attributes(cb)}


def _restore_callback(cb: Any, values: dict[str, Any]) -> None:
    if hasattr(type(cb), "load_state_dict"):
        cb.load_state_dict(values)
    else:
        for name, value in values.items():
            setattr(cb, name, value)
