"""Turn Ctrl-C, SIGTERM and SIGHUP into a request to stop at the next safe place."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

# SIGHUP is what a run receives when its terminal or ssh connection is closed; Windows has none.
_REQUESTS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


@contextmanager
def on_stop_signal(request: Callable[[str], object], *, grace: float = 0) -> Iterator[None]:
    """Call `request` with the signal's name at the first stop signal; a second SIGINT is KeyboardInterrupt.

    Stop signals are SIGINT, SIGTERM and SIGHUP. One that the process ignores stays ignored, as for `nohup` and for
    background jobs of a script. Handlers belong to the main thread; in other threads this does nothing. Processes that
    are forked meanwhile ignore the requests.

    Args:
        request: Runs within a signal handler, so it must not raise: it may set attributes and call
            `print_in_handler`.
        grace: Seconds in which a second SIGINT is the same request: torchrun repeats one of the terminal.

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
    owner, received = os.getpid(), list[float]()

    def handle(number: int, frame: Any) -> None:
        if os.getpid() != owner:
            return
        if received and number == signal.SIGINT and time.monotonic() - received[0] >= grace:
            raise KeyboardInterrupt
        received.append(time.monotonic())
        if len(received) == 1:
            request(signal.Signals(number).name)

    heeded = [number for number in _REQUESTS if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, handle) for number in heeded}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def interrupt_on_stop_signals() -> None:
    """Make SIGTERM and SIGHUP raise KeyboardInterrupt as Ctrl-C does, so that a command cleans up and ends in one line.

    Signals that are ignored, or that have a handler, stay as they are. In processes that are forked, both end the
    process as usual.

    Examples:
        >>> import signal
        >>> before = signal.getsignal(signal.SIGTERM)
        >>> interrupt_on_stop_signals()
        >>> try:
        ...     signal.raise_signal(signal.SIGTERM)
        ... except KeyboardInterrupt:
        ...     print("stopped")
        ... finally:
        ...     _ = signal.signal(signal.SIGTERM, before)
        stopped
    """
    owner = os.getpid()

    def handle(number: int, frame: Any) -> None:
        if os.getpid() == owner:
            raise KeyboardInterrupt
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    if threading.current_thread() is threading.main_thread():
        for number in _REQUESTS:
            if signal.getsignal(number) == signal.SIG_DFL:
                signal.signal(number, handle)


def ignore_stop_signals() -> None:
    """Ignore all stop signals from now on: this process is about to end.

    Examples:
        >>> import signal
        >>> before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
        >>> ignore_stop_signals()
        >>> signal.raise_signal(signal.SIGTERM)
        >>> _ = [signal.signal(number, handler) for number, handler in before.items()]
    """
    if threading.current_thread() is threading.main_thread():
        for number in _REQUESTS:
            signal.signal(number, signal.SIG_IGN)


def print_in_handler(text: str) -> None:
    """Print a line on stderr from a signal handler, also where the signal interrupted a write to stderr.

    Python runs handlers in the middle of such a write, and refuses a second one through the same buffer. The line is
    then written past the buffer. Errors are ignored: after SIGHUP there may be no terminal.

    Args:
        text: The line, without its end.

    Examples:
        >>> print_in_handler("SIGTERM: the run ends after this batch")
    """
    try:
        print(text, file=sys.stderr, flush=True)
    except RuntimeError:  # "reentrant call inside <_io.BufferedWriter>"
        with suppress(OSError, ValueError, AttributeError):
            os.write(sys.stderr.fileno(), f"{text}\n".encode(errors="backslashreplace"))
    except (OSError, ValueError):
        pass


def outlive_stop_signals(seconds: int = 60) -> None:
    """Ignore SIGINT and SIGHUP in a worker process, and end some seconds after SIGTERM, so that the main process saves.

    The signals often go to a whole group of processes. A worker's main process ends it when it has saved.

    Args:
        seconds: Seconds between SIGTERM and the end of the worker.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if hasattr(signal, "alarm"):
        signal.signal(signal.SIGTERM, lambda number, frame: signal.alarm(seconds))
