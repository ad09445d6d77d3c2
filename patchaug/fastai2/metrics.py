"""Scores of the labelled pixels of windows, such as Dice and recall, that leave `ignore_index` out."""

from __future__ import annotations

from typing import Any

import torch
from fastai.learner import Learner, Metric

from patchaug.fastai2.batch_weights import weights_of
from patchaug.predict.confusion import count_confusion, mean_score, share_of_right_pixels


class PixelMetric(Metric):
    """Count the pixels of each label and predicted class over all windows, for scores of the whole set.

    Args:
        ignore_index: Class number of pixels that do not count; default: that of the data.
        axis: Axis of the classes in the model's output.
    """

    def __init__(self, ignore_index: int | None = None, *, axis: int = 1) -> None:
        self.ignore_index, self.axis = ignore_index, axis
        self.reset()

    def reset(self) -> None:
        """Forget all windows."""
        self.confusion: torch.Tensor | None = None

    def accumulate(self, learn: Learner) -> None:
        """Add the windows of a batch, by their importance weights where the loader has some.

        Raises:
            OptionError: A label is not among the classes of the model.
        """
        scores, labels = (t.as_subclass(torch.Tensor) for t in (learn.pred, learn.y))
        ignored = self.ignore_index if self.ignore_index is not None else ignore_index_of(learn.dls)
        pixels = count_confusion(scores, labels, self.axis, ignored, weights_of(learn))
        pixels = learn.to_detach(pixels).view(-1, *pixels.shape).sum(0)  # of all processes
        self.confusion = pixels if self.confusion is None else self.confusion + pixels


class SlideDice(PixelMetric):
    """Average the Dice scores of the classes, over the pixels that count: fastai's `DiceMulti` on labelled pixels.

    A class that neither labels nor predictions hold has no score. Without any score the value is NaN.

    Args:
        ignore_index: Class number of pixels that do not count; default: that of the data.
        axis: Axis of the classes in the model's output.

    Examples:
        >>> from patchaug.fastai import SlideDice
        >>> learn.metrics = SlideDice()
        >>> with learn.no_bar(), learn.no_logging():
        ...     loss, dice = learn.validate()
        >>> 0 <= dice <= 1
        True
    """

    @property
    def value(self) -> float:
        """The mean of 2 |P and T| / (|P| + |T|)."""
        return mean_score(self.confusion, "dice")


class SlideJaccard(PixelMetric):
    """Average the Jaccard indexes of the classes, over the pixels that count: `JaccardCoeffMulti` on labelled pixels.

    A class that neither labels nor predictions hold has no score. Without any score the value is NaN.

    Args:
        ignore_index: Class number of pixels that do not count; default: that of the data.
        axis: Axis of the classes in the model's output.

    Examples:
        >>> from patchaug.fastai import SlideJaccard
        >>> learn.metrics = SlideJaccard()
        >>> with learn.no_bar(), learn.no_logging():
        ...     loss, jaccard = learn.validate()
        >>> 0 <= jaccard <= 1
        True
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
        >>> from patchaug.fastai import SlideAccuracy
        >>> learn.metrics = SlideAccuracy()
        >>> with learn.no_bar(), learn.no_logging():
        ...     loss, accuracy = learn.validate()
        >>> 0 <= accuracy <= 1
        True
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
        >>> from patchaug.fastai import SlidePrecision
        >>> learn.metrics = SlidePrecision()
        >>> with learn.no_bar(), learn.no_logging():
        ...     loss, precision = learn.validate()
        >>> 0 <= precision <= 1
        True
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
        >>> from patchaug.fastai import SlideRecall
        >>> learn.metrics = SlideRecall()
        >>> with learn.no_bar(), learn.no_logging():
        ...     loss, recall = learn.validate()
        >>> 0 <= recall <= 1
        True
    """

    @property
    def value(self) -> float:
        """The mean of |P and T| / |T|."""
        return mean_score(self.confusion, "recall")


def ignore_index_of(dls: Any) -> int | None:
    """Return the class number that the masks of loaders ignore, or None."""
    found = getattr(dls, "ignore_index", None)  # fastai looks it up in the transforms of the data set
    return None if found is None else int(found)
