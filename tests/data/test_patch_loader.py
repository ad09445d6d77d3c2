"""`PatchLoader`: torch's loader, whose errors about workers are one line with slide and window."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from patchaug import ReadError, Uniform, open_slide
from patchaug.readers import TiledRaster
from patchaug.testing import coordinate_image, write_pyramid
from tests.harmed_workers import harm_readers

torch = pytest.importorskip("torch")
from torch.utils.data import DataLoader

from patchaug import EpochSampler, PatchDataset
from patchaug.data.patch_loader import PatchLoader
from patchaug.data.worker_notes import out_of_room, worker_notes_for

forked = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="workers are forked, and share memory")
PLACE = r"worker \d has read slide s1\.tif, level 0, window x=\d+ y=\d+ 32 x 32, index \d+ for \d+\.\d s"


@pytest.fixture
def data(tmp_path: Path) -> PatchDataset:
    """Patches of two slides."""
    for number in (0, 1):
        write_pyramid(tmp_path / f"s{number}.tif", [coordinate_image(128, 128)])
    slides = [open_slide(tmp_path / f"s{number}.tif", 0, ram=0) for number in (0, 1)]
    return PatchDataset(slides, Uniform(32, per_slide=20), seed=5)


@pytest.mark.parametrize("options", [{}, {"num_workers": 2}, {"num_workers": 2, "persistent_workers": True,
                                                              "timeout": 60}])  # fmt: skip
def test_batches_are_those_of_torch(options: dict[str, Any], data: PatchDataset) -> None:
    """The same bytes in the same order, in each epoch."""
    loaders = [kind(data, batch_size=4, sampler=EpochSampler(data), **options) for kind in (PatchLoader, DataLoader)]
    for _ in range(2):
        ours, theirs = ([batch.image.numpy() for batch in loader] for loader in loaders)
        assert len(ours) == len(theirs) == 10
        assert all(map(np.array_equal, ours, theirs))


@forked
@pytest.mark.parametrize("name", ["SIGKILL", "SIGSEGV"])
def test_a_worker_that_dies_names_its_window(name: str, data: PatchDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed by the system, or in a decoder."""
    import faulthandler

    faulthandler.disable()
    harm_readers(monkeypatch, "s1.tif", getattr(signal, name))
    with pytest.raises(ReadError, match=rf"^DataLoader worker .*; {PLACE}.*patchaug check --isolated$"):
        list(PatchLoader(data, batch_size=4, num_workers=2))


@forked
def test_a_worker_that_stops_answering_names_its_window(data: PatchDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a disk that stalls; afterwards no worker is left."""
    import psutil

    harm_readers(monkeypatch, "s1.tif", signal.SIGSTOP)
    before = set(psutil.Process().children())
    with pytest.raises(ReadError, match=rf"^DataLoader timed out after 2 seconds; {PLACE}.*raise timeout="):
        list(PatchLoader(data, batch_size=4, num_workers=2, timeout=2))
    gone, alive = psutil.wait_procs(set(psutil.Process().children()) - before, timeout=30)
    assert not alive


@pytest.mark.parametrize("workers", [0, 2])
def test_errors_of_readers_are_as_without_workers(workers: int, data: PatchDataset) -> None:
    """One line with slide, window, seed and index, and no traceback of the worker in its text."""
    Path(data.plan.slides[1].image.path).unlink()
    with pytest.raises(FileNotFoundError) as caught:
        list(PatchLoader(data, batch_size=4, num_workers=workers))
    text = str(caught.value)
    assert text.count("\n") <= 1
    assert "s1.tif: there is no such file" in text
    assert "slide s1.tif, level 0, window x=" in text
    assert "; seed 5, index " in text


@forked
def test_other_errors_pass(data: PatchDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """A RuntimeError of a library stays as it is."""

    def fails(self: TiledRaster, window: Any) -> Any:
        raise RuntimeError("of a library")

    monkeypatch.setattr(TiledRaster, "read", fails)
    with pytest.raises(RuntimeError, match="of a library"):
        list(PatchLoader(data, batch_size=4, num_workers=2))


@forked
@pytest.mark.parametrize(
    ("error", "cure"),
    [
        (RuntimeError("unable to write to file </torch_1>: No space left on device (28)"), "--shm-size=2g"),
        (RuntimeError("received 0 items of ancdata"), "ulimit -n 4096"),
        (OSError(24, "Too many open files"), "ulimit -n 4096"),
        (RuntimeError("unable to mmap 99 bytes from file: Cannot allocate memory (12)"), "raise ulimit -v"),
        (ConnectionResetError(104, "Connection reset by peer"), "patchaug check --isolated"),
        (EOFError(), "patchaug check --isolated"),
    ],
)
def test_errors_of_batches_on_their_way_have_a_cure(error: Exception, cure: str) -> None:
    """torch says what failed; here is what helps."""
    notes = worker_notes_for(1)
    assert notes is not None
    explained = notes.explained(error)
    assert isinstance(explained, ReadError)
    assert cure in str(explained)
    assert "no worker was reading a window" in str(explained)
    assert notes.explained(ValueError("another")) is None
    without = out_of_room(error)
    assert without is None or cure in str(without)
    assert (without is None) == isinstance(error, (ConnectionError, EOFError))
