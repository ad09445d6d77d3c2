"""Losses of single windows, and their mean weighted by importance, for both fastai plugins and plain torch."""

from __future__ import annotations

from inspect import signature
from typing import Any

import torch

from patchaug.core.arguments import names_arguments_of_init
from patchaug.data.segmentation_losses import SegmentationLoss, count_labelled
from patchaug.errors import OptionError


@names_arguments_of_init
class WeightedLoss:
    """Weigh the loss of each window by its importance: the mean is that of uniform windows, in expectation.

    The loss of a batch is the sum of weight times loss over its windows, divided by their number. The loss of a window
    is the mean over its pixels that count, times their share of its pixels, so that each labelled pixel of the slide
    counts alike. Without weights it is `loss_func` itself.

    With fastai, loaders made with `weights=True` pass their weights, and the losses of patchaug need no wrapper.

    Args:
        loss_func: A loss that returns one value for each pixel or window with reduction "none", such as torch's.

    Examples:
        >>> import torch
        >>> from patchaug.data.weighted_loss import WeightedLoss
        >>> loss = WeightedLoss(torch.nn.CrossEntropyLoss())
        >>> scores, labels = torch.zeros(2, 3, 8, 8), torch.zeros(2, 8, 8, dtype=torch.long)
        >>> weighted = loss(scores, labels, weights=torch.tensor([1.5, 0.5]))
        >>> torch.allclose(weighted, loss(scores, labels))
        True
    """

    loss_func: Any

    def __init__(self, loss_func: Any) -> None:
        if isinstance(loss_func, WeightedLoss):
            loss_func = loss_func.loss_func
        if not callable(loss_func) or isinstance(loss_func, type):
            raise OptionError(f"loss_func must be a loss, got {loss_func!r}; take WeightedLoss(CrossEntropyLossFlat())")
        self.loss_func = loss_func

    def __getattr__(self, name: str) -> Any:
        if name == "loss_func":  # of a copy that is being unpickled
            raise AttributeError(name)
        return getattr(self.loss_func, name)

    def __repr__(self) -> str:
        return f"WeightedLoss({self.loss_func!r})"

    @property
    def reduction(self) -> str:
        """Reduction of the loss; interpretations set it to "none"."""
        return str(getattr(self.loss_func, "reduction", "mean"))

    @reduction.setter
    def reduction(self, value: str) -> None:
        self.loss_func.reduction = value

    def __call__(
        self, scores: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor | None = None, **kwargs: Any
    ) -> Any:
        """Return the loss of a batch.

        Args:
            scores: Model output, float (n, classes, height, width).
            labels: Class numbers, integer (n, height, width).
            weights: Importance weights of the windows, float (n,).
            **kwargs: For `loss_func`, without weights.

        Returns:
            A tensor without axes; what `loss_func` returns without weights.

        Raises:
            OptionError: There are not as many weights as windows, or the loss has no value for each window.
        """
        if weights is None:
            return self.loss_func(scores, labels, **kwargs)
        require_as_many_weights(weights, scores)
        losses = window_losses(self.loss_func, scores, labels)
        return (losses * weights.to(losses.device, losses.dtype)).mean()


def require_as_many_weights(weights: torch.Tensor, scores: torch.Tensor) -> None:
    """Raise OptionError unless there is one weight for each window of a batch."""
    if weights.shape != scores.shape[:1]:
        raise OptionError(
            f"a batch has {scores.shape[0]} windows and weights of the shape {tuple(weights.shape)}; a transform or "
            f"callback has changed the batch: remove it, or set weights=False"
        )


def window_losses(loss_func: Any, scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Compute the loss of each window: its mean over the pixels that count, times their share of the window.

    Args:
        loss_func: A loss with a reduction "none".
        scores: Model output, float (n, classes, height, width).
        labels: Class numbers, integer (n, height, width).

    Returns:
        float (n,), with its gradient.

    Raises:
        OptionError: The loss returns something else than one value for each pixel or window.
    """
    windows = len(scores)
    values = _unreduced(loss_func, scores, labels).as_subclass(torch.Tensor)
    if not values.ndim or values.numel() < windows or values.numel() % windows:
        raise OptionError(
            f"{loss_func!r} has no loss for each window: with reduction 'none' it returns {tuple(values.shape)} for "
            f"{windows} windows"
        )
    values = values.reshape(windows, -1)
    if isinstance(loss_func, SegmentationLoss):
        return values[:, 0] * labelled_shares(loss_func, labels).to(values.dtype)
    class_weights = getattr(getattr(loss_func, "func", None), "weight", None)
    if not hasattr(loss_func, "counted") or class_weights is None:
        return values.mean(1)  # pixels that do not count are 0
    whole = torch.stack([count_labelled(one, loss_func.ignore_index, class_weights) for one in labels])
    means = values.sum(1) / torch.where(whole > 0, whole, 1)
    return means * labelled_shares(loss_func, labels).to(values.dtype)


def labelled_shares(loss_func: Any, labels: torch.Tensor) -> torch.Tensor:
    """Return the share of the pixels of each window that count in a loss, float (n,)."""
    ignored = getattr(loss_func, "ignore_index", None)
    labels = labels.as_subclass(torch.Tensor).reshape(len(labels), -1)
    return torch.ones(len(labels), device=labels.device) if ignored is None else (labels != ignored).float().mean(1)


def can_weigh(loss_func: Any) -> bool:
    """Return whether a loss takes weights: it is a `WeightedLoss`, or one of patchaug, which needs no wrapper."""
    return isinstance(loss_func, (WeightedLoss, SegmentationLoss)) or hasattr(loss_func, "counted")


def _unreduced(loss_func: Any, scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Call a loss with the reduction "none"."""
    before = getattr(loss_func, "reduction", None)
    if isinstance(before, str):
        loss_func.reduction = "none"
        try:
            found = loss_func(scores, labels)
        finally:
            loss_func.reduction = before
        return _tensor(found, loss_func)
    try:
        takes = "reduction" in signature(loss_func).parameters
    except (TypeError, ValueError):
        takes = False
    if not takes:
        raise OptionError(
            f"{loss_func!r} has no reduction to set to 'none', so that windows cannot be weighed; add one"
        )
    return _tensor(loss_func(scores, labels, reduction="none"), loss_func)


def _tensor(found: Any, loss_func: Any) -> torch.Tensor:
    if not isinstance(found, torch.Tensor):
        raise OptionError(f"{loss_func!r} must return a tensor, got a {type(found).__name__}")
    return found
