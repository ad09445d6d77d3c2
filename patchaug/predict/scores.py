"""Scores of class maps, from counts that add up over bands and slides.

Each labelled pixel counts once. Scores over several slides are those of the summed counts, so a large slide counts more
than a small one. A score whose denominator is 0 does not exist: NaN in arrays, None in reports.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from patchaug.core.arrays import Array
from patchaug.errors import LabelError

BOUNDARY = ("predicted", "predicted near", "labelled", "labelled near")  # columns of `ScoreCounts.boundary`
OBJECTS = ("labelled", "predicted", "matched", "sum of IoU")  # columns of `ScoreCounts.objects`


@dataclass(frozen=True)
class ScoreCounts:
    """What scores are made of, for one slide or the sum of several.

    Attributes:
        confusion: Pixels, int64 (classes, classes): rows are labels, columns predictions.
        boundary: Boundary pixels, int64 (classes, 4), see `BOUNDARY`; None where it was not measured.
        objects: Objects, float64 (classes, 4), see `OBJECTS`; None where it was not measured.

    Examples:
        >>> from patchaug.predict.scores import ScoreCounts, scores_of
        >>> counts = ScoreCounts(np.array([[6, 2], [1, 3]]))
        >>> {name: values.round(3).tolist() for name, values in scores_of(counts).items()}
        {'dice': [0.8, 0.667], 'iou': [0.667, 0.5], 'precision': [0.857, 0.6], 'recall': [0.75, 0.75]}
    """

    confusion: Array
    boundary: Array | None = None
    objects: Array | None = None

    def accuracy(self) -> Array:
        """Return the share of labelled pixels that are right, float64 (...)."""
        right = np.trace(self.confusion, axis1=-2, axis2=-1)
        return _quotient(right, self.confusion.sum((-2, -1)))


def scores_of(counts: ScoreCounts) -> dict[str, Array]:
    """Return the scores by class.

    Args:
        counts: The counts; arrays may have further axes before those of a slide, over which nothing is summed.

    Returns:
        Arrays, float64 (..., classes): dice, iou, precision, recall; boundary_f1; objects_precision, objects_recall,
        objects_f1 and objects_iou (the mean IoU of matched objects), where they were measured.
    """
    right = np.diagonal(counts.confusion, axis1=-2, axis2=-1)
    labelled, predicted = counts.confusion.sum(-1), counts.confusion.sum(-2)
    quotients = class_quotients(right, labelled, predicted)
    found = {name: _quotient(part, whole) for name, (part, whole) in quotients.items()}
    if counts.boundary is not None:
        guess, near_truth, truth, near_guess = np.moveaxis(counts.boundary, -1, 0)
        precision, recall = _quotient(near_truth, guess), _quotient(near_guess, truth)
        # Where one of the two has no boundary, none of the other is near it: 0. Where neither has one: no score.
        both = np.nan_to_num(precision) + np.nan_to_num(recall)
        f1 = _quotient(2 * np.nan_to_num(precision) * np.nan_to_num(recall), both)
        found["boundary_f1"] = np.where((guess + truth > 0) & (both == 0), 0.0, f1)
    if counts.objects is not None:
        truth, guess, matched, ious = np.moveaxis(counts.objects, -1, 0)
        found["objects_precision"] = _quotient(matched, guess)
        found["objects_recall"] = _quotient(matched, truth)
        found["objects_f1"] = _quotient(2 * matched, truth + guess)
        found["objects_iou"] = _quotient(ious, matched)
    return found


def class_quotients(right: Any, labelled: Any, predicted: Any) -> dict[str, tuple[Any, Any]]:
    """Return numerator and denominator of the scores of each class.

    Args:
        right: Pixels of each class that are right, an array or a tensor (..., classes).
        labelled: Pixels that are labelled as the class.
        predicted: Pixels that are predicted as the class.

    Returns:
        {"dice", "iou", "precision", "recall": (numerator, denominator)}, of the arguments' kind and shape.

    Examples:
        >>> from patchaug.predict.scores import class_quotients
        >>> class_quotients(3, 4, 5)
        {'dice': (6, 9), 'iou': (3, 6), 'precision': (3, 5), 'recall': (3, 4)}
    """
    return {
        "dice": (2 * right, labelled + predicted),
        "iou": (right, labelled + predicted - right),
        "precision": (right, predicted),
        "recall": (right, labelled),
    }


def sum_counts(counts: Sequence[ScoreCounts]) -> ScoreCounts:
    """Add the counts of several slides.

    Boundaries and objects are summed over the slides on which they were measured.
    """
    return ScoreCounts(
        np.sum([one.confusion for one in counts], axis=0),
        *(_sum([getattr(one, name) for one in counts]) for name in ("boundary", "objects")),
    )


def count_pixels(truth: Array, predicted: Array, classes: int, ignore_index: int | None) -> Array:
    """Count the pixels of each label and predicted class.

    Args:
        truth: Class numbers of the mask, integer.
        predicted: Class numbers of the map, integer of the same shape.
        classes: Number of classes.
        ignore_index: Number in the mask of pixels that do not count, or None.

    Returns:
        int64 (classes, classes): rows are labels, columns predictions.

    Raises:
        LabelError: A number is no class.

    Examples:
        >>> count_pixels(np.array([0, 1, 1, 9]), np.array([0, 0, 1, 1]), 2, ignore_index=9).tolist()
        [[1, 0], [1, 1]]
    """
    truth, predicted = truth.ravel(), predicted.ravel()
    if ignore_index is not None and (unlabelled := truth == ignore_index).any():
        truth, predicted = truth[~unlabelled], predicted[~unlabelled]
    for name, values in (("mask", truth), ("map", predicted)):
        if values.size and not (int(values.min()) >= 0 and int(values.max()) < classes):
            wrong = int(values.max()) if int(values.max()) >= classes else int(values.min())
            raise LabelError(f"the {name} holds class {wrong}, and the classes are 0 to {classes - 1}")
    both = truth.astype(np.int32) * classes + predicted
    return np.bincount(both, minlength=classes**2).reshape(classes, classes).astype(np.int64)


def as_report(values: Array | Sequence[Any], names: Iterable[str]) -> dict[str, float | None]:
    """Return values by name, None for NaN, as JSON writes them."""
    return {name: as_number(value) for name, value in zip(names, values, strict=True)}


def as_number(value: Any) -> float | None:
    """Return a number, None for NaN, as JSON writes it."""
    return None if np.isnan(value) else float(value)


def _sum(parts: Sequence[Array | None]) -> Array | None:
    known: list[Any] = [part for part in parts if part is not None]
    return np.sum(known, axis=0) if known else None


def _quotient(parts: Any, wholes: Any) -> Array:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(np.asarray(wholes) > 0, np.asarray(parts, np.float64) / wholes, np.nan)
