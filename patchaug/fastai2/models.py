"""Models of a run: a function of the user's own, and those of segmentation_models_pytorch."""

from __future__ import annotations

import sys
from collections.abc import Callable
from difflib import get_close_matches
from functools import reduce
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from fastai.torch_core import params
from fastcore.foundation import L
from torch import nn

from patchaug.errors import OptionError
from patchaug.options.learner_fields import parse_model
from patchaug.predict.run_model import evaluating


def build_model(path: str, n_in: int, n_out: int) -> nn.Module:
    r"""Make the model that a path names. Code of that module runs.

    Args:
        path: "package.module:function", looked for in the working folder too; or "smp:NAME/ENCODER", a model of
            segmentation_models_pytorch with random weights.
        n_in: Channels of the images.
        n_out: Number of classes.

    Returns:
        A module that gives scores (n, n_out, height, width) for images (n, n_in, height, width).

    Raises:
        OptionError: The path leads nowhere, the library is not installed, or no module was made.

    Examples:
        >>> _ = Path("own.py").write_text(
        ...     "from torch import nn\ndef make(n_in, n_out):\n    return nn.Conv2d(n_in, n_out, 3, padding=1)\n"
        ... )
        >>> build_model("own:make", n_in=4, n_out=2)
        Conv2d(4, 2, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))
    """
    model = find_model(path)(n_in=n_in, n_out=n_out)
    if not isinstance(model, nn.Module):
        raise OptionError(f"model {path} gives a {type(model).__name__}; it must return a torch.nn.Module")
    return model


def find_model(path: str) -> Callable[..., Any]:
    """Return the function that makes a model, without calling it; see `build_model`.

    Raises:
        OptionError: The path leads nowhere, or the library is not installed.
    """
    module, name = parse_model(path)
    return _smp(name) if module == "smp" else _own(path, module, name)


def require_segmentation(model: nn.Module, path: str, n_in: int, n_out: int, size: tuple[int, int]) -> None:
    """Run a model once, on zeros, and check what it gives. No random number is taken.

    Args:
        model: The model, on the CPU.
        path: Name of the model, for errors.
        n_in: Channels of the images.
        n_out: Number of classes.
        size: Height and width of the patches.

    Raises:
        OptionError: It fails, or its answer is not scores of each class for each pixel.
    """
    with evaluating(model), torch.no_grad(), torch.random.fork_rng(devices=[]):
        try:
            scores = model(torch.zeros(1, n_in, *size))
        except Exception as error:  # whatever the foreign model raises
            raise OptionError(
                f"model {path} fails on an image of {n_in} channels and {size[0]} x {size[1]} px: {_line(error)}"
            ) from error
    found = tuple(scores.shape) if isinstance(scores, torch.Tensor) else type(scores).__name__
    if found != (1, n_out, *size):
        raise OptionError(
            f"model {path} gives {found} for one image of {size[0]} x {size[1]} px; it must give scores "
            f"{(1, n_out, *size)}: (windows, classes, height, width)"
        )


def split_encoder(model: nn.Module) -> L:
    """Split the parameters of a model into those of its attribute `encoder` and the others; one group without one.

    Examples:
        >>> from torch import nn
        >>> len(split_encoder(nn.Conv2d(3, 2, 1)))
        1
    """
    encoder = getattr(model, "encoder", None)
    if not isinstance(encoder, nn.Module):
        return L([params(model)])
    first = {id(parameter) for parameter in encoder.parameters()}
    return L([params(encoder), [one for one in params(model) if id(one) not in first]])


def _own(path: str, module: str, name: str) -> Callable[..., Any]:
    """Import a function of the user's; its errors are one line, and keep their trace as the cause."""
    folder = str(Path.cwd())
    if folder not in sys.path and "" not in sys.path:
        sys.path.insert(0, folder)  # and leave it there: the exported learner needs the module too
    try:
        imported = import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{module}.".startswith(f"{error.name}."):
            raise OptionError(
                f"model {path}: there is no module {error.name!r}, neither in {folder} nor among the installed packages"
            ) from None
        raise OptionError(f"model {path}: importing {module} failed: {_line(error)}") from error
    except Exception as error:
        raise OptionError(f"model {path}: importing {module} failed: {_line(error)}") from error
    try:
        function: Any = reduce(getattr, name.split("."), imported)
    except AttributeError:
        near = get_close_matches(name, vars(imported), n=1, cutoff=0.5)
        raise OptionError(
            f"model {path}: module {module} ({getattr(imported, '__file__', 'built in')}) has no {name!r}"
            + (f"; did you mean {near[0]}?" if near else "")
        ) from None
    try:
        signature(function).bind(n_in=3, n_out=2)
    except (TypeError, ValueError):
        raise OptionError(f"model {path}: {name} must be callable as {name}(n_in=3, n_out=2)") from None

    def make(**sizes: int) -> Any:
        try:
            return function(**sizes)
        except Exception as error:
            raise OptionError(f"model {path}: {name}(n_in={sizes['n_in']}, n_out={sizes['n_out']}) failed: "
                              f"{_line(error)}") from error  # fmt: skip

    return make


def _smp(text: str) -> Callable[..., Any]:
    try:
        import segmentation_models_pytorch as smp
    except ImportError:
        raise OptionError(
            "model smp:... needs segmentation_models_pytorch, which is not installed: pip install 'patchaug[smp]'"
        ) from None
    name, _, encoder = text.partition("/")
    models = {one.__name__: one for one in vars(smp).values() if isinstance(one, type) and issubclass(one, nn.Module)}
    if name not in models:
        raise OptionError(f"model smp:{text}: segmentation_models_pytorch has no {name!r}, but {', '.join(models)}")
    encoders = smp.encoders.get_encoder_names()
    if encoder not in encoders and not encoder.startswith("tu-"):  # those of timm are not listed
        near = get_close_matches(encoder, encoders, n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(near)}?" if near else "see smp.encoders.get_encoder_names()"
        raise OptionError(f"model smp:{text}: there is no encoder {encoder!r}; {hint}")

    def make(n_in: int, n_out: int) -> Any:
        try:  # random weights: nothing is downloaded
            return models[name](encoder_name=encoder, encoder_weights=None, in_channels=n_in, classes=n_out)
        except Exception as error:
            raise OptionError(f"model smp:{text} cannot be made: {_line(error)}") from error

    return make


def _line(error: BaseException) -> str:
    """Return the kind and the first line of an error."""
    text = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__
