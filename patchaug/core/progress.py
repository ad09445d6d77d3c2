"""Progress bars with rate and remaining time, on terminals only."""

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
    """Yield the items, and show a progress bar on stderr when the work takes long.

    Args:
        items: The items to process.
        total: Number of items.
        text: Description of the work, shown before the bar.
        patience: Seconds before the bar appears; 2 by default.
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
    """Create progress bars on stderr, to be used in a `with`; they vanish when the work is done.

    Args:
        show: False for bars that accept all calls and show nothing.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class Rate(ProgressColumn):
        """Column with steps per second."""

        def render(self, task: Task) -> Text:
            return Text(f"{task.speed:.3g}/s" if task.speed else "", style="progress.data.speed")

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Rate(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True, disable=not show)
