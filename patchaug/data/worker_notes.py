"""What each worker is reading, in memory that the main process sees: a worker that dies or hangs is traced to its file.

torch's errors name the process alone. Each worker writes slide and window into a slot before it reads, and empties the
slot afterwards.
"""

from __future__ import annotations

import os
import re
import signal
import struct
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from torch.utils.data import get_worker_info

from patchaug.core.memory.anonymous import HAS_FILE_LOCKS, MemoryFile, is_starting_process
from patchaug.errors import PatchaugError, ReadError
from patchaug.sampling.plan import Draw
from patchaug.slides.slide import Slide

_SLOT = 512  # bytes: process, start of the read, length of the text, text
_HEAD = struct.Struct("<qdq")
_SIGNS = ("DataLoader worker", "DataLoader timed out")  # how torch's errors about workers begin
# Words of errors about batches on their way from workers, in a worker or in the main process, and what helps.
_SHM = "/dev/shm is too small for the batches; raise it (docker run --shm-size=2g), or lower bs or num_workers"
_NO_MEMORY = "the system has no memory for the batches; lower bs or num_workers, or raise ulimit -v"
_FILES = "batches need more open files than the limit allows; raise it (ulimit -n 4096)"
_TRANSPORT = {
    "No space left on device": _SHM, "out of shared memory": _SHM, "unable to mmap": _NO_MEMORY,
    "Cannot allocate memory": _NO_MEMORY, "Too many open files": _FILES, "ancdata": _FILES,
}  # fmt: skip


def worker_notes_for(workers: int) -> WorkerNotes | None:
    """Create notes for the workers of a pass; None without workers or without shared memory."""
    if not workers or not HAS_FILE_LOCKS:
        return None
    try:
        return WorkerNotes(MemoryFile(workers * _SLOT), workers)
    except OSError:
        return None


class WorkerNotes:
    """The slots of one pass.

    Args:
        file: Memory for all slots.
        workers: Number of worker processes.
    """

    def __init__(self, file: MemoryFile, workers: int) -> None:
        self.file, self.workers = file, workers
        self._memory = file.map

    def __reduce__(self) -> tuple[Any, ...]:
        if not is_starting_process():  # any other copy belongs to no pass
            return type(None), ()
        return WorkerNotes, (self.file, self.workers)

    @contextmanager
    def reading(self, draw: Draw, slide: Slide) -> Iterator[None]:
        """Note what the worker reads, until the block ends; the main process notes nothing."""
        worker = get_worker_info()
        if worker is None or worker.id >= self.workers:
            yield
            return
        window = draw.window
        text = (
            f"slide {slide.name}, level {window.level}, window x={window.x} y={window.y} {window.width} x "
            f"{window.height}, index {draw.index}"
        ).encode()[-_SLOT + _HEAD.size :]
        at = worker.id * _SLOT
        self._memory[at + _HEAD.size : at + _HEAD.size + len(text)] = text
        _HEAD.pack_into(self._memory, at, os.getpid(), time.monotonic(), len(text))
        try:
            yield
        finally:
            _HEAD.pack_into(self._memory, at, os.getpid(), 0.0, 0)

    def _reads(self) -> list[tuple[float, int, str]]:
        """Return start, process and text of each worker that reads, those that have read longest first."""
        found = []
        for at in range(0, self.workers * _SLOT, _SLOT):
            process, start, length = _HEAD.unpack_from(self._memory, at)
            if process and start:
                text = bytes(self._memory[at + _HEAD.size : at + _HEAD.size + length]).decode(errors="replace")
                found.append(
                    (start, process, f"worker {at // _SLOT} has read {text} for {time.monotonic() - start:.1f} s")
                )
        return sorted(found)

    def signal_workers(self, number: int) -> None:
        """Send a signal to all workers that have read a window."""
        for at in range(0, self.workers * _SLOT, _SLOT):
            process = _HEAD.unpack_from(self._memory, at)[0]
            if process:
                with suppress(OSError):
                    os.kill(process, number)

    def explained(self, error: Exception, *, timed_out: str = "") -> PatchaugError | None:
        """Return an error from a worker as one line, or that of a worker that died or stopped answering.

        Args:
            error: What torch raised.
            timed_out: What happened, where the caller has ended workers that did not answer.

        Returns:
            The error, with what was read; None for other errors than those of workers.
        """
        text = timed_out or " ".join(str(error).split()) or type(error).__name__
        cure = next((cure for words, cure in _TRANSPORT.items() if words in text), None)
        if isinstance(error, PatchaugError):
            return plain(error)
        lost = isinstance(error, (ConnectionError, EOFError))  # while a batch was fetched from a worker
        if not (lost or cure or text.startswith(_SIGNS)):
            return None
        if lost and not timed_out:
            text = f"DataLoader worker ended ({text})"
        reading = "; ".join(text for _, _, text in self._reads()[:4]) or "no worker was reading a window"
        if "timed out" in text and hasattr(signal, "SIGCONT"):
            self.signal_workers(signal.SIGTERM)
            self.signal_workers(signal.SIGCONT)  # a stopped process cannot end
        if cure is not None:
            text = re.sub(r"Caught (\w+) in (DataLoader worker process \d+)\. .*(\1: )", r"\2: ", text)
        cure = cure or (
            "is the disk reachable? raise timeout= if it is slow"
            if "timed out" in text
            else "if the system ended it, lower ram= or num_workers; else check the slide: patchaug check --isolated"
        )
        return ReadError(f"{text}; {reading}; {cure}")


def out_of_room(error: Exception) -> ReadError | None:
    """Return the error of a pass that the system has no room for; None for other errors."""
    text = " ".join(str(error).split())
    cure = next((cure for words, cure in _TRANSPORT.items() if words in text), None)
    return None if cure is None or isinstance(error, PatchaugError) else ReadError(f"DataLoader: {text}; {cure}")


def plain(error: PatchaugError) -> PatchaugError | None:
    """Return an error that torch has sent from a worker without the traceback in its text; None for others."""
    text, name = str(error), type(error).__name__
    if not text.startswith(f"Caught {name} in DataLoader worker process"):
        return None
    return type(error)(re.split(rf"^[\w.]*{name}: ", text, flags=re.MULTILINE)[-1].strip())


_watched: weakref.WeakSet[WorkerNotes] = weakref.WeakSet()


def explain_signals(notes: WorkerNotes) -> None:
    """Let the error that torch raises the moment a worker dies name what the worker has read.

    torch raises it from its handler of SIGCHLD, so in any line of the main program, also outside the loader.

    Args:
        notes: The notes of a pass whose workers have started; in the main thread, else nothing changes.
    """
    _watched.add(notes)
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGCHLD"):
        return
    torchs = signal.getsignal(signal.SIGCHLD)
    if not callable(torchs) or hasattr(torchs, "explains"):
        return

    def handler(number: int, frame: Any) -> None:
        try:
            torchs(number, frame)
        except RuntimeError as error:
            explained = next((said for one in list(_watched) if (said := one.explained(error)) is not None), None)
            if explained is None:
                raise
            raise explained from error

    handler.explains = True  # type: ignore[attr-defined]
    signal.signal(signal.SIGCHLD, handler)
