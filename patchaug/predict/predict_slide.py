"""Predict the map of a whole slide with a learner of fastai 1 or 2."""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

import numpy as np

from patchaug.core.arguments import names_arguments
from patchaug.errors import OptionError
from patchaug.predict.bands import Band, Piece, Prediction, opened
from patchaug.predict.options import Blend, PredictOptions
from patchaug.predict.trained_model import trained_model
from patchaug.predict.zarr_map import ZarrMap

_WAITING = 8  # pieces that wait to be written to a zarr array


@names_arguments
def predict_slide(
    learn: Any,
    slide: Any,
    *,
    what: Literal["classes", "probabilities", "spread"] = "classes",
    out: Any = None,
    overlap: float | int | None = None,
    blend: Blend | None = None,
    tta: Literal["d4"] | None = None,
    region: Any = "all",
    level: int | None = None,
    mpp: float | None = None,
    batch_size: int | None = None,
    workers: int | None = None,
    output: int | str | None = None,
) -> Any:
    """Predict each pixel of a slide, by a grid of windows: `learn.predict_slide(slide)`.

    The grid follows from the options (`size`, `overlap`, level) and covers the slide, also with `valid="random"`. By
    default each pixel's class comes from the window in which it lies farther from the edge. Windows that overlap are
    blended for probabilities, and where an option below is set: all but `batch_size` and `workers` count. Memory holds
    some batches, and where windows overlap the rows that they share; only the map grows with the slide. The batches go
    through the learner's callbacks and precision, as in `get_preds`.

    Args:
        learn: A `Learner` trained on slides, or loaded by `load_learner`. The function also takes a list of them, whose
            probabilities are averaged.
        slide: A `Slide`, or any source that `open_slide` accepts; its mask is ignored. A tuple of them for a model of
            several inputs.
        what: "classes"; "probabilities" of all classes; or "spread", their standard deviation over the learners and
            the symmetries of `tta`.
        out: Destination of the map, of the map's shape: an array, a `numpy.memmap`, a zarr array; or the path of a zarr
            array to write, such as "p.zarr". Default: a new array.
        overlap: Part that neighbouring windows share, pixels or a share of the window; see `PredictOptions`.
        blend: "hann", "gaussian" or "crop": how windows are joined.
        tta: "d4" averages the eight rotations and mirror images of each window.
        region: "all"; "tissue"; a `Window` of the level, whose rectangle is the map; or a mask or polygons, outside of
            which the map is background.
        level: Pyramid level to read, in place of that of the training.
        mpp: Micrometres per pixel of the patches, in place of a level.
        batch_size: Windows in a batch.
        workers: Processes that read.
        output: Number or name of the scores, for a model that gives several tensors.

    Returns:
        At the level of the windows, class numbers (height, width): `out`, or a new array of uint8, of uint16 for more
        than 256 classes. Probabilities and their spread are float32 (classes, height, width). For a path: the path.

    Raises:
        OptionError: The learner was trained on other data than slides, an option is out of its limits, or `out` or the
            model's output does not fit.
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
        >>> predict_slide(learn, image, what="probabilities", overlap=0.25, tta="d4").shape
        (2, 64, 96)
    """
    if what not in ("classes", "probabilities", "spread"):
        raise OptionError(f'what must be "classes", "probabilities" or "spread", got {what!r}')
    learners = learn if isinstance(learn, (list, tuple)) else [learn]
    if not learners:
        raise OptionError("the list of learners is empty; give at least one")
    models = [trained_model(one) for one in learners]
    changed = (overlap, blend, tta, level, mpp) != (None,) * 5 or not (isinstance(region, str) and region == "all")
    plain = what == "classes" and not changed and len(models) == 1
    options = PredictOptions(
        overlap=overlap, blend="crop" if plain else blend, tta=tta, region=region, level=level, mpp=mpp,
        batch_size=batch_size, workers=workers, output=output, spread=what == "spread",
        what="probabilities" if what == "probabilities" else "classes",
    )  # fmt: skip
    prediction = Prediction(models, opened(models[0], slide), options, plain=plain)
    if isinstance(out, (str, os.PathLike)):
        return _to_zarr(prediction, Path(out), what)
    return _to_array(prediction, out, what)


def _shape(prediction: Prediction, what: str) -> tuple[int, ...]:
    rectangle = prediction.layout.rectangle
    planes = () if what == "classes" else (len(prediction.frame.codes),)
    return (*planes, rectangle.height, rectangle.width)


def _to_array(prediction: Prediction, out: Any, what: str) -> Any:
    """Write the map to an array: arrays of NumPy piece by piece, others, whose chunks may be large, by whole rows."""
    shape, rectangle = _shape(prediction, what), prediction.layout.rectangle
    if out is not None and tuple(out.shape) != shape:
        raise OptionError(
            f"{prediction.slide.name}: out is of shape {tuple(out.shape)}, and the map, at level {rectangle.level} of "
            f"the slide, is of {shape}; make it of that shape"
        )

    def put(part: Piece | Band) -> None:
        nonlocal out
        values = getattr(part, what)
        if out is None:
            out = np.empty(shape, values.dtype)
        if not np.can_cast(values.dtype, out.dtype, "safe" if what == "classes" else "same_kind"):
            held = "the class numbers" if what == "classes" else what
            raise OptionError(f"out is of {out.dtype}, which cannot hold {held}; make it {values.dtype}")
        rows: Any = slice(part.top, part.top + values.shape[-2])
        if isinstance(part, Piece):
            out[..., rows, part.left : part.left + values.shape[-1]] = values
        else:
            out[rows if values.ndim == 2 else (slice(None), rows)] = values

    if out is None or isinstance(out, np.ndarray):
        for _ in prediction.run(put):
            pass
        return out
    with closing(prediction.bands()) as bands:  # type: ignore[type-var]
        for band in bands:
            put(band)
            del band  # the next one is being made
    return out


def _to_zarr(prediction: Prediction, path: Path, what: str) -> Path:
    """Write the map to a new zarr array, by a thread that writes while the model works."""
    if path.suffix != ".zarr":
        raise OptionError(f"out={str(path)!r}: a path must end with .zarr; for another format take predict_slides")
    shape = _shape(prediction, what)
    dtype: Any = np.float32
    if what == "classes":
        dtype = np.uint8 if len(prediction.frame.codes) <= 256 else np.uint16
    with ZarrMap(path, shape, dtype, prediction.frame) as out, ThreadPoolExecutor(1, "patchaug-write") as thread:
        waiting: deque[Future[None]] = deque()

        def put(piece: Piece) -> None:
            waiting.append(thread.submit(out.put, piece.top, piece.left, getattr(piece, what)))
            while len(waiting) > _WAITING:
                waiting.popleft().result()

        for _ in prediction.run(put):
            pass
        while waiting:
            waiting.popleft().result()
    return path
