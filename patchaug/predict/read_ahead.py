"""Reads the next batches while the model works on one."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from patchaug.predict.trained_model import WindowBatches


def read_ahead(batches: Sequence[WindowBatches]) -> Generator[list[Any], None, None]:
    """Yield each batch as each of the models gets it, in order; one more is read by another thread meanwhile.

    Batches are read once, for the first model. The first of them is read by the caller's thread, which starts the
    processes that read; so are all of them where reading draws random numbers, since the caller's thread may draw too.

    Args:
        batches: Batches of the same windows for each model.

    Yields:
        For each model, the batch after its transforms.
    """
    source = batches[0].raw()

    def prepared() -> list[Any] | None:
        raw = next(source, None)
        return None if raw is None else [one.prepared(raw) for one in batches]

    try:
        current = prepared()
        if not all(one.reads_only for one in batches):
            while current is not None:
                yield current
                current = prepared()
            return
        with ThreadPoolExecutor(1, "patchaug-read") as thread:
            while current is not None:
                following = thread.submit(prepared)
                yield current
                current = following.result()
    finally:
        _close(source)


def _close(source: Iterator[Any]) -> None:
    if isinstance(source, Generator):
        source.close()
