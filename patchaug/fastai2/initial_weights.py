"""Load weights from a file into a model: all of them, or one error that lists what does not fit."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from patchaug.errors import MissingError, OptionError, ReadError

_SHOWN = 3  # names that an error lists of each kind
_WRAPPERS = ("model", "state_dict", "model_state_dict")  # keys under which checkpoints hold the weights


def load_weights(model: nn.Module, path: str | os.PathLike[str]) -> None:
    """Set all weights of a model from a file; no pickled object is loaded.

    Args:
        model: The model.
        path: A .safetensors file, or a file of `torch.save` (.pth, .pt) with a state dict, also within a checkpoint of
            fastai's `learn.save`, of this package or of Lightning.

    Raises:
        MissingError: There is no such file.
        ReadError: It is damaged, or holds other objects than tensors.
        OptionError: Its weights are not those of the model.

    Examples:
        >>> import torch
        >>> torch.save(torch.nn.Linear(2, 1).state_dict(), "weights.pth")
        >>> model = torch.nn.Linear(2, 1)
        >>> load_weights(model, "weights.pth")
    """
    file = Path(path)
    if not file.is_file():
        raise MissingError(f"there is no file {file}; init names a file of weights")
    found = _read_safetensors(file) if file.suffix.lower() == ".safetensors" else _read_torch(file)
    if found and all(name.startswith("module.") for name in found):  # of a model that was trained on several GPUs
        found = {name.removeprefix("module."): value for name, value in found.items()}
    own = model.state_dict()
    missing, unexpected = [name for name in own if name not in found], [name for name in found if name not in own]
    shapes = [
        f"{name} {tuple(found[name].shape)} in place of {tuple(value.shape)}"
        for name, value in own.items()
        if name in found and found[name].shape != value.shape
    ]
    if missing or unexpected or shapes:
        parts = [_listed("missing", missing), _listed("unexpected", unexpected), _listed("of another shape", shapes)]
        raise OptionError(
            f"{file} does not fit the model: of {len(own)} weights {', '.join(filter(None, parts))}; init needs all "
            f"weights of the same architecture, with as many channels and classes"
        )
    model.load_state_dict(found)


def _listed(kind: str, names: list[str]) -> str:
    more = f", and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{len(names)} are {kind} ({', '.join(names[:_SHOWN])}{more})" if names else ""


def _read_safetensors(file: Path) -> dict[str, torch.Tensor]:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError:
        raise OptionError(
            f"{file}: reading it needs safetensors, which is not installed: pip install safetensors"
        ) from None
    try:
        return dict(load_file(file))
    except (SafetensorError, OSError) as error:
        raise ReadError(f"{file} is damaged, or not a file of safetensors: {error}") from None


def _read_torch(file: Path) -> dict[str, torch.Tensor]:
    try:
        content: Any = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch and pickle raise many kinds
        text = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise ReadError(
            f"{file} is damaged, or holds other objects than weights, which could run code ({text}); save "
            f"model.state_dict() with torch.save"
        ) from None
    for key in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    if not isinstance(content, Mapping) or not _are_weights(content.items()):
        raise ReadError(f"{file} holds no weights by name; save model.state_dict() with torch.save")
    return dict(content)


def _are_weights(items: Iterable[tuple[Any, Any]]) -> bool:
    pairs = list(items)
    return bool(pairs) and all(isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in pairs)
