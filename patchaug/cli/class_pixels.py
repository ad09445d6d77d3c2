"""Pixels of each class in the masks of the training slides: classes without any, and balanced weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from patchaug.sampling.index_requests import build_all


def class_pixels(loader: Any, classes: int) -> list[int]:
    """Count the pixels of each class in the masks of a loader's slides, at the level of their windows.

    Args:
        loader: The training loader; the labels of its slides are indexed already, or are now.
        classes: Number of classes.
    """
    levels = [one.domain.level for one in loader.plan.distributions]
    plan = loader.plan
    with plan.indexing.keeping():
        build_all(
            [(slide, "mask", level) for slide, level in zip(loader.slides, levels, strict=True)],
            workers=plan.indexing.workers,
        )
    labels = [slide.labels(level) for slide, level in zip(loader.slides, levels, strict=True)]
    here = [slide.bounds(level) for slide, level in zip(loader.slides, levels, strict=True)]
    return [
        sum(one.count_within(number, bounds) for one, bounds in zip(labels, here, strict=True))
        for number in range(classes)
    ]


def balanced_weights(pixels: Sequence[int]) -> list[float]:
    """Return the weights with which each class counts as much as the others: all pixels / (classes * its pixels).

    A pixel weighs 1 on average. A class without pixels has weight 1; it does not count as a class.

    Examples:
        >>> balanced_weights([300, 100])
        [0.6666666666666666, 2.0]
    """
    classes, total = sum(map(bool, pixels)), sum(pixels)
    return [total / (classes * count) if count else 1.0 for count in pixels]


def absent_remark(absent: Sequence[str], slides: int) -> str | None:
    """Return the remark about absent classes, or None if there are none."""
    if not absent:
        return None
    names = ", ".join(f'"{code}"' for code in absent)
    return (
        f"no mask of the {slides} training slides holds {names}, so that the model cannot learn it: check the order of "
        f"--codes, or move a slide that holds it to the training side (--valid-slides)"
    )
