"""A worker that dies or stops answering: one error, soon, that names the slide and the window that it was reading."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from patchaug import ReadError
from patchaug.fastai import RandomPatch
from patchaug.readers import TiledRaster
from tests.harmed_workers import harm_readers

from .conftest import loaders

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="workers are forked, and share memory")
PLACE = r"worker \d has read slide s1\.tiff, level 0, window x=\d+ y=\d+ 32 x 32, index \d+ for \d+\.\d s"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_worker_that_dies_names_its_window(number: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed by the system, or in a decoder."""
    import faulthandler

    faulthandler.disable()
    harm_readers(monkeypatch, "s1.tiff", number)
    dls = loaders(folder, RandomPatch(32, per_slide=40, seed=7), num_workers=2)
    start = time.monotonic()
    with pytest.raises(ReadError, match=rf"^DataLoader worker \(pid.*; {PLACE}.*patchaug check --isolated$"):
        list(dls.train)
    assert time.monotonic() - start < 25


def test_a_worker_that_stops_answering_names_its_window(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGSTOP stands for a disk that stalls; `timeout=` is fastai's and torch's argument."""
    harm_readers(monkeypatch, "s1.tiff", signal.SIGSTOP)
    dls = loaders(folder, RandomPatch(32, per_slide=40, seed=7), num_workers=2, timeout=3)
    start = time.monotonic()
    with pytest.raises(ReadError, match=rf"^DataLoader timed out after 3 seconds; {PLACE}.*raise timeout="):
        list(dls.train)
    assert time.monotonic() - start < 25


def test_other_errors_pass(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A RuntimeError of a transform stays as it is."""

    def fails(self: TiledRaster, window: Any) -> Any:
        raise RuntimeError("of a library")

    dls = loaders(folder, RandomPatch(32, per_slide=40, seed=7), num_workers=2)
    monkeypatch.setattr(TiledRaster, "read", fails)
    with pytest.raises(RuntimeError, match="of a library"):
        list(dls.train)
