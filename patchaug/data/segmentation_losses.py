"""Dice, focal and combined losses over the labelled pixels of windows, for both fastai plugins."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, Literal

import torch
from torch import nn

from patchaug.core.arguments import names_arguments_of_init
from patchaug.data.rank_sums import over_ranks, summing
from patchaug.errors import OptionError


def count_labelled(labels: torch.Tensor, ignore_index: int, weight: torch.Tensor | None) -> torch.Tensor:
    """Count the pixels that count, or sum their weights.

    Args:
        labels: Class numbers, integer of any shape.
        ignore_index: Class number of pixels that do not count.
        weight: Weight of each class, float (classes,), or None.

    Returns:
        A tensor without axes, on the labels' device.

    Examples:
        >>> from patchaug.data.segmentation_losses import count_labelled
        >>> count_labelled(torch.tensor([0, 1, 255]), 255, torch.tensor([1.0, 3.0]))
        tensor(4.)
    """
    labels = labels.as_subclass(torch.Tensor)
    counts = labels != ignore_index
    if weight is None:
        return counts.sum()
    return (weight.to(labels.device)[torch.where(counts, labels, 0).long()] * counts).sum()


class SegmentationLoss:
    """Loss over the pixels that count, 0 where a batch has none.

    With `reduction` "none", as interpretations set it, the loss is one value a window. fastai's valid_loss is the mean
    of the batches, weighted by the pixels that count in them.

    Args:
        ignore_index: Class number of pixels that do not count; default: all count.
        weight: Weight of each class, (classes,); default: all equal.

    Attributes:
        ignore_index: Class number of pixels that do not count; torch's -100 if there are none.
        weight: float32 (classes,), or None.
        reduction: "mean" or "none".
    """

    axis = 1  # of the classes in the model's output

    def __init__(self, ignore_index: int | None = None, weight: torch.Tensor | Sequence[float] | None = None) -> None:
        self.ignore_index = -100 if ignore_index is None else int(ignore_index)
        self.weight = None if weight is None else torch.as_tensor(weight, dtype=torch.float32)
        self.reduction: Literal["mean", "none"] = "mean"
        self.func = nn.CrossEntropyLoss()  # fastai 1 reads from it that the activation is a softmax

    def __repr__(self) -> str:
        weight = None if self.weight is None else self.weight.tolist()
        return f"{type(self).__name__}(ignore_index={self.ignore_index}, weight={weight})"

    def counted(self, labels: torch.Tensor) -> torch.Tensor:
        """Count the pixels that count, or sum their weights.

        Args:
            labels: Class numbers, integer of any shape.

        Returns:
            A tensor without axes, on the labels' device.
        """
        return count_labelled(labels, self.ignore_index, self.weight)

    def activation(self, scores: torch.Tensor) -> torch.Tensor:
        """Return the probabilities of the classes."""
        return scores.softmax(self.axis)

    def decodes(self, scores: torch.Tensor) -> torch.Tensor:
        """Return the most probable class of each pixel."""
        return scores.argmax(self.axis)

    def __call__(self, scores: torch.Tensor, labels: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        """Compute the loss.

        Args:
            scores: float (n, classes, height, width).
            labels: Integer (n, height, width), or (n, 1, height, width) of fastai 1.
            **kwargs: `reduction`, in place of the attribute.

        Returns:
            A tensor without axes; (n,) with the reduction "none".

        Raises:
            OptionError: The reduction is another one, or there are not as many weights as classes.
        """
        reduction = kwargs.get("reduction", self.reduction)
        if reduction not in ("mean", "none"):
            raise OptionError(f"reduction must be 'mean' or 'none', got {reduction!r}")
        scores, labels = scores.as_subclass(torch.Tensor), labels.as_subclass(torch.Tensor)
        windows, classes = scores.shape[:2]
        if self.weight is not None and len(self.weight) != classes:
            raise OptionError(f"weight has {len(self.weight)} numbers, and the model gives {classes} classes")
        weight = torch.ones(classes) if self.weight is None else self.weight
        scores = scores.reshape(windows, classes, -1)
        labels = labels.reshape(windows, -1)
        if reduction == "mean":  # one group of all pixels
            scores, labels = scores.movedim(0, 1).reshape(1, classes, -1), labels.reshape(1, -1)
        logs = (scores if scores.dtype == torch.float64 else scores.float()).log_softmax(1)
        counts = labels != self.ignore_index
        weight = weight.to(logs.device, logs.dtype)
        with nullcontext() if reduction == "mean" else summing(None):
            values = self.of_groups(logs, torch.where(counts, labels, 0).long(), counts, weight)
        return values if reduction == "none" else values[0]

    def of_groups(
        self, logs: torch.Tensor, labels: torch.Tensor, counts: torch.Tensor, weight: torch.Tensor
    ) -> torch.Tensor:
        """Compute the loss of groups of pixels.

        Args:
            logs: Logarithms of the probabilities, float (groups, classes, pixels).
            labels: Class numbers, int64 (groups, pixels); 0 where a pixel does not count.
            counts: Which pixels count, bool (groups, pixels).
            weight: float (classes,).

        Returns:
            float (groups,).
        """
        raise NotImplementedError


@names_arguments_of_init
class SlideFocalLoss(SegmentationLoss):
    """Compute the focal loss of the pixels that count: cross entropy that hardly counts pixels that are right already.

    A pixel whose label has probability p has the loss -(1 - p)^gamma log p (T.-Y. Lin et al., Focal Loss for Dense
    Object Detection, 2017). The loss of a batch is the mean, weighted by class, over the pixels that count; 0 without
    such pixels. With gamma 0 it is the cross entropy.

    Args:
        ignore_index: Class number of pixels that do not count; default: all count.
        weight: Weight of each class, (classes,); default: all equal.
        gamma: Exponent, at least 0.

    Raises:
        OptionError: gamma is negative or not finite.

    Examples:
        >>> import torch
        >>> from patchaug.fastai import SlideFocalLoss
        >>> loss = SlideFocalLoss(ignore_index=255)
        >>> round(float(loss(torch.zeros(1, 2, 8, 8), torch.zeros(1, 8, 8))), 4)  # 0.5^2 log 2
        0.1733
    """

    def __init__(
        self, ignore_index: int | None = None, weight: torch.Tensor | Sequence[float] | None = None, *,
        gamma: float = 2.0,
    ) -> None:  # fmt: skip
        super().__init__(ignore_index, weight)
        if not 0 <= gamma < float("inf"):
            raise OptionError(f"gamma must be at least 0, got {gamma}")
        self.gamma = float(gamma)

    def of_groups(
        self, logs: torch.Tensor, labels: torch.Tensor, counts: torch.Tensor, weight: torch.Tensor
    ) -> torch.Tensor:
        """Compute the weighted mean in each group; 0 without weight."""
        return _focal(logs, labels, counts, weight, self.gamma)


@names_arguments_of_init
class SlideDiceLoss(SegmentationLoss):
    """Compute 1 minus the soft Dice score of a batch: it weighs small and large classes alike.

    The score of a class is 2 sum(p t) / (sum(p) + sum(t)) over the pixels that count, with its probabilities p and its
    labels t of 0 or 1. The loss is the mean, weighted by class, over the classes that the labels of the batch hold; 0
    without labels.

    Args:
        ignore_index: Class number of pixels that do not count; default: all count.
        weight: Weight of each class, (classes,); default: all equal.

    Examples:
        >>> import torch
        >>> from patchaug.fastai import SlideDiceLoss
        >>> loss = SlideDiceLoss(ignore_index=255)
        >>> float(loss(torch.zeros(1, 2, 8, 8), torch.full((1, 8, 8), 255)))
        0.0
    """

    def of_groups(
        self, logs: torch.Tensor, labels: torch.Tensor, counts: torch.Tensor, weight: torch.Tensor
    ) -> torch.Tensor:
        """Compute the weighted mean over the classes of each group; 0 without one."""
        return _dice(logs, labels, counts, weight)


@names_arguments_of_init
class SlideCombinedLoss(SegmentationLoss):
    """Compute cross entropy plus Dice loss: steady gradients of the one, balance between the classes of the other.

    Args:
        ignore_index: Class number of pixels that do not count; default: all count.
        weight: Weight of each class in both terms, (classes,); default: all equal.
        dice: Weight of the Dice loss beside the cross entropy.

    Raises:
        OptionError: `dice` is negative or not finite.

    Examples:
        >>> import torch
        >>> from patchaug.fastai import SlideCombinedLoss, SlideCrossEntropy, SlideDiceLoss
        >>> scores, labels = torch.randn(2, 3, 8, 8), torch.randint(0, 3, (2, 8, 8))
        >>> both = SlideCrossEntropy()(scores, labels) + SlideDiceLoss()(scores, labels)
        >>> torch.allclose(SlideCombinedLoss()(scores, labels), both)
        True
    """

    def __init__(
        self, ignore_index: int | None = None, weight: torch.Tensor | Sequence[float] | None = None, *,
        dice: float = 1.0,
    ) -> None:  # fmt: skip
        super().__init__(ignore_index, weight)
        if not 0 <= dice < float("inf"):
            raise OptionError(f"dice must be at least 0, got {dice}")
        self.dice = float(dice)

    def of_groups(
        self, logs: torch.Tensor, labels: torch.Tensor, counts: torch.Tensor, weight: torch.Tensor
    ) -> torch.Tensor:
        """Add both terms."""
        return _focal(logs, labels, counts, weight, 0.0) + self.dice * _dice(logs, labels, counts, weight)


def _focal(
    logs: torch.Tensor, labels: torch.Tensor, counts: torch.Tensor, weight: torch.Tensor, gamma: float
) -> torch.Tensor:
    picked = logs.gather(1, labels[:, None])[:, 0]
    of_pixels = weight[labels] * counts
    losses = -picked
    if gamma:  # bounded from 0, where the gradient of a root is infinite
        losses = losses * (-torch.expm1(picked)).clamp_min(torch.finfo(logs.dtype).tiny) ** gamma
    whole, lost = over_ranks(torch.stack([of_pixels.sum(1), (of_pixels * losses).sum(1)]))
    return lost / torch.where(whole > 0, whole, 1)


def _dice(logs: torch.Tensor, labels: torch.Tensor, counts: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    probabilities = logs.exp() * counts[:, None]
    predicted = probabilities.sum(2)
    picked = probabilities.gather(1, labels[:, None])[:, 0]
    right = torch.zeros_like(predicted).scatter_add(1, labels, picked)
    labelled = torch.zeros_like(predicted).scatter_add(1, labels, counts.to(logs.dtype))
    predicted, right, labelled = over_ranks(torch.stack([predicted, right, labelled]))
    of_classes = weight * (labelled > 0)
    losses = 1 - 2 * right / torch.where(labelled > 0, labelled + predicted, 1)
    whole = of_classes.sum(1)
    return (of_classes * losses).sum(1) / torch.where(whole > 0, whole, 1)
