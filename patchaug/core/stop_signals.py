"""Turn Ctrl-C and SIGTERM into a request to stop at the next safe place."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def on_stop_signal(request: Callable[[str], object]) -> Iterator[None]:
    """Call `request` with the signal's name at the first SIGINT or SIGTERM; a second SIGINT is KeyboardInterrupt.

    Handlers belong to the main thread; in other threads this does nothing. Processes that are forked meanwhile ignore
    both signals' requests.

    Examples:
        >>> import signal
        >>> names = []
        >>> with on_stop_signal(names.append):
        ...     signal.raise_signal(signal.SIGTERM)
        >>> names
        ['SIGTERM']
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    owner, received = os.getpid(), list[int]()

    def handle(number: int, frame: Any) -> None:
        if os.getpid() != owner:
            return
        if received and number == signal.SIGINT:
            raise KeyboardInterrupt
        if not received:
            request(signal.Signals(number).name)
        received.append(number)

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def outlive_stop_signals(seconds: int = 60) -> None:
    """Ignore SIGINT in a worker process, and end some seconds after SIGTERM, so that the main process can save first.

    Both signals often go to a whole group of processes. A worker's main process ends it when it has saved.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "alarm"):
        signal.signal(signal.SIGTERM, lambda number, frame: signal.alarm(seconds))
