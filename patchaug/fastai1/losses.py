"""Cross entropy over the labelled pixels of windows, also where a batch has none, and its mean over a validation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import fastai.basic_train
import numpy as np
import torch
from fastai.layers import FlattenedLoss
from torch import nn

from patchaug.data.segmentation_losses import SegmentationLoss, count_labelled


class SlideCrossEntropy(FlattenedLoss):
    """Compute the mean cross entropy of the pixels that count: the default loss of masks.

    A batch without pixels that count has loss 0 and no gradient; torch's loss is NaN there. fastai's valid_loss is then
    the mean over all pixels that count in the validation, whichever batch they are in.

    Args:
        ignore_index: Class number of pixels that do not count; default: all count.
        weight: Weight of each class, (classes,); a pixel counts as much as the weight of its label.
        axis: Axis of the classes in the model's output.

    Examples:
        >>> import torch
        >>> from patchaug.fastai import SlideCrossEntropy
        >>> loss = SlideCrossEntropy(ignore_index=255)
        >>> float(loss(torch.zeros(1, 2, 8, 8), torch.full((1, 1, 8, 8), 255)))
        0.0
    """

    def __init__(
        self, ignore_index: int | None = None, weight: torch.Tensor | Sequence[float] | None = None, *, axis: int = 1
    ) -> None:
        ignored = {} if ignore_index is None else {"ignore_index": ignore_index}
        weights = None if weight is None else torch.as_tensor(weight, dtype=torch.float32)
        super().__init__(nn.CrossEntropyLoss, axis=axis, weight=weights, **ignored)

    @property
    def ignore_index(self) -> int:
        """Class number of pixels that do not count; torch's -100 if there are none."""
        return int(self.func.ignore_index)

    @property
    def counts_all(self) -> bool:
        """Whether every pixel counts alike."""
        return self.ignore_index == -100 and self.func.weight is None

    def counted(self, labels: torch.Tensor) -> torch.Tensor:
        """Count the pixels that count, or sum their weights.

        Args:
            labels: Class numbers, integer of any shape.

        Returns:
            A tensor without axes, on the labels' device.
        """
        return count_labelled(labels, self.ignore_index, self.func.weight)

    def __call__(self, input: torch.Tensor, target: torch.Tensor, **kwargs: Any) -> Any:  # noqa: A002 - fastai's name
        """Return the loss: a tensor without axes, or one value a pixel while the reduction is "none".

        Args:
            input: Scores, float (n, classes, height, width).
            target: Labels, integer (n, 1, height, width).
            **kwargs: As for torch's cross entropy.
        """
        self.func.to(input.device)
        if self.reduction != "mean" or self.counts_all:
            return super().__call__(input, target, **kwargs)
        weight = self.func.weight
        # Without labels to count, the loss is that of another class times 0: no branch, so no wait for the device.
        some = self.counted(target) > 0
        other = 0 if weight is None else weight.argmax().to(target.dtype)
        return super().__call__(input, torch.where(some, target, other), **kwargs) * some


_validate = fastai.basic_train.validate


def validate_counted_pixels(
    model: nn.Module, dl: Any, loss_func: Any = None, cb_handler: Any = None, pbar: Any = None, average: bool = True,
    n_batch: int | None = None,
) -> Any:  # fmt: skip
    """Call fastai's `validate`, which weighs the loss of a batch by its windows; ours by the pixels that count."""
    if not (average and isinstance(loss_func, (SlideCrossEntropy, SegmentationLoss))) or (
        isinstance(loss_func, SlideCrossEntropy) and loss_func.counts_all
    ):
        return _validate(model, dl, loss_func, cb_handler, pbar, average, n_batch)
    counted: list[float] = []

    def counting_loss(scores: torch.Tensor, labels: torch.Tensor) -> Any:
        counted.append(float(loss_func.counted(labels)))
        return loss_func(scores, labels)

    losses = np.array([float(one) for one in _validate(model, dl, counting_loss, cb_handler, pbar, False, n_batch)])
    return np.float32((losses * counted).sum() / (sum(counted) or 1.0))


fastai.basic_train.validate = validate_counted_pixels
