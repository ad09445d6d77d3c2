"""Models without fastai, for the laws of the engine: any function of a batch of windows."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from patchaug import Grid, Plan, open_slide
from patchaug.data.image_pixels import ImagePixels
from patchaug.predict.bands import Prediction
from patchaug.predict.options import PredictOptions

CODES = ("a", "b", "c")


class FunctionModel:
    """A "learner" whose model is a function of float (n, channels, height, width)."""

    pixels: Sequence[ImagePixels] = ()
    item_transforms = ""
    seed = 42

    def __init__(
        self, function: Callable[[torch.Tensor], Any], grid: Grid, *, batch_size: int = 3, codes: Any = CODES
    ) -> None:
        self.function, self.grid, self.batch_size, self.codes = function, grid, batch_size, codes
        self.batches: list[list[int]] = []  # numbers of the windows of each batch that was read
        self.reads_only = True

    def over(self, slide: Any, plan: Plan, groups: Sequence[Sequence[int]], workers: int | None) -> "FunctionModel":
        """Remember the windows."""
        self._plan, self._groups = plan, groups
        return self

    def raw(self) -> Iterator[Any]:
        """Yield pixels, one batch after the other."""
        for group in self._groups:
            self.batches.append(list(group))
            images = np.stack([self._plan.read(self._plan[number]).image for number in group])
            yield (torch.from_numpy(images.astype(np.float32)).permute(0, 3, 1, 2),)

    def prepared(self, raw: Any) -> Any:
        """Change nothing."""
        return raw

    @contextmanager
    def answering(self) -> Iterator[Callable[[int, Any], Any]]:
        """Call the function."""
        yield lambda number, batch: self.function(batch[0])


def predicted(model: FunctionModel, pixels: Any, first: int = 0, **options: Any) -> tuple[np.ndarray, ...]:
    """Classes, probabilities and spread of a picture, as whole arrays; None where there are none."""
    slide = pixels if hasattr(pixels, "read") else open_slide(pixels)
    prediction = Prediction([model], slide, PredictOptions(**{"what": "probabilities", **options}))
    return joined(prediction, first)


def joined(prediction: Prediction, first: int = 0) -> tuple[np.ndarray, ...]:
    """Put the bands of a prediction together, and check that they follow each other."""
    bands = list(prediction.bands(first))
    at = prediction.starts[first]
    for number, band in enumerate(bands, first):
        assert band.top == at == prediction.starts[number]
        at += len(band.classes)
    assert at == prediction.frame.height and all(b.classes.shape[1] == prediction.frame.width for b in bands)
    return tuple(
        None if part[0] is None else np.concatenate(part, axis=-2)
        for part in zip(*((b.classes, b.probabilities, b.spread) for b in bands), strict=True)
    )
