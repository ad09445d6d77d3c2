"""`open_prediction`: a slide's prediction, band by band from the top down, in bounded memory.

    prediction = open_prediction(learn, slide, PredictOptions(what="probabilities"))
    for top, classes, probabilities, spread in prediction.bands():
        ...

`prediction.bands(first=k)` yields the bands from number k on, the same bytes as in a run from the start: no batch holds
windows of two rows of the grid, and rows of windows that reach into band k are predicted again. `prediction.run` hands
on pieces of bands, for slides of any width.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from functools import cached_property
from typing import Any, TypeVar

import numpy as np

from patchaug.core.arrays import Array
from patchaug.core.windows import Window
from patchaug.errors import OptionError, WindowError
from patchaug.predict.accumulate import Band as Band
from patchaug.predict.accumulate import Piece as Piece
from patchaug.predict.band_builder import BandBuilder
from patchaug.predict.frame_of import frame_of
from patchaug.predict.join import Joiner
from patchaug.predict.layout import Axis, Layout
from patchaug.predict.map_frame import MapFrame
from patchaug.predict.options import PredictOptions
from patchaug.predict.read_ahead import read_ahead
from patchaug.predict.region import region_of
from patchaug.predict.symmetries import symmetries
from patchaug.predict.trained_model import TrainedModel, trained_model
from patchaug.readers import uncached
from patchaug.sampling import Grid
from patchaug.sampling.distributions import GridDistribution
from patchaug.sampling.plan import Plan
from patchaug.slides.open import open_slide
from patchaug.slides.slide import Slide
from patchaug.slides.slide_group import SlideGroup

_WAITING = 1  # answers of the model that wait to be joined

T = TypeVar("T")


def open_prediction(learn: Any, slide: Any, options: PredictOptions | None = None) -> Prediction:
    """Open the prediction of a whole slide; nothing is predicted before its bands are asked for.

    Args:
        learn: A `Learner` trained on slides, or a list of them: an ensemble, whose probabilities are averaged over one
            pass through the pixels.
        slide: A `Slide`, or any source that `open_slide` accepts; its mask is ignored. A tuple of them for models of
            several inputs.
        options: How to predict; default: as the learner was trained.

    Returns:
        The prediction.

    Raises:
        OptionError: The learner was trained on other data than slides, learners differ in what they read, or an option
            is out of its limits.
        PatchaugError: The slide cannot be opened, or is smaller than a window.

    Examples:
        >>> from patchaug.predict.bands import open_prediction
        >>> prediction = open_prediction(learn, image)
        >>> prediction.starts[:2], prediction.frame.codes
        ((0, 64), ('background', 'nucleus'))
        >>> sum(len(band.classes) for band in prediction.bands()) == prediction.frame.height
        True
    """
    learners = learn if isinstance(learn, (list, tuple)) else [learn]
    if not learners:
        raise OptionError("the list of learners is empty; give at least one")
    models = [trained_model(one) for one in learners]
    return Prediction(models, opened(models[0], slide), options or PredictOptions())


def opened(model: TrainedModel, slide: Any) -> Slide:
    """Open the slide, or the slides, that a model is to predict, with the model's channels.

    A slide that is open already keeps its cache of tiles.
    """
    sources = slide if isinstance(slide, (tuple, list)) else [slide]
    pixels = list(model.pixels)
    every = pixels if len(pixels) == len(sources) else pixels[:1] * len(sources)
    chosen = [{"channels": one.channels, "series": one.series} for one in every] or [{}] * len(sources)
    slides = [
        one if isinstance(one, Slide) else _without_cache(open_slide(one, **how))
        for one, how in zip(sources, chosen, strict=True)
    ]
    whole = slides[0] if len(slides) == 1 else SlideGroup(slides)
    return whole.without_mask()


def _without_cache(slide: Slide) -> Slide:
    """Return a slide that keeps no tiles: a pass from the top down needs each for two rows of windows at most."""
    return Slide(uncached(slide.image), name=slide.name, path=slide.path, mpp=slide.mpp)


class Prediction:
    """The prediction of one slide; `open_prediction` makes it.

    Args:
        models: The models; several are an ensemble.
        slide: The slide, without mask.
        options: How to predict.
        plain: Whether models may give more classes than they have names, and batches may hold windows of two rows:
            faster for narrow slides, and the bands from `first` on may differ from those of a run from the start.

    Attributes:
        plan: Grid of the slide's windows.
        starts: First row of each band, in order.

    Raises:
        OptionError: The models differ in what they read.
        PatchaugError: The slide is smaller than a window.
    """

    def __init__(
        self, models: Sequence[TrainedModel], slide: Slide, options: PredictOptions, *, plain: bool = False
    ) -> None:
        self.models, self.slide, self.options = models, slide, options
        self._plain = plain
        _require_alike(models)
        grid = options.grid(models[0].grid)
        _require_level(slide, grid)
        self.plan = Plan([slide], grid, seed=models[0].seed, shuffle=False)
        blend = options.blend_of(grid)
        one = self.plan.distributions[0]
        assert isinstance(one, GridDistribution)
        domain = one.domain
        rectangle = Window(0, 0, domain.length_x, domain.length_y, domain.level)
        if isinstance(options.region, Window):
            rectangle = _inside(options.region, rectangle, slide.name)
        self.layout = Layout(
            Axis.of(domain.length_y, domain.height, one.overlap_y, blend),
            Axis.of(domain.length_x, domain.width, one.overlap_x, blend),
            rectangle,
        )
        self._region = region_of(slide, options.region)
        self.starts = tuple(top for top, _, _ in self.layout.bands)

    @cached_property
    def frame(self) -> MapFrame:
        """Place of the map, and the names of its classes.

        Raises:
            OptionError: The learner has no names of classes.
        """
        return frame_of(self.slide, self.layout.rectangle, self.models[0].codes)

    def bands(self, first: int = 0, stop: int | None = None) -> Iterator[Band]:
        """Predict the bands from number `first` on, each as whole arrays.

        A band is as wide as the map. For slides of any width, `run` hands on pieces of bands.

        Args:
            first: Number of the first band, 0 to len(starts) - 1; with len(starts) nothing is left.
            stop: Number behind that of the last band; default: len(starts).

        Raises:
            OptionError: The model's output is of another shape.
            ReadError: The slide cannot be read.
        """
        return self.run(BandBuilder(self.layout).add, first, stop)

    def run(self, take: Callable[[Piece], T | None], first: int = 0, stop: int | None = None) -> Iterator[T]:
        """Predict the bands from number `first` on, piece by piece.

        The model runs in the caller's thread, while other threads read the next batch and join the last one. Pieces
        come band by band, and within a band from left to right. Memory does not grow with the slide.

        Args:
            take: Called with each piece, in the thread that joins.
            first: As for `bands`.
            stop: As for `bands`.

        Yields:
            What `take` returns, but None.

        Raises:
            OptionError: The model's output is of another shape.
            ReadError: The slide cannot be read.
        """
        stop = len(self.starts) if stop is None else stop
        if not 0 <= first <= stop <= len(self.starts):
            raise OptionError(f"bands must be within 0 to {len(self.starts)}, got {first} to {stop}")
        if first == stop:
            return
        rows = self.layout.down(first, stop)
        chosen = self._region.selected(self.layout, rows)
        groups = self._groups(rows, chosen)
        codes = None if self._plain and self.models[0].codes is None else len(self.frame.codes)
        joiner = Joiner(
            take, self.layout, self.options, self._region, codes, rows, first, len(self.models), strict=not self._plain
        )
        numbers = [[self.layout.number(*place) for place in group] for group in groups]
        batches = [model.over(self.slide, self.plan, numbers, self.options.workers) for model in self.models]
        with ExitStack() as stack:
            answers = [stack.enter_context(one.answering()) for one in batches]
            thread = stack.enter_context(ThreadPoolExecutor(1, "patchaug-join"))
            waiting: deque[Future[list[T]]] = deque()
            stack.callback(lambda: [one.cancel() for one in waiting])
            ahead = stack.enter_context(closing(read_ahead(batches)))
            reached = rows.start - 1
            for number, (group, prepared) in enumerate(zip(groups, ahead, strict=True)):
                for row in range(reached + 2, group[0][0] + 1):  # rows without windows, one by one
                    waiting.append(thread.submit(joiner.reach, row))
                    yield from _ended(waiting)
                reached = group[-1][0]
                for model, answer in enumerate(answers):
                    images = _images(prepared[model])
                    every = symmetries(self.options.tta, *images.shape[-2:])
                    for k, symmetry in enumerate(every):
                        scores = answer(number, symmetry.of_batch(prepared[model]))
                        member = model * len(every) + k
                        last = member + 1 == len(answers) * len(every)
                        scores = joiner.checked(scores, symmetry.of(images).shape)
                        waiting.append(thread.submit(joiner.add, group, scores, symmetry, last))
                        del scores  # else it stays until the next answer is complete
                        yield from _ended(waiting)
            for row in range(reached + 1, rows.stop + 1):
                waiting.append(thread.submit(joiner.reach, row))
                yield from _ended(waiting)
            yield from _ended(waiting, 0)

    def _groups(self, rows: range, chosen: Array) -> list[list[tuple[int, int]]]:
        """Return row and column of the windows of each batch."""
        size, start = self.options.batch_size or self.models[0].batch_size, self.layout.across.start
        lines = [[(row, start + int(k)) for k in np.flatnonzero(one)] for row, one in zip(rows, chosen, strict=True)]
        if self._plain:
            lines = [[place for line in lines for place in line]]
        return [line[at : at + size] for line in lines for at in range(0, len(line), size)]


def _ended(waiting: deque[Future[list[T]]], most: int = _WAITING) -> Iterator[T]:
    """Yield the results of what has ended, and of all but the last ones."""
    while len(waiting) > most or (waiting and waiting[0].done()):
        yield from waiting.popleft().result()


def _images(batch: Any) -> Any:
    """Return the first images of a prepared batch, float (n, channels, height, width)."""
    return batch[0] if isinstance(batch, (tuple, list)) else batch


def _require_level(slide: Slide, grid: Grid) -> None:
    """Raise WindowError where the slide does not have the level that windows are read from."""
    levels = len(slide.level_dimensions)
    if grid.mpp is None and grid.level >= levels:
        own = "it states none: open_slide(..., mpp=0.25) says it"
        if slide.mpp is not None:
            own = f"its level 0 has {slide.mpp[0]:.4g} x {slide.mpp[1]:.4g}"
        raise WindowError(
            f"{slide.name}: windows are read at level {grid.level}, as in the training, and it has levels 0 to "
            f"{levels - 1}; say the resolution of that level, so that a finer one is resampled: mpp=1.0, micrometres "
            f"per pixel ({own}); or say which level shows as much, such as level=0"
        )


def _inside(region: Window, whole: Window, name: str) -> Window:
    """Return the rectangle of the map on the level of the windows."""
    if region.level != whole.level or not region.inside(whole.width, whole.height):
        raise OptionError(
            f"{name}: region={region} must lie within level {whole.level}, which is predicted and has "
            f"{whole.width} x {whole.height} px; give it in pixels of that level"
        )
    return region


def _require_alike(models: Sequence[TrainedModel]) -> None:
    """Raise OptionError unless all models read the same pixels and have the same classes."""
    learners = [id(getattr(model, "learn", model)) for model in models]
    if len(set(learners)) < len(learners):
        raise OptionError("a learner is twice in the ensemble; give each once, loaded from a file of its own")
    first = _reads(models[0])
    for number, model in enumerate(models[1:], 2):
        for what, value in _reads(model).items():
            if value != first[what]:
                raise OptionError(
                    f"learners of an ensemble read the same pixels, and {what} of learner {number} is {value}, that of "
                    f"learner 1 is {first[what]}; predict with each of them alone"
                )


def _reads(model: TrainedModel) -> dict[str, Any]:
    """Describe the pixels that a model reads, and its classes."""
    grid, pixels = model.grid, model.pixels
    return {
        "size": grid.size, "level": grid.level, "mpp": grid.mpp,
        "channels": [one.channels for one in pixels], "series": [one.series for one in pixels],
        "scale": [one.scale for one in pixels], "codes": model.codes, "the item transforms": model.item_transforms,
    }  # fmt: skip
