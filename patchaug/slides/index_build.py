"""Build indexes of labels: in this process where the work is small, else in several."""

from __future__ import annotations

import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from multiprocessing import parent_process
from typing import Literal

from patchaug.core.progress import progress
from patchaug.core.ranks import read_ranks
from patchaug.core.validation import checked_integer
from patchaug.errors import OptionError, PatchaugError, ReadError
from patchaug.slides.index_cache import IndexCache, current_cache, labels_of
from patchaug.slides.index_tasks import IndexTask, key_of
from patchaug.slides.index_worker import BUSY, COMMAND, ELSEWHERE, ERROR, parse_answer, read_message, write_message
from patchaug.slides.labels import Labels

Workers = int | Literal["auto"]
Result = Labels | PatchaugError
SMALL = 1 << 28  # pixels that one process indexes sooner than another has started
_WAIT = 0.05  # seconds between two looks at an index that another program builds


def checked_workers(workers: object) -> Workers:
    """Return a number of processes, or "auto".

    Raises:
        OptionError: It is neither a whole number of at least 1 nor "auto".
    """
    if workers == "auto":
        return "auto"
    if isinstance(workers, str):
        raise OptionError(f'index_workers must be a number of processes or "auto", got {workers!r}')
    return checked_integer("index_workers", workers, 1)


def build_indexes(tasks: Sequence[IndexTask], *, workers: Workers = "auto") -> list[Result]:
    """Build indexes of labels, or take them from the current cache.

    Args:
        tasks: What to build.
        workers: Number of processes; "auto": one for each core that this program may use, and none besides this one
            where the work is small. The ranks of a machine share its cores.

    Returns:
        For each task its index, or the error that building it ended in.
    """
    results: list[Result | None] = [None] * len(tasks)
    keys: list[str | None] = [None] * len(tasks)
    cache = current_cache()
    if cache is not None:
        for number, task in enumerate(tasks):
            try:
                keys[number] = key = key_of(task)
                results[number] = None if key is None else cache.find(task, key)
            except PatchaugError as error:
                results[number] = error
    left = sorted((n for n, one in enumerate(results) if one is None), key=lambda n: -tasks[n].pixels)
    processes = _processes(workers, [tasks[number] for number in left])
    there = {n: data for n in left if (data := _message(tasks[n], keys[n], cache)) is not None} if processes > 1 else {}
    here = [number for number in left if number not in there]
    with _Pool(min(processes, len(there))) as pool:
        done = pool.run(tasks, keys, there)
        for number, result in progress(done, len(there), "indexing labels"):
            if result is None:
                here.append(number)
            else:
                results[number] = result
    for number in progress(here, len(here), "indexing labels"):
        try:
            results[number] = tasks[number]() if cache is None else cache.fetch(tasks[number])
        except PatchaugError as error:
            results[number] = error
    return [one for one in results if one is not None]


def available_cores() -> int:
    """Return how many cores this program may use, less those of the other ranks of its machine."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(cores // read_ranks().local_world_size, 1)


def _processes(workers: Workers, tasks: Sequence[IndexTask]) -> int:
    """Return how many processes to start; 1 for this one alone."""
    if len(tasks) < 2 or not sys.executable:
        return 1
    if workers != "auto":
        return min(workers, len(tasks))
    if parent_process() is not None or sum(task.pixels for task in tasks) < SMALL:
        return 1
    return min(available_cores(), len(tasks))


def _message(task: IndexTask, key: str | None, cache: IndexCache | None) -> bytes | None:
    """Return the task for another process; None where it must be done here."""
    other = task.for_other_process()
    if other is None:
        return None
    try:
        return pickle.dumps((other, key, None if cache is None else str(cache.folder)))
    except Exception:  # an object of the user's that does not pickle
        return None


class _Pool:
    """Processes that build indexes, each with a thread that waits for its answers."""

    def __init__(self, processes: int) -> None:
        self._processes = [_start() for _ in range(processes)]
        self._threads: list[threading.Thread] = []
        self._answers: queue.SimpleQueue[tuple[int, Result | BaseException | None]] = queue.SimpleQueue()
        self._ended = False

    def __enter__(self) -> _Pool:
        return self

    def __exit__(self, *error: object) -> None:
        self._ended = True
        for process in self._processes:
            process.kill()
        for thread in self._threads:
            thread.join()
        for process in self._processes:
            for stream in (process.stdin, process.stdout):
                try:
                    if stream is not None:
                        stream.close()
                except OSError:  # the rest of a message to a process that has ended
                    pass
            process.wait()

    def run(
        self, tasks: Sequence[IndexTask], keys: Sequence[str | None], messages: dict[int, bytes]
    ) -> Iterator[tuple[int, Result | None]]:
        """Yield number and result of each task, as they are done; None for one that must be built here."""
        waiting = deque(messages)
        for process in self._processes:
            thread = threading.Thread(target=self._serve, args=(process, waiting, tasks, keys, messages), daemon=True)
            self._threads.append(thread)
            thread.start()
        for _ in range(len(messages)):
            number, result = self._next()
            if isinstance(result, BaseException) and not isinstance(result, PatchaugError):
                raise result
            if isinstance(result, _EndedError):
                raise ReadError(str(result))
            yield number, result

    def _next(self) -> tuple[int, Result | BaseException | None]:
        while True:  # with a timeout, so that Ctrl-C is noticed on every system
            try:
                return self._answers.get(timeout=1)
            except queue.Empty:
                continue

    def _serve(
        self, process: subprocess.Popen[bytes], waiting: deque[int], tasks: Sequence[IndexTask],
        keys: Sequence[str | None], messages: dict[int, bytes],
    ) -> None:  # fmt: skip
        """Give one process its tasks, one after the other."""
        while not self._ended:
            try:
                number = waiting.popleft()
            except IndexError:
                return
            try:
                result = _ask(process, tasks[number], keys[number], messages[number])
            except BaseException as error:  # is raised in the main thread
                self._answers.put((number, error))
                return
            if result is _BUSY:  # another program builds it: look again when the others are done
                waiting.append(number)
                time.sleep(_WAIT)
                continue
            self._answers.put((number, result))


class _EndedError(PatchaugError):
    """Raised when a process has ended before its answer."""


_BUSY = ReadError("another program builds this index")


def _ask(process: subprocess.Popen[bytes], task: IndexTask, key: str | None, message: bytes) -> Result | None:
    """Let a process build one index; None where it cannot."""
    assert process.stdin is not None
    assert process.stdout is not None
    data = None
    try:
        write_message(process.stdin, message)
        data = read_message(process.stdout)
    except (BrokenPipeError, ConnectionError):
        pass
    if data is None:
        raise _EndedError(
            f"{task.slide}: the process that indexed its labels has ended ({_how_ended(process)}); where memory is "
            f"short, the system ends the largest process: lower index_workers, or set it to 1"
        )
    kind, name, content = parse_answer(data, key)
    if kind == BUSY:
        return _BUSY
    if kind == ELSEWHERE:
        return None
    if kind == ERROR:
        if isinstance(content, PatchaugError):
            return content
        raise content
    return labels_of(content, task, name)


def _how_ended(process: subprocess.Popen[bytes]) -> str:
    code = process.wait()
    if code < 0:
        return signal.Signals(-code).name
    return f"exit code {code}"


def _start() -> subprocess.Popen[bytes]:
    """Start a process that imports this package from the same place."""
    path = os.pathsep.join(dict.fromkeys(entry or os.getcwd() for entry in sys.path))
    return subprocess.Popen(
        [sys.executable, "-P", "-c", COMMAND], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path}, start_new_session=True,  # Ctrl-C is for this process alone
    )  # fmt: skip
