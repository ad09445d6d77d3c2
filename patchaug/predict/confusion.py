"""Confusion matrices of labelled pixels, and what scores need of them; for the metrics of both fastai plugins."""

from __future__ import annotations

import torch

from patchaug.errors import OptionError
from patchaug.predict.scores import class_quotients


def count_confusion(
    scores: torch.Tensor, labels: torch.Tensor, axis: int, ignore_index: int | None,
    weights: torch.Tensor | None = None,
) -> torch.Tensor:  # fmt: skip
    """Count the pixels of each label and predicted class.

    Args:
        scores: Model output, float, with its classes along `axis`.
        labels: Class numbers, integer, as many as pixels of the scores.
        axis: Axis of the classes.
        ignore_index: Class number of pixels that do not count, or None.
        weights: Weight of each window, float (n,), along the first axis of the scores; None where all count alike.

    Returns:
        int64 (classes, classes), float64 with weights: rows are labels, columns predictions; on the labels' device.

    Raises:
        OptionError: A label is not among the classes of the model.
    """
    classes = scores.shape[axis]
    predicted, labels = scores.argmax(dim=axis).flatten(), labels.flatten().long()
    of_pixels = None
    if weights is not None:
        device = labels.device  # of which MPS has no float64
        number = torch.float32 if device.type == "mps" else torch.float64
        of_pixels = weights.to(device, number).repeat_interleave(len(labels) // len(weights))
    if ignore_index is not None:
        counts = labels != ignore_index
        predicted, labels = predicted[counts], labels[counts]
        of_pixels = None if of_pixels is None else of_pixels[counts]
    pixels = torch.bincount(classes * labels + predicted, of_pixels, minlength=classes**2)
    if len(pixels) > classes**2:
        raise OptionError(
            f"the labels hold class {int(labels.max())}, and the model gives classes 0 to {classes - 1}; set "
            f"ignore_index for labels that do not count"
        )
    return pixels.view(classes, classes)


def mean_score(confusion: torch.Tensor | None, name: str) -> float:
    """Return the mean of a score over the classes that have it; NaN where none does.

    Args:
        confusion: int64 (classes, classes), see `count_confusion`; None for no pixels.
        name: "dice", "iou", "precision" or "recall".
    """
    confusion = _counts(confusion)
    part, whole = class_quotients(confusion.diagonal(), confusion.sum(1), confusion.sum(0))[name]
    return float((part / whole)[whole > 0].mean())


def share_of_right_pixels(confusion: torch.Tensor | None) -> float:
    """Return the share of the counted pixels that are right; NaN where none counts."""
    confusion = _counts(confusion)
    return float(confusion.diagonal().sum() / confusion.sum())


def _counts(confusion: torch.Tensor | None) -> torch.Tensor:
    return (torch.zeros(0, 0) if confusion is None else confusion).double()
