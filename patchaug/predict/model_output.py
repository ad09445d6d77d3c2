"""The scores among what a model gives: a tensor, or one of several that it gives in a tuple or by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from patchaug.errors import OptionError


def select_output(answer: Any, output: int | str | None) -> torch.Tensor:
    """Return the tensor of scores of a model's answer.

    Args:
        answer: A tensor; or a tuple, list or mapping of tensors.
        output: Number or name of the tensor; None for a model that gives one.

    Raises:
        OptionError: There is no such tensor, or there are several and `output` is None.

    Examples:
        >>> import torch
        >>> from patchaug.predict.model_output import select_output
        >>> select_output({"out": torch.zeros(1, 2, 4, 4), "aux": torch.zeros(1)}, "out").shape
        torch.Size([1, 2, 4, 4])
    """
    if isinstance(answer, torch.Tensor):
        if output is not None:
            raise OptionError(f"output={output!r}: the model gives one tensor; leave output out")
        return answer
    named = _named(answer)
    if output is None:
        if not named:
            raise OptionError(f"the model gives a {type(answer).__name__}, and a class map needs a tensor of scores")
        first = next(iter(named))
        flag = f"output={first!r} (--model-output {first})"
        raise OptionError(
            f"the model gives a {type(answer).__name__} of {_listed(named)}, and a class map needs one tensor of "
            f"scores; say which, such as {flag}"
        )
    if output not in named:
        raise OptionError(f"output={output!r}: the model gives a {type(answer).__name__} of {_listed(named)}")
    return named[output]


def _named(answer: Any) -> dict[int | str, torch.Tensor]:
    """Return the tensors of an answer, by name or number; those of a named tuple by both."""
    if isinstance(answer, Mapping):
        return {key: value for key, value in answer.items() if isinstance(value, torch.Tensor)}
    if not isinstance(answer, (tuple, list)):
        return {}
    found: dict[int | str, Any] = {**dict(zip(getattr(answer, "_fields", ()), answer, strict=False))}
    found.update(enumerate(answer))
    return {key: value for key, value in found.items() if isinstance(value, torch.Tensor)}


def _listed(named: Mapping[int | str, torch.Tensor]) -> str:
    return ", ".join(f"{key!r} {tuple(value.shape)}" for key, value in named.items()) or "no tensors"
