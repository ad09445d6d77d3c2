"""Remove from a learner what its exported file must not hold: pixels of slides, and paths of this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def drop_activations(model: Any) -> None:
    """Clear the hooks of a fastai U-Net: each stores the activations of the last batch, megabytes of pixels."""
    for module in model.modules():
        for hook in getattr(module, "sfs", ()):
            hook.stored = None


@contextmanager
def without_paths(*holders: Any) -> Iterator[None]:
    """Temporarily replace the `path` of each object with `Path(".")`."""
    paths = [holder.path for holder in holders]
    try:
        for holder in holders:
            holder.path = Path()
        yield
    finally:
        for holder, path in zip(holders, paths, strict=True):
            holder.path = path
