"""What the files of a prediction depend on: model, options and slide; a prediction goes on with the same ones only."""

from __future__ import annotations

import os
from dataclasses import fields
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch

from patchaug.core.windows import Window
from patchaug.predict.bands import Prediction
from patchaug.predict.options import PredictOptions
from patchaug.readers.urls import as_url, is_url
from patchaug.slides.checksums import states_of

_NO_CHANGE = {"workers"}  # options that change no byte of the result


def digest_of_model(learn: Any) -> str:
    """Return the SHA-256 of the weights, and of the description of the modules, of a learner or several.

    Examples:
        >>> from patchaug.predict.job import digest_of_model
        >>> len(digest_of_model(learn))
        64
    """
    digest = sha256()
    for one in learn if isinstance(learn, (list, tuple)) else [learn]:
        digest.update(repr(one.model).encode())
        for name, value in one.model.state_dict().items():
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def describe_job(model: str, prediction: Prediction, options: PredictOptions) -> dict[str, Any]:
    """Return what the files of a slide depend on, as JSON stores it.

    Args:
        model: Digest of the model.
        prediction: The slide's prediction.
        options: How it is predicted.
    """
    return {
        "model": model,
        "options": describe_options(options),
        "sampler": repr(prediction.plan.sampler),
        "frame": repr(prediction.frame),
        "slide": [file_state(member.path) for member in prediction.slide.members],
    }


def describe_options(options: PredictOptions) -> dict[str, Any]:
    """Return the options that change the result, as JSON stores them."""
    named = {one.name: getattr(options, one.name) for one in fields(options) if one.name not in _NO_CHANGE}
    return {**named, "region": _describe(options.region)}


def file_state(path: str | None) -> list[Any] | None:
    """Return path, sizes and times of a slide's files; None for a slide that is no file."""
    if path is None or not (is_url(path) or os.path.exists(path)):
        return None
    name = as_url(path) or str(Path(path).resolve())
    return [name, *(list(state.values()) for state in states_of(path).values())]


def _describe(region: Any) -> Any:
    """Return a region as JSON stores it: its text, or a digest of what it holds."""
    if isinstance(region, Window) or region is None:
        return repr(region)
    if isinstance(region, (str, os.PathLike)):
        state = file_state(os.fspath(region))
        return os.fspath(region) if state is None else state
    if isinstance(region, (np.ndarray, torch.Tensor)):
        values = np.ascontiguousarray(region.cpu() if isinstance(region, torch.Tensor) else region)
        return f"{values.dtype} {values.shape} {sha256(values.tobytes()).hexdigest()}"
    return sha256(repr(region).encode()).hexdigest()
