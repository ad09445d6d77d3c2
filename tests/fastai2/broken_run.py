"""Run as a process: `patchaug ...` that sends itself a signal at a moment, so that no machine is too fast or too slow.

Usage: python -m tests.fastai2.broken_run MOMENT SIGNAL WORDS... where MOMENT is "line TEXT" (within the write of that
line to stderr), or "batch N", "validation N" (within the Nth of the process).
"""

import io
import os
import signal
import sys

from patchaug.cli import main
from patchaug.cli.pace import Pace


class Watched(io.RawIOBase):
    """Stderr, with a signal within the write of a line."""

    def __init__(self, text: str, number: int) -> None:
        self.text, self.number, self.sent = text.encode(), number, False

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return 2

    def write(self, data) -> int:
        count = os.write(2, data)
        if bytes(data).startswith(self.text) and not self.sent:
            self.sent = True  # a handler that raises makes Python write the buffer again
            os.kill(os.getpid(), self.number)
        return count


def after(training: bool, count: int, number: int):
    """`Pace.after_batch` that sends the signal within the batch of that count."""
    original, seen = Pace.after_batch, []

    def after_batch(self) -> None:
        original(self)
        seen.append(self.learn.training)
        if self.learn.training == training and seen.count(training) == count:
            os.kill(os.getpid(), number)

    return after_batch


if __name__ == "__main__":
    (kind, _, value), number = sys.argv[1].partition(" "), int(sys.argv[2])
    sys.argv[:] = ["patchaug", *sys.argv[3:]]
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # a shell's background jobs are told to ignore it
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if kind == "line":
        sys.stderr = io.TextIOWrapper(io.BufferedWriter(Watched(value, number)), line_buffering=True)
    else:
        Pace.run_valid = True
        Pace.after_batch = after(kind == "batch", int(value), number)
    main()
