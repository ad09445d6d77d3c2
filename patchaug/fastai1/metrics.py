"""Scores of the labelled pixels of windows, such as Dice and recall, that leave `ignore_index` out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from fastai.callback import Callback
from fastai.torch_core import add_metrics

from patchaug.predict.confusion import count_confusion, mean_score, share_of_right_pixels


class PixelMetric(Callback):
    """Count the pixels of each label and predicted class over all windows, for scores of the whole set.

    Args:
        ignore_index: Class number of pixels that do not count; default: that of the data.
        axis: Axis of the classes in the model's output.
    """

    def __init__(self, ignore_index: int | None = None, *, axis: int = 1) -> None:
        self.ignore_index, self.axis = ignore_index, axis
        self.of_data: int | None = None
        self.confusion: torch.Tensor | None = None

    def on_epoch_begin(self, **kwargs: Any) -> None:
        """Forget all windows."""
        self.confusion = None

    def on_batch_end(self, last_output: torch.Tensor, last_target: torch.Tensor, **kwargs: Any) -> None:
        """Add the windows of a batch.

        Raises:
            OptionError: A label is not among the classes of the model.
        """
        ignored = self.of_data if self.ignore_index is None else self.ignore_index
        pixels = count_confusion(last_output, last_target, self.axis, ignored).cpu()
        self.confusion = pixels if self.confusion is None else self.confusion + pixels

    def on_epoch_end(self, last_metrics: Any, **kwargs: Any) -> Any:
        """Report the score."""
        return add_metrics(last_metrics, self.value)

    @property
    def value(self) -> float:
        """The score of the windows so far."""
        raise NotImplementedError


class SlideDice(PixelMetric):
    """Average the Dice scores of the classes, over the pixels that count.

    A class that neither labels nor predictions hold has no score. Without any score the value is NaN.

    Args:
        ignore_index: Class number of pixels that do not count; default: that of the data.
        axis: Axis of the classes in the model's output.

    Examples:
        >>> import torch
        >>> from patchaug.fastai import SlideDice
        >>> dice = SlideDice(ignore_index=255)
        >>> dice.on_batch_end(torch.eye(2)[None, :, None], torch.tensor([[[[0, 255]]]]))
        >>> dice.value
        1.0
    """

    @property
    def value(self) -> float:
        """The mean of 2 |P and T| / (|P| + |T|)."""
        return mean_score(self.confusion, "dice")


class SlideJaccard(PixelMetric):
    """Average the Jaccard indexes of the classes, over the pixels that count.

    A class that neither labels nor predictions hold has no score. Without any score the value is NaN.

    Args:
        ignore_index: Class number of pixels that do not count; default: that of the data.
        axis: Axis of the classes in the model's output.

    Examples:
        >>> import torch
        >>> from patchaug.fastai import SlideJaccard
        >>> jaccard = SlideJaccard()
        >>> jaccard.on_batch_end(torch.eye(2)[None, :, None], torch.tensor([[[[0, 0]]]]))
        >>> jaccard.value
        0.25
    """

    @property
    def value(self) -> float:
        """The mean of |P and T| / |P or T|."""
        return mean_score(self.confusion, "iou")


class SlideAccuracy(PixelMetric):
    """Compute the share of right pixels among those that count; NaN if none counts.

    Args:
        ignore_index: Class number of pixels that do not count; default: that of the data.
        axis: Axis of the classes in the model's output.

    Examples:
        >>> import torch
        >>> from patchaug.fastai import SlideAccuracy
        >>> accuracy = SlideAccuracy()
        >>> accuracy.on_batch_end(torch.eye(2)[None, :, None], torch.tensor([[[[0, 0]]]]))
        >>> accuracy.value
        0.5
    """

    @property
    def value(self) -> float:
        """Right pixels by pixels that count."""
        return share_of_right_pixels(self.confusion)


class SlidePrecision(PixelMetric):
    """Average the precision of the classes: the share of the pixels predicted as a class that are of this class.

    A class that is never predicted has no score. Without any score the value is NaN.

    Args:
        ignore_index: Class number of pixels that do not count; default: that of the data.
        axis: Axis of the classes in the model's output.

    Examples:
        >>> import torch
        >>> from patchaug.fastai import SlidePrecision
        >>> precision = SlidePrecision()
        >>> precision.on_batch_end(torch.eye(2)[None, :, None], torch.tensor([[[[0, 0]]]]))
        >>> precision.value
        0.5
    """

    @property
    def value(self) -> float:
        """The mean of |P and T| / |P|."""
        return mean_score(self.confusion, "precision")


class SlideRecall(PixelMetric):
    """Average the recall of the classes: the share of the pixels of a class that are predicted as this class.

    A class that no label holds has no score. Without any score the value is NaN.

    Args:
        ignore_index: Class number of pixels that do not count; default: that of the data.
        axis: Axis of the classes in the model's output.

    Examples:
        >>> import torch
        >>> from patchaug.fastai import SlideRecall
        >>> recall = SlideRecall()
        >>> recall.on_batch_end(torch.eye(2)[None, :, None], torch.tensor([[[[0, 0]]]]))
        >>> recall.value
        0.5
    """

    @property
    def value(self) -> float:
        """The mean of |P and T| / |T|."""
        return mean_score(self.confusion, "recall")


def use_ignore_index(metrics: Iterable[Any], data: Any) -> None:
    """Set the ignored class of metrics to that of the data, where they have none of their own.

    Args:
        metrics: Metrics of a learner.
        data: Its `SlideDataBunch`.
    """
    for one in metrics:
        if isinstance(one, PixelMetric):
            one.of_data = getattr(data.train_ds.y, "ignore_index", None)
