"""Compare predictions of whole slides with their masks, band by band: each labelled pixel counts once."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from patchaug.core.arrays import Array
from patchaug.core.windows import Window
from patchaug.errors import FrameError, OptionError
from patchaug.predict.bands import Prediction, open_prediction
from patchaug.predict.boundary import BoundaryCounter
from patchaug.predict.map_frame import MapFrame
from patchaug.predict.objects import ObjectCounter
from patchaug.predict.options import PredictOptions
from patchaug.predict.scores import ScoreCounts, count_pixels
from patchaug.slides.slide import Slide

_PIXELS = 2**23  # that are compared at once

RowsCompared = Callable[[int, Array, Array, int], None]
EvaluationProgress = Callable[[int, int, Prediction], None]  # rows done, all rows, the prediction


@dataclass(frozen=True)
class WorstWindow:
    """A window with many wrong pixels.

    Attributes:
        window: The window, in pixels of its level.
        wrong: Labelled pixels whose class is wrong.
        labelled: Labelled pixels.
    """

    window: Window
    wrong: int
    labelled: int


@dataclass(frozen=True)
class SlideEvaluation:
    """How the prediction of one slide compares with its mask.

    Attributes:
        slide: The slide.
        frame: Place of the map.
        counts: What the scores are made of.
        worst: Windows with the most wrong pixels, worst first.
        seconds: Time that it took.
    """

    slide: Slide
    frame: MapFrame
    counts: ScoreCounts
    worst: tuple[WorstWindow, ...]
    seconds: float


def evaluate_slide(
    learn: Any, slide: Slide, *, tolerance: float | None = None, objects: Sequence[str] = (), worst: int = 4,
    progress: EvaluationProgress | None = None, on_rows: RowsCompared | None = None, **options: Any,
) -> SlideEvaluation:  # fmt: skip
    """Predict a slide, and compare each labelled pixel with the mask.

    Memory holds a band of the slide, and the sizes of its objects.

    Args:
        learn: A `Learner` trained on slides, or a list of them: an ensemble.
        slide: A slide with a mask and the codes of the training.
        tolerance: Distance in micrometres within which boundaries count as the same, see `BoundaryCounter`; None: not
            measured.
        objects: Names of the classes whose connected pixels are objects, see `ObjectCounter`.
        worst: Number of windows with the most wrong pixels to return.
        progress: Called with the rows that are done, all rows, and the prediction.
        on_rows: Called with the first row, labels and predicted classes of some rows of the map, and its level.
        **options: See `patchaug.predict.options.PredictOptions`.

    Raises:
        OptionError: The slide has other classes than the learner, or no micrometres per pixel and a tolerance.
        FrameError: The slide has no mask.
        PatchaugError: The slide cannot be read.

    Examples:
        >>> from patchaug.predict.evaluation import evaluate_slide
        >>> found = evaluate_slide(learn, slide)
        >>> int(found.counts.confusion.sum()) == 512 * 512
        True
    """
    started = time.monotonic()
    if slide.mask is None:
        raise FrameError(f"{slide.name}: it has no mask to compare the prediction with")
    prediction = open_prediction(learn, slide, PredictOptions(**options))
    frame, rectangle = prediction.frame, prediction.layout.rectangle
    if slide.codes != frame.codes:
        raise OptionError(
            f"{slide.name}: the model has the classes {', '.join(frame.codes)}, and the mask "
            f"{'no names' if slide.codes is None else ', '.join(slide.codes)}; give the codes of the training"
        )
    boundary, counters = _boundary(slide, frame, tolerance), _objects(frame.codes, objects)
    every: list[ObjectCounter | BoundaryCounter] = [*counters.values(), *([] if boundary is None else [boundary])]
    first = prediction.plan[0].window
    errors = _ErrorMap(rectangle, first.width, first.height)
    confusion = np.zeros((len(frame.codes),) * 2, np.int64)
    step = max(1, _PIXELS // rectangle.width)
    for band in prediction.bands():
        for start in range(0, len(band.classes), step):
            classes, top = band.classes[start : start + step], band.top + start
            place = Window(rectangle.x, rectangle.y + top, rectangle.width, len(classes), rectangle.level)
            truth = slide.read_mask(place)
            confusion += count_pixels(truth, classes, len(frame.codes), slide.ignore_index)
            errors.add(top, truth, classes, slide.ignore_index)
            if on_rows is not None:
                on_rows(top, truth, classes, rectangle.level)
            for counter in every:
                counter.add(truth, classes, slide.ignore_index)
        if progress is not None:
            progress(band.top + len(band.classes), rectangle.height, prediction)
    return SlideEvaluation(
        slide, frame, ScoreCounts(confusion, _ended(boundary), _counted(counters, len(frame.codes))),
        errors.worst(worst), time.monotonic() - started,
    )  # fmt: skip


class _ErrorMap:
    """Wrong and labelled pixels of each cell of a grid over the map; cells are as large as windows."""

    def __init__(self, rectangle: Window, width: int, height: int) -> None:
        self._map, self._width, self._height = rectangle, width, height
        self._columns = np.arange(0, rectangle.width, width)
        rows = -(-rectangle.height // height)
        self._counts = np.zeros((2, rows, len(self._columns)), np.int64)  # wrong, labelled

    def add(self, top: int, truth: Array, classes: Array, ignore_index: int | None) -> None:
        """Count the pixels of some rows."""
        labelled = np.ones(truth.shape, bool) if ignore_index is None else truth != ignore_index
        rows = (top + np.arange(len(truth))) // self._height
        for counts, pixels in zip(self._counts, ((truth != classes) & labelled, labelled), strict=True):
            np.add.at(counts, rows, np.add.reduceat(pixels, self._columns, axis=1, dtype=np.int64))

    def worst(self, number: int) -> tuple[WorstWindow, ...]:
        """Return the windows with the most wrong pixels, worst first; of equal ones those higher up first."""
        wrong, labelled = self._counts
        order = np.argsort(-wrong, axis=None, kind="stable")[:number]
        places = (divmod(int(place), len(self._columns)) for place in order if wrong.flat[place])
        return tuple(
            WorstWindow(self._window(row, column), int(wrong[row, column]), int(labelled[row, column]))
            for row, column in places
        )

    def _window(self, row: int, column: int) -> Window:
        """Return the window of a cell; at the right and lower edge it is moved inside the map."""
        x = max(min(column * self._width, self._map.width - self._width), 0)
        y = max(min(row * self._height, self._map.height - self._height), 0)
        size = min(self._width, self._map.width), min(self._height, self._map.height)
        return Window(self._map.x + x, self._map.y + y, *size, self._map.level)


def _boundary(slide: Slide, frame: MapFrame, tolerance: float | None) -> BoundaryCounter | None:
    if tolerance is None:
        return None
    if frame.mpp is None:
        raise OptionError(
            f"{slide.name}: boundaries are compared within {tolerance} micrometres, and the slide states no "
            f"micrometres per pixel; set mpp (--mpp-of-slides), or leave the tolerance out"
        )
    return BoundaryCounter(len(frame.codes), tolerance, frame.mpp)


def _objects(codes: Sequence[str], names: Sequence[str]) -> dict[int, ObjectCounter]:
    unknown = [name for name in names if name not in codes]
    if unknown:
        raise OptionError(f"objects are of the classes {', '.join(codes)}, got {unknown[0]!r}")
    numbers = [codes.index(name) for name in names]
    return {number: ObjectCounter(number) for number in numbers}


def _ended(boundary: BoundaryCounter | None) -> Array | None:
    if boundary is None:
        return None
    boundary.end()
    return boundary.counts


def _counted(counters: dict[int, ObjectCounter], classes: int) -> Array | None:
    """Return the counts of objects by class; 0 for classes that are no objects, whose scores do not exist."""
    if not counters:
        return None
    counts = np.zeros((classes, 4))
    for number, counter in counters.items():
        counts[number] = counter.counts()
    return counts
