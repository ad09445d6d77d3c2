"""Objects that the border of a window cuts, against objects that lie whole in it, by class.

An object is a set of pixels of one class that are connected by their sides, as in predictions. A piece of an object in
a window is cut if a pixel of it has a neighbour of its class just outside the window; else the object is whole. The
slide's own edge cuts nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from patchaug.advise.interval import Interval, ratio_interval
from patchaug.advise.label_windows import LabelWindow
from patchaug.core.arrays import Array
from patchaug.predict.objects import label_objects


def count_cut(window: LabelWindow, number: int) -> tuple[int, int]:
    """Count the cut pieces and the whole objects of a class in a window.

    Args:
        window: Labels of the window and around it.
        number: The class.

    Returns:
        (cut pieces, whole objects).

    Examples:
        >>> import numpy as np
        >>> from patchaug import Window, open_slide
        >>> from patchaug.advise.cut_objects import count_cut
        >>> from patchaug.advise.label_windows import read_labels
        >>> mask = np.array([[0, 1, 1, 1], [0, 0, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0]], np.uint8)
        >>> slide = open_slide(np.zeros((4, 4, 3), np.uint8), mask)
        >>> count_cut(read_labels(slide, Window(0, 0, 3, 4)), 1)
        (1, 1)
    """
    inside = window.labels == number
    objects = label_objects(inside)
    around = window.around == number
    outside = np.zeros(inside.shape, bool)  # pixels whose neighbour just outside is of the class
    outside[0] |= around[0, 1:-1]
    outside[-1] |= around[-1, 1:-1]
    outside[:, 0] |= around[1:-1, 0]
    outside[:, -1] |= around[1:-1, -1]
    cut = len(np.unique(objects[outside & inside]))
    return cut, int(objects.max(initial=0)) - cut


def cut_share(windows: Sequence[LabelWindow], numbers: Iterable[int]) -> dict[int, Interval]:
    """Return the share of pieces in windows that are cut, by class, with its interval over the windows.

    Args:
        windows: The windows.
        numbers: The classes.

    Returns:
        {class: share from 0 to 1}; NaN for a class that no window holds.
    """
    found = {}
    for number in numbers:
        counts: Array = np.array([count_cut(window, number) for window in windows], np.float64).reshape(-1, 2)
        found[number] = ratio_interval(counts[:, 0], counts.sum(1))
    return found
