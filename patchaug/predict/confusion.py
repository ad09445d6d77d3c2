"""Confusion matrices of labelled pixels, and what scores need of them; for the metrics of both fastai plugins."""

from __future__ import annotations

import torch

from patchaug.errors import OptionError


def count_confusion(scores: torch.Tensor, labels: torch.Tensor, axis: int, ignore_index: int | None) -> torch.Tensor:
    """Count the pixels of each label and predicted class.

    Args:
        scores: Model output, float, with its classes along `axis`.
        labels: Class numbers, integer, as many as pixels of the scores.
        axis: Axis of the classes.
        ignore_index: Class number of pixels that do not count, or None.

    Returns:
        int64 (classes, classes): rows are labels, columns predictions; on the labels' device.

    Raises:
        OptionError: A label is not among the classes of the model.
    """
    classes = scores.shape[axis]
    predicted, labels = scores.argmax(dim=axis).flatten(), labels.flatten().long()
    if ignore_index is not None:
        counts = labels != ignore_index
        predicted, labels = predicted[counts], labels[counts]
    pixels = torch.bincount(classes * labels + predicted, minlength=classes**2)
    if len(pixels) > classes**2:
        raise OptionError(
            f"the labels hold class {int(labels.max())}, and the model gives classes 0 to {classes - 1}; set "
            f"ignore_index for labels that do not count"
        )
    return pixels.view(classes, classes)


def counts_by_class(confusion: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return pixels of each class that are right, that are labelled, and that are predicted; float64 (classes,)."""
    confusion = (torch.zeros(0, 0) if confusion is None else confusion).double()
    return confusion.diagonal(), confusion.sum(1), confusion.sum(0)


def mean_quotient(parts: torch.Tensor, wholes: torch.Tensor) -> float:
    """Return the mean of the quotients that exist; NaN where none does."""
    return float((parts / wholes)[wholes > 0].mean())
