"""Scores of a model as classes and probabilities, and the mean of several answers to one batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from patchaug.core.arrays import Array
from patchaug.errors import OptionError
from patchaug.predict.symmetries import Symmetry

_ROWS = 64  # that are compared at a time: what a processor's cache holds


def probabilities_of(scores: torch.Tensor) -> torch.Tensor:
    """Return the probabilities of a model's scores: the softmax, or for one channel those of no and yes.

    Args:
        scores: Float (n, classes, height, width).

    Returns:
        float32 of the same shape; (n, 2, height, width) for one channel, 1 - p and p of the sigmoid p.
    """
    scores = scores.float()
    if scores.shape[1] > 1:
        return torch.softmax(scores, dim=1)
    yes = torch.sigmoid(scores)
    return torch.cat([1 - yes, yes], dim=1)


def classes_of(scores: torch.Tensor) -> Array:
    """Return the class of each pixel: the first of the highest scores.

    Args:
        scores: Float (n, classes, height, width); one channel is class 1 where it is above 0.

    Returns:
        uint8, or uint16 for more than 256 classes (n, height, width).

    Raises:
        OptionError: Scores are NaN.
    """
    if scores.shape[1] == 1:
        require_numbers(scores[:, 0])
        return np.asarray((scores[:, 0] > 0).cpu().numpy(), np.uint8)
    if scores.device.type == "cpu":
        require_numbers(scores.amax(dim=1))
        return highest(scores.float().numpy())
    best, classes = scores.max(dim=1)
    require_numbers(best)
    return np.asarray(classes.to(torch.uint8 if scores.shape[1] <= 256 else torch.int32).cpu().numpy())


def highest(values: Array) -> Array:
    """Return the number of the plane that is highest at each pixel, the first one of equals.

    Ten times as fast as argmax over planes.

    Args:
        values: float32 (..., planes, rows, columns), without NaN.

    Returns:
        uint8, or uint16 for more than 256 planes (..., rows, columns).
    """
    planes = values.shape[-3]
    dtype: Any = np.uint8 if planes <= 256 else np.uint16
    out: Array = np.zeros((*values.shape[:-3], *values.shape[-2:]), dtype)
    for top in range(0, values.shape[-2], _ROWS):
        part, numbers = values[..., top : top + _ROWS, :], out[..., top : top + _ROWS, :]
        best = part[..., 0, :, :].copy()
        for plane in range(1, planes):
            one = part[..., plane, :, :]
            # Numbers rise, so the last plane that was higher has the greatest.
            np.maximum(numbers, (one > best).astype(dtype) * dtype(plane), out=numbers)
            np.maximum(best, one, out=best)
    return out


def require_numbers(values: torch.Tensor) -> None:
    """Raise OptionError where the answers to a batch, (n, height, width), hold NaN."""
    bad = values.isnan().flatten(1).any(dim=1)
    if bad.any():
        raise OptionError(
            f"the model gives NaN for {int(bad.sum())} of the {len(bad)} windows of a batch; has its training "
            f"diverged, or do its numbers leave the range of float16?"
        )


class Average:
    """Mean of the probabilities of several answers to a batch, and their standard deviation.

    Args:
        spread: Whether to compute the deviation.
    """

    def __init__(self, *, spread: bool) -> None:
        self._spreads, self._members = spread, 0
        self._mean: torch.Tensor | None = None
        self._squares: torch.Tensor | None = None

    def add(self, scores: torch.Tensor, symmetry: Symmetry) -> None:
        """Add an answer.

        Args:
            scores: Float (n, classes, height, width).
            symmetry: What the windows were turned by.
        """
        own = symmetry.undone(probabilities_of(scores))
        self._members += 1
        if self._mean is None:
            self._mean = own
            self._squares = torch.zeros_like(own) if self._spreads else None
            return
        change = own - self._mean
        self._mean = self._mean + change / self._members
        if self._squares is not None:
            self._squares += change * (own - self._mean)

    def taken(self) -> tuple[Array, Array | None]:
        """Return mean and deviation, float32 (n, classes, height, width), and begin anew.

        Raises:
            OptionError: Probabilities are NaN.
        """
        assert self._mean is not None
        mean, squares, members = self._mean, self._squares, self._members
        self._mean, self._squares, self._members = None, None, 0
        require_numbers(mean[:, 0])
        return mean.cpu().numpy(), None if squares is None else (squares / members).sqrt().cpu().numpy()
