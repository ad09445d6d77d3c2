"""Predict the class map of a whole slide with a learner of fastai 1 or 2."""

from __future__ import annotations

from typing import Any

import numpy as np

from patchaug.errors import OptionError
from patchaug.predict.bands import Prediction, opened
from patchaug.predict.options import PredictOptions
from patchaug.predict.trained_model import trained_model


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
    learners = learn if isinstance(learn, (list, tuple)) else [learn]
    models = [trained_model(one) for one in learners]
    prediction = Prediction(models, opened(models[0], slide), PredictOptions(blend="crop"), plain=True)
    rectangle = prediction.layout.rectangle
    shape = rectangle.height, rectangle.width
    if out is not None and tuple(out.shape) != shape:
        raise OptionError(
            f"{prediction.slide.name}: out is of shape {tuple(out.shape)}, and level {rectangle.level} of the slide is "
            f"of {shape}; make it of that shape"
        )
    for band in prediction.bands():
        if out is None:
            out = np.empty(shape, band.classes.dtype)
        if not np.can_cast(band.classes.dtype, out.dtype):
            raise OptionError(
                f"out is of {out.dtype}, which cannot hold the class numbers; make it {band.classes.dtype}"
            )
        out[band.top : band.top + len(band.classes)] = band.classes
    return out
