"""Foreground and classes in windows and batches."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from patchaug.advise.interval import Interval, ratio_interval
from patchaug.advise.label_windows import LabelWindow


class Balance(NamedTuple):
    """Shares of the classes in windows, and how far batches are from them.

    Attributes:
        shares: Share of each class in the labelled pixels, with its interval over the windows.
        foreground: Share of all classes but the first.
        deviations: Standard deviation of each class's share between batches; NaN for one window.
        without: Probability that a batch holds no pixel of each class.
    """

    shares: list[Interval]
    foreground: Interval
    deviations: list[float]
    without: list[float]


def measure_balance(windows: Sequence[LabelWindow], classes: int, batch: int) -> Balance:
    """Measure how classes are spread over windows that are drawn apart from each other.

    Args:
        windows: Windows of the training's distribution.
        classes: Number of classes; all other labels do not count.
        batch: Windows in a batch.

    Examples:
        >>> import numpy as np
        >>> from patchaug import Window, open_slide
        >>> from patchaug.advise.balance import measure_balance
        >>> from patchaug.advise.label_windows import read_labels
        >>> slide = open_slide(np.zeros((2, 4, 3), np.uint8), np.array([[0, 0, 1, 1], [0, 0, 0, 1]], np.uint8))
        >>> found = measure_balance([read_labels(slide, Window(x, 0, 2, 2)) for x in (0, 2)], 2, batch=2)
        >>> found.foreground.value, found.without
        (0.375, [0.0, 0.25])
    """
    counts = np.array(
        [
            np.bincount(one.labels[(one.labels >= 0) & (one.labels < classes)], minlength=classes)
            for one in windows
        ]
    )  # fmt: skip
    labelled = counts.sum(1)
    known = labelled > 0
    parts = counts[known] / labelled[known, None]
    deviations = parts.std(0, ddof=1) / math.sqrt(batch) if known.sum() > 1 else np.full(classes, math.nan)
    return Balance(
        [ratio_interval(counts[:, number], labelled) for number in range(classes)],
        ratio_interval(counts[:, 1:].sum(1), labelled),
        [float(one) for one in deviations],
        [float((counts[:, number] == 0).mean() ** batch) for number in range(classes)],
    )
