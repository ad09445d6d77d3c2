"""Run a trained model over the windows of a slide: batches in, class map out, for fastai 1 and 2."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import nn

from patchaug.core.arrays import Array
from patchaug.core.resampling import nearest
from patchaug.errors import OptionError
from patchaug.predict.stitch import class_map
from patchaug.sampling.plan import Plan

Inputs: TypeAlias = torch.Tensor | tuple[torch.Tensor, ...]
Output: TypeAlias = tuple[torch.Tensor, Any]  # images, and the model's answer to them


def predict_map(plan: Plan, outputs: Generator[Output, None, None], out: Any = None) -> Any:
    """Predict the class of each pixel of a slide: the argmax of the model's output on the windows of a grid.

    In memory at any time: one batch with its activations, and a band of the slide of at most a window's height.

    Args:
        plan: The grid of one slide, see `class_bands`.
        outputs: For each batch of its windows, in order: images, float (n, channels, height, width), and scores, float
            (n, classes, height, width).
        out: Where to put the map, see `class_map`.

    Returns:
        (height, width) of the plan's level: `out`, or a new array of uint8, of uint16 where there are more than 256
        classes.

    Raises:
        OptionError: The model's output is of another shape, or `out` does not fit.
    """
    with closing(outputs):
        maps = _maps(plan, outputs)
        result = class_map(plan, maps, out)
        assert next(maps, None) is None, "a window was predicted twice"  # this lets `outputs` come to its end
        return result


def model_outputs(model: nn.Module, batches: Iterable[Inputs]) -> Generator[Output, None, None]:
    """Run a model in evaluation mode on batches; afterwards its modules are in their modes again.

    Args:
        model: A module that gives (n, classes, height, width) for (n, channels, height, width).
        batches: Inputs of the model, float32; a tuple for a model of several inputs.
    """
    with evaluating(model):
        for batch in batches:
            inputs = batch if isinstance(batch, tuple) else (batch,)
            with torch.no_grad():
                scores = model(*inputs)
            yield inputs[0], scores


def _maps(plan: Plan, outputs: Iterable[Output]) -> Iterator[Array]:
    window = plan[0].window  # those of a grid have one size
    for images, scores in outputs:
        if not isinstance(scores, torch.Tensor):
            raise OptionError(f"the model gives a {type(scores).__name__}, and a class map needs one tensor of scores")
        if scores.ndim != 4 or scores.shape[1] < 2 or scores.shape[-2:] != images.shape[-2:]:
            raise OptionError(
                f"for windows of shape {tuple(images.shape)} the model gives {tuple(scores.shape)}, and a class map "
                f"needs (n, classes, height, width) with two classes at least"
            )
        dtype = np.uint8 if scores.shape[1] <= 256 else np.uint16
        for classes in scores.argmax(dim=1).cpu().numpy().astype(dtype):
            # Patches of another resolution than their level's grow back to their window.
            yield nearest(classes, window.height, window.width)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Set every module to evaluation mode, and back to its own: frozen layers may differ from the whole."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
