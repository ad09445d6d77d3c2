"""Classes that no mask of the training slides holds, found before training."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any


def absent_classes(loader: Any, codes: Iterable[str]) -> list[str]:
    """Return the names of the classes without a pixel in the masks of a loader's slides.

    Args:
        loader: The training loader; the labels of its slides are indexed already.
        codes: Class names in the order of the masks' integers.
    """
    levels = [one.domain.level for one in loader.plan.distributions]
    labels = [slide.labels(level) for slide, level in zip(loader.slides, levels, strict=True)]
    return [code for number, code in enumerate(codes) if not any(number in one.runs for one in labels)]


def absent_remark(absent: Sequence[str], slides: int) -> str | None:
    """Return the remark about absent classes, or None if there are none."""
    if not absent:
        return None
    names = ", ".join(f'"{code}"' for code in absent)
    return (
        f"no mask of the {slides} training slides holds {names}, so that the model cannot learn it: check the order of "
        f"--codes, or move a slide that holds it to the training side (--valid-slides)"
    )
