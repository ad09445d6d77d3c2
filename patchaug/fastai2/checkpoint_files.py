"""Read and write checkpoints: files of torch with tensors and plain values, without pickled objects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from patchaug.core.atomic import atomic_write
from patchaug.errors import MissingError, ReadError

VERSION = 1


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint.

    Raises:
        MissingError: There is none.
        ReadError: The file is damaged, or not a checkpoint.
    """
    if not path.is_file():
        raise MissingError(
            f"there is no checkpoint {path}; the run saves one after its first epoch or when it is ended"
        )
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        if state["patchaug_checkpoint"] != VERSION:
            raise ReadError(f"{path}: version {state['patchaug_checkpoint']} of checkpoints is not supported")
    except ReadError:
        raise
    except Exception as error:  # torch and pickle raise many kinds
        text = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise ReadError(
            f"{path} is damaged, or not a checkpoint ({text}); start the run again without --resume"
        ) from None
    return dict(state)


def load_best(path: Path, model: Any) -> None:
    """Load the weights of the best epoch into a model."""
    device = next(model.parameters()).device
    model.load_state_dict(torch.load(path, map_location=device, weights_only=True)["model"])


def write_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write tensors and plain values, atomically."""
    with atomic_write(path, "checkpoint") as temporary, temporary.open("wb") as file:
        torch.save(state, file)
