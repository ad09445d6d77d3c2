"""What a plugin says of a learner: how its windows are read, and how its model answers to a batch of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import singledispatch
from typing import Any, Protocol

from patchaug.errors import OptionError
from patchaug.sampling import Grid
from patchaug.sampling.plan import Plan
from patchaug.slides.slide import Slide

Answer = Callable[[int, Any], Any]


class ReadPixels(Protocol):
    """Which pixels of an image are read, and which of their values become 0..1; see `ImagePixels`."""

    channels: Any
    series: int | str | None
    scale: Any


class WindowBatches(Protocol):
    """Batches of one slide's windows for one model.

    Attributes:
        reads_only: Whether reading draws nothing at random, so that another thread may do it.
    """

    reads_only: bool

    def raw(self) -> Iterator[Any]:
        """Read the batches in order, before the model's own transforms of batches."""

    def prepared(self, raw: Any) -> Any:
        """Apply the model's transforms to a batch; it keeps the batch as it is."""

    def answering(self) -> AbstractContextManager[Answer]:
        """Enter the model's evaluation.

        Returns:
            A context manager of a function of the batch's number and the prepared batch; it returns the answer of the
            model, float (n, classes, height, width).
        """


class TrainedModel(Protocol):
    """A learner that was trained on slides.

    Attributes:
        grid: Fixed grid of its options.
        seed: Seed of its options.
        codes: Names of its classes; None where the masks had none.
        pixels: Channels, picture and scale of each input.
        batch_size: Windows in a batch of its validation.
        item_transforms: Description of the transforms of single patches, for comparison.
    """

    grid: Grid
    seed: int
    codes: tuple[str, ...] | None
    pixels: Sequence[ReadPixels]
    batch_size: int
    item_transforms: str

    def over(self, slide: Slide, plan: Plan, groups: Sequence[Sequence[int]], workers: int | None) -> WindowBatches:
        """Prepare batches of a slide's windows.

        Args:
            slide: The slide, or a `SlideGroup` for several inputs.
            plan: Plan of its grid.
            groups: Numbers of the windows in each batch.
            workers: Processes that read; None: as the learner.

        Raises:
            OptionError: The slide does not fit the model's inputs, or transforms move pixels.
        """


@singledispatch
def trained_model(learn: Any) -> TrainedModel:
    """Return what predicts with a learner; each plugin registers its `Learner` here.

    Args:
        learn: A learner trained on slides.

    Raises:
        OptionError: The learner was trained on other data than slides.
    """
    raise OptionError(f"predict_slide needs a learner of fastai, got a {type(learn).__name__}")
