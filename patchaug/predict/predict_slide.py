"""Predict the class map of a whole slide with a learner of fastai 1 or 2."""

from __future__ import annotations

from collections.abc import Generator
from functools import singledispatch
from typing import Any, NamedTuple

from patchaug.errors import OptionError
from patchaug.predict.run_model import Output, predict_map
from patchaug.sampling.plan import Plan
from patchaug.slides.open import open_slide
from patchaug.slides.slide import Slide
from patchaug.slides.slide_group import SlideGroup


class GridOutputs(NamedTuple):
    """The answers of a model to the windows of a slide's grid.

    Attributes:
        plan: Grid of the slide, see `class_bands`.
        outputs: Images of its windows and the model's answers, batch by batch in order, see `predict_map`.
    """

    plan: Plan
    outputs: Generator[Output, None, None]


@singledispatch
def grid_outputs(learn: Any, slide: Slide) -> GridOutputs:
    """Run a learner's model over a slide, by the grid of its options; each plugin registers its `Learner` here.

    Args:
        learn: A learner trained on slides.
        slide: The slide; its mask is ignored.

    Returns:
        The plan, and the answers as they are asked for.

    Raises:
        OptionError: The learner was trained on other data than slides.
    """
    raise OptionError(f"predict_slide needs a learner of fastai, got a {type(learn).__name__}")


@singledispatch
def image_pixels(learn: Any) -> list[Any]:
    """Return channels, picture and scale of the images that a learner was trained on.

    Args:
        learn: A learner trained on slides; each plugin registers its `Learner` here.

    Returns:
        One `ImagePixels` for each slide of an item; none for other learners.
    """
    return []


def predict_slide(learn: Any, slide: Any, *, out: Any = None) -> Any:
    """Predict the class of each pixel of a slide, by a grid of windows: `learn.predict_slide(slide)`.

    The grid follows from the options (`size`, `overlap`, level) and covers the slide, also with `valid="random"`. Where
    windows overlap, each pixel comes from the window in which it lies farther from the edge. Memory holds one batch
    with its activations, and a band of the slide as high as a window; only the map grows with the slide. On fastai 2
    the batches go through the learner's callbacks and precision, as in `get_preds`.

    Args:
        learn: A `Learner` trained on slides, or loaded by `load_learner`.
        slide: A `Slide`, or any source that `open_slide` accepts; its mask is ignored. A tuple of them for a model of
            several inputs.
        out: Destination of the map, of the map's shape: an array, a `numpy.memmap`, a zarr array. Default: a new array.

    Returns:
        Class numbers (height, width) at the level of the training windows: `out`, or a new array of uint8, of uint16
        for more than 256 classes.

    Raises:
        OptionError: The learner was trained on other data than slides, or `out` or the model's output does not fit.
        PatchaugError: The slide cannot be opened or read, or is smaller than a window.

    Examples:
        >>> import numpy as np
        >>> from fastai.vision.all import Learner, nn
        >>> from patchaug.fastai import RandomPatch, SlideDataLoaders, predict_slide
        >>> image, mask = np.zeros((64, 96, 3), np.uint8), np.zeros((64, 96), np.uint8)
        >>> dls = SlideDataLoaders.from_lists(
        ...     [(image, mask)], [(image.copy(), mask)], codes=["a", "b"], item_tfms=RandomPatch(32), bs=1,
        ...     num_workers=0,
        ... )
        >>> learn = Learner(dls, nn.Conv2d(3, 2, 1))
        >>> predict_slide(learn, image).shape
        (64, 96)
    """
    sources = slide if isinstance(slide, (tuple, list)) else [slide]
    pixels = image_pixels(learn)
    every = pixels if len(pixels) == len(sources) else pixels[:1] * len(sources)
    chosen = [{"channels": one.channels, "series": one.series} for one in every] or [{}] * len(sources)
    opened = [
        one if isinstance(one, Slide) else open_slide(one, **how) for one, how in zip(sources, chosen, strict=True)
    ]
    whole = opened[0] if len(opened) == 1 else SlideGroup(opened)
    grid = grid_outputs(learn, whole.without_mask())
    return predict_map(grid.plan, grid.outputs, out)
