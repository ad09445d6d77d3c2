"""Where the real slides are, how a test asks for one, and how it lets other processes read."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from patchaug.testing.raster_contract import digests

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


def real(name: str) -> Path:
    """A real file beside the project; the test is skipped where it is absent."""
    path = DATA / name
    if not path.exists():
        pytest.skip(f"real data are not here: {path}")
    return path


def read_all(raster, windows, results):
    """What a process does that reads windows of a raster; `results` is a queue."""
    results.put(digests(raster, windows))


def twice_by_two(raster, windows, method):
    """What two processes read at the same time, and two more when those are gone, as workers are in each epoch."""
    context, got = multiprocessing.get_context(method), []
    for _ in range(2):
        results = context.SimpleQueue()
        workers = [context.Process(target=read_all, args=(raster, windows, results)) for _ in range(2)]
        for worker in workers:
            worker.start()
        got += [results.get() for _ in workers]
        for worker in workers:
            worker.join()
    return got
