"""What each worker is reading, in memory that the main process sees: a worker that dies or hangs is traced to its file.

torch's errors name the process alone. Each worker writes slide and window into a slot before it reads, and empties the
slot afterwards.
"""

from __future__ import annotations

import os
import signal
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from torch.utils.data import get_worker_info

from patchaug.core.memory.anonymous import HAS_FILE_LOCKS, MemoryFile, is_starting_process
from patchaug.errors import ReadError
from patchaug.sampling.plan import Draw
from patchaug.slides.slide import Slide

_SLOT = 512  # bytes: process, start of the read, length of the text, text
_HEAD = struct.Struct("<qdq")
_SIGNS = ("DataLoader worker", "DataLoader timed out")  # how torch's errors about workers begin


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
            _HEAD.pack_into(self._memory, at, 0, 0.0, 0)

    def _reads(self) -> list[tuple[float, int, str]]:
        """Return start, process and text of each worker that reads, those that have read longest first."""
        found = []
        for at in range(0, self.workers * _SLOT, _SLOT):
            process, start, length = _HEAD.unpack_from(self._memory, at)
            if process:
                text = bytes(self._memory[at + _HEAD.size : at + _HEAD.size + length]).decode(errors="replace")
                found.append(
                    (start, process, f"worker {at // _SLOT} has read {text} for {time.monotonic() - start:.1f} s")
                )
        return sorted(found)

    def explained(self, error: RuntimeError) -> ReadError | None:
        """Return the error of a worker that died or stopped answering, with what was read; None for other errors."""
        text = " ".join(str(error).split())
        if not text.startswith(_SIGNS):
            return None
        reads = self._reads()
        reading = "; ".join(text for _, _, text in reads[:4]) or "no worker was reading a window"
        for _, process, _ in reads if "timed out" in text else ():
            with suppress(OSError):  # a stopped process cannot end
                os.kill(process, signal.SIGCONT)
        cure = (
            "is the disk reachable? raise timeout= if it is slow"
            if "timed out" in text
            else "if the system ended it, lower ram= or num_workers; else check the slide: patchaug check --isolated"
        )
        return ReadError(f"{text}; {reading}; {cure}")
