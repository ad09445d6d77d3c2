"""What an exported learner must not hold: pixels of somebody's slide, and a place on somebody's machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def drop_activations(model: Any) -> None:
    """Empty the hooks of a U-Net of fastai's: each keeps the activations of the last batch, megabytes of a slide."""
    for module in model.modules():
        for hook in getattr(module, "sfs", ()):
            hook.stored = None


@contextmanager
def without_paths(*holders: Any) -> Iterator[None]:
    """Set the `path` of some objects to ".", and back."""
    kept = [holder.path for holder in holders]
    try:
        for holder in holders:
            holder.path = Path()
        yield
    finally:
        for holder, path in zip(holders, kept, strict=True):
            holder.path = path
