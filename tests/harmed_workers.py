"""Worker processes that get a signal while they read."""

from __future__ import annotations

import os
from typing import Any

import pytest

from patchaug.readers import TiledRaster


def harm_readers(monkeypatch: pytest.MonkeyPatch, name: str, number: int) -> None:
    """Send a signal to each worker at its first read of the slide of a name."""
    parent, read, done = os.getpid(), TiledRaster.read, list[bool]()

    def read_and_die(self: TiledRaster, window: Any) -> Any:
        if os.getpid() != parent and self.name == name and not done:
            done.append(True)  # a worker that goes on is not stopped again
            os.kill(os.getpid(), number)
        return read(self, window)

    monkeypatch.setattr(TiledRaster, "read", read_and_die)
