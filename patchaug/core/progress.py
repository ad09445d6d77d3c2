"""Bars for work that takes its time, with rate and remaining time; nothing where there is no terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress, Task

T = TypeVar("T")

_PATIENCE = 2.0  # seconds before a bar appears


def progress(items: Iterable[T], total: int, text: str, *, patience: float | None = None) -> Iterator[T]:
    """Hand the items on; show how far they are, on a terminal's stderr, once it has taken a while.

    Args:
        items: What is worked on.
        total: How many there are.
        text: What is done, and to what.
        patience: Seconds before the bar appears; default: two.
    """
    patience = _PATIENCE if patience is None else patience
    start, bar, task = time.monotonic(), None, None
    try:
        for number, item in enumerate(items):
            if bar is None and sys.stderr.isatty() and time.monotonic() - start >= patience:
                bar = bars(True)
                bar.start()
                task = bar.add_task(text, total=total)
            if bar is not None and task is not None:
                bar.update(task, completed=number)
            yield item
    finally:
        if bar is not None:
            bar.stop()


def bars(show: bool) -> Progress:
    """Bars on stderr, to be used in a `with`, that go away when the work is done.

    Args:
        show: False for bars that take all calls and show nothing.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class Rate(ProgressColumn):
        """Steps a second."""

        def render(self, task: Task) -> Text:
            return Text(f"{task.speed:.3g}/s" if task.speed else "", style="progress.data.speed")

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Rate(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True, disable=not show)
