"""Cross entropy over the labelled pixels of windows, also where a batch has none, and its mean over a validation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from fastai.learner import AvgLoss, Learner
from fastai.losses import CrossEntropyLossFlat

from patchaug.data.segmentation_losses import SegmentationLoss, count_labelled
from patchaug.data.weighted_loss import labelled_shares
from patchaug.fastai2.batch_weights import weights_of


class SlideCrossEntropy(CrossEntropyLossFlat):
    """Compute the mean cross entropy of the pixels that count: the default loss of `SlideMaskBlock`.

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
        >>> float(loss(torch.zeros(1, 2, 8, 8), torch.full((1, 8, 8), 255)))
        0.0
    """

    def __init__(
        self, ignore_index: int | None = None, weight: torch.Tensor | Sequence[float] | None = None, *, axis: int = 1
    ) -> None:
        ignored = {} if ignore_index is None else {"ignore_index": ignore_index}
        weights = None if weight is None else torch.as_tensor(weight, dtype=torch.float32)
        super().__init__(axis=axis, weight=weights, **ignored)

    @property
    def ignore_index(self) -> int:
        """Class number of pixels that do not count; torch's -100 if there are none."""
        return int(self.func.ignore_index)

    def counted(self, labels: torch.Tensor) -> torch.Tensor:
        """Count the pixels that count, or sum their weights.

        Args:
            labels: Class numbers, integer of any shape.

        Returns:
            A tensor without axes, on the labels' device.
        """
        return count_labelled(labels, self.ignore_index, self.func.weight)

    def __call__(self, inp: torch.Tensor, targ: torch.Tensor, **kwargs: Any) -> Any:
        """Return the loss: a tensor without axes, or one value a pixel while the reduction is "none".

        Args:
            inp: Scores, float (n, classes, height, width).
            targ: Labels, integer (n, height, width).
            **kwargs: As for torch's cross entropy.
        """
        if self.reduction != "mean":
            return super().__call__(inp, targ, **kwargs)
        weight, labels = self.func.weight, targ.as_subclass(torch.Tensor)
        # Without labels to count, the loss is that of another class times 0: no branch, so no wait for the device.
        some = self.counted(labels) > 0
        other = 0 if weight is None else weight.argmax().to(labels.device, labels.dtype)
        return super().__call__(inp, torch.where(some, labels, other), **kwargs) * some


_accumulate = AvgLoss.accumulate


def accumulate_counted_pixels(self: AvgLoss, learn: Learner) -> None:
    """Call fastai's `accumulate`, which weighs the loss of a batch by its windows; ours by the pixels that count.

    With importance weights, windows count by their weights; where no pixel is ignored, that is their expected number.
    """
    loss_func = learn.loss_func
    if learn.loss.ndim == 0 and (weights := weights_of(learn)) is not None:
        ignores = getattr(loss_func, "ignore_index", -100) not in (-100, None)
        shares = labelled_shares(loss_func, learn.y).to(weights.device)
        self.total += float(learn.to_detach(learn.loss.as_subclass(torch.Tensor) * len(weights)))
        self.count += float(learn.to_detach((weights * shares).sum() if ignores else weights.new_tensor(len(weights))))
        return
    if not isinstance(loss_func, (SlideCrossEntropy, SegmentationLoss)) or not isinstance(learn.y, torch.Tensor):
        _accumulate(self, learn)
        return
    counted = loss_func.counted(learn.y).float()
    self.total += float(learn.to_detach(learn.loss.mean().as_subclass(torch.Tensor) * counted))
    self.count += float(learn.to_detach(counted))


AvgLoss.accumulate = accumulate_counted_pixels
