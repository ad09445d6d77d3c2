"""Labels of drawn windows, with the ring of pixels around each: what balance and cut objects are counted in."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from patchaug.core.arrays import Array
from patchaug.core.windows import Window
from patchaug.sampling.plan import Plan
from patchaug.slides.slide import Slide


class LabelWindow(NamedTuple):
    """Labels of a window and of the pixels that touch it.

    Attributes:
        labels: Class numbers of the window, integer (height, width).
        around: The same with one more row and column on each side, int64 (height + 2, width + 2); -1 beyond the slide.
    """

    labels: Array
    around: Array


def read_labels(slide: Slide, window: Window) -> LabelWindow:
    """Read the labels of a window and around it.

    Args:
        slide: A slide with a mask.
        window: The window.

    Examples:
        >>> import numpy as np
        >>> from patchaug import Window, open_slide
        >>> from patchaug.advise.label_windows import read_labels
        >>> slide = open_slide(np.zeros((4, 4, 3), np.uint8), np.arange(16, dtype=np.uint8).reshape(4, 4))
        >>> read_labels(slide, Window(0, 0, 2, 1)).around.tolist()
        [[-1, -1, -1, -1], [-1, 0, 1, 2], [-1, 4, 5, 6]]
    """
    width, height = slide.level_size(window.level)
    left, top = min(window.x, 1), min(window.y, 1)
    right, bottom = min(width - window.right, 1), min(height - window.bottom, 1)
    read = Window(
        window.x - left, window.y - top, window.width + left + right, window.height + top + bottom, window.level
    )
    around = np.full((window.height + 2, window.width + 2), -1, np.int64)
    around[1 - top : window.height + 1 + bottom, 1 - left : window.width + 1 + right] = slide.read_mask(read)
    return LabelWindow(around[1:-1, 1:-1], around)


def draw_labels(plan: Plan, number: int) -> list[LabelWindow]:
    """Read the labels of the first windows of a plan.

    Args:
        plan: The windows; slides have masks.
        number: Number of windows.
    """
    draws = [plan[index] for index in range(number)]
    return [read_labels(plan.slides[draw.slide], draw.window) for draw in draws]
