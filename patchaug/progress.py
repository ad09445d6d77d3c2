"""A bar for work that takes its time, and nothing for work that does not."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

_PATIENCE = 2.0  # seconds before a bar appears


def progress(items: Iterable[T], total: int, text: str) -> Iterator[T]:
    """Hand the items on; show how far they are, on a terminal's stderr, once two seconds have gone by.

    Args:
        items: What is worked on.
        total: How many there are.
        text: What is done, and to what.
    """
    start, bar, task = time.monotonic(), None, None
    try:
        for number, item in enumerate(items):
            if bar is None and sys.stderr.isatty() and time.monotonic() - start > _PATIENCE:
                from rich.console import Console
                from rich.progress import Progress

                bar = Progress(console=Console(stderr=True), transient=True)
                bar.start()
                task = bar.add_task(text, total=total)
            if bar is not None and task is not None:
                bar.update(task, completed=number)
            yield item
    finally:
        if bar is not None:
            bar.stop()
