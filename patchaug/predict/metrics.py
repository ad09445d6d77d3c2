"""Scores of a class map against a slide's mask."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from patchaug.core.arguments import names_arguments
from patchaug.core.windows import Window
from patchaug.errors import FrameError
from patchaug.slides.slide import Slide

_ROWS = 1024


@names_arguments
def dice_by_class(
    slides: Sequence[Slide], predictions: Sequence[np.ndarray[Any, Any]], *, levels: Sequence[int]
) -> dict[str, float | None]:
    """Compute the Dice score of each class over all pixels of all slides: 2 |P and T| / (|P| + |T|).

    Of slides that are parts of one, see `split_region`, the pixels of the part count.
    Pixels whose label is `ignore_index` do not count. A class that neither mask nor prediction holds scores None.

    Args:
        slides: Slides with masks and codes.
        predictions: For each, its class map, integer (height, width): of its level, or of the part that plans read.
        levels: For each, the level of its map.

    Returns:
        {class name: score, 0 to 1}.

    Raises:
        FrameError: A map has another size than its level.

    Examples:
        >>> dice_by_class([slide], [slide.read_mask(Window(0, 0, *slide.dimensions))], levels=[0])
        {'background': 1.0, 'nucleus': 1.0}
    """
    codes = slides[0].codes or ()
    both, either = np.zeros(len(codes), np.int64), np.zeros(len(codes), np.int64)
    for slide, predicted, level in zip(slides, predictions, levels, strict=True):
        left, top, right, bottom = slide.bounds(level)
        width, height = right - left, bottom - top
        if predicted.shape == slide.level_dimensions[level][::-1]:
            predicted = predicted[top:bottom, left:right]
        if predicted.shape != (height, width):
            raise FrameError(
                f"{slide.name}: the prediction has {predicted.shape[1]} x {predicted.shape[0]} px, level {level} has "
                f"{width} x {height}"
            )
        for row in range(0, height, _ROWS):  # bands: the mask of a slide need not fit into memory
            truth = slide.read_mask(Window(left, top + row, width, min(_ROWS, height - row), level))
            guess = predicted[row : row + _ROWS]
            if slide.ignore_index is not None:
                truth, guess = truth[truth != slide.ignore_index], guess[truth != slide.ignore_index]
            for number in range(len(codes)):
                of_truth, of_guess = truth == number, guess == number
                both[number] += np.count_nonzero(of_truth & of_guess)
                either[number] += np.count_nonzero(of_truth) + np.count_nonzero(of_guess)
    return {
        code: float(2 * hits / total) if total else None for code, hits, total in zip(codes, both, either, strict=True)
    }
