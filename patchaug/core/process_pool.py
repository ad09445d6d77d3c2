"""Functions in other processes, for work that threads cannot share: each process is a fresh interpreter.

Not `multiprocessing`: a program need not guard its main module, nothing is forked beside threads, and a worker of a
loader may use them too. They speak pickles over their standard streams, end with the program that started them, and do
not hear its Ctrl-C.
"""

from __future__ import annotations

import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
import time
import traceback
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any

from patchaug.core.ranks import read_ranks
from patchaug.errors import PatchaugError, ReadError

_COMMAND = "from patchaug.core.process_pool import serve; serve()"
_WAIT = 0.05  # seconds before a task that asked for it is tried again


class TryLater:
    """What a function returns for a task that is to be tried again after the others."""


class DoHere:
    """Stands for the result of a task that another process cannot unpickle: a class of the user's main module."""


def available_cores() -> int:
    """Return how many cores this program may use, less those of the other ranks of its machine."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(cores // read_ranks().local_world_size, 1)


def message_of(function: Callable[..., Any], *arguments: Any) -> bytes | None:
    """Return a call as a message for a process; None where an argument does not pickle."""
    try:
        return pickle.dumps((function, arguments))
    except Exception:  # an object of the user's
        return None


class ProcessPool:
    """Processes that run functions; used as a context.

    Args:
        processes: How many; 0 starts none, for no tasks.
        cure: What to do where a process ends, for the error.

    Examples:
        >>> from patchaug.core.process_pool import ProcessPool, message_of
        >>> with ProcessPool(1, "take fewer") as pool:
        ...     list(pool.run({7: message_of(divmod, 9, 4)}, str))
        [(7, (2, 1))]
    """

    def __init__(self, processes: int, cure: str) -> None:
        self._cure, self._ended = cure, False
        self._processes = [_start() for _ in range(processes)]
        self._threads: list[threading.Thread] = []
        self._results: queue.SimpleQueue[tuple[int, Any, BaseException | None]] = queue.SimpleQueue()

    def __enter__(self) -> ProcessPool:
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

    def run(self, messages: Mapping[int, bytes], name_of: Callable[[int], str]) -> Iterator[tuple[int, Any]]:
        """Yield number and result of each task, as they are done.

        A result is what the function returned, a `PatchaugError` that it raised, or `DoHere`.

        Args:
            messages: Tasks by number, see `message_of`; those first are done first.
            name_of: Returns what a task is about, for the error.

        Raises:
            ReadError: A process has ended.
            Exception: The function has raised anything but a `PatchaugError`.
        """
        waiting = deque(messages)
        for process in self._processes:
            thread = threading.Thread(target=self._serve, args=(process, waiting, messages, name_of), daemon=True)
            self._threads.append(thread)
            thread.start()
        for _ in range(len(messages)):
            number, result, error = self._next()
            if error is not None:
                raise error
            yield number, result

    def _next(self) -> tuple[int, Any, BaseException | None]:
        while True:  # with a timeout, so that Ctrl-C is noticed on every system
            try:
                return self._results.get(timeout=1)
            except queue.Empty:
                continue

    def _serve(
        self, process: subprocess.Popen[bytes], waiting: deque[int], messages: Mapping[int, bytes],
        name_of: Callable[[int], str],
    ) -> None:  # fmt: skip
        """Give one process its tasks, one after the other."""
        while not self._ended:
            try:
                number = waiting.popleft()
            except IndexError:
                return
            try:
                result = _ask(process, messages[number], name_of(number), self._cure)
            except BaseException as error:  # is raised in the thread that runs the tasks
                self._results.put((number, None, error))
                return
            if isinstance(result, TryLater):
                waiting.append(number)
                time.sleep(_WAIT)
            else:
                self._results.put((number, result, None))


def _ask(process: subprocess.Popen[bytes], message: bytes, name: str, cure: str) -> Any:
    """Let a process do one task."""
    assert process.stdin is not None
    assert process.stdout is not None
    data = None
    try:
        _write(process.stdin, message)
        data = _read(process.stdout)
    except (BrokenPipeError, ConnectionError):
        pass
    if data is None:
        code = process.wait()
        ended = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        raise ReadError(
            f"{name}: the process that worked on it has ended ({ended}); where memory is short, the system ends "
            f"the largest process: {cure}"
        )
    result, error = pickle.loads(data)
    if error is not None and not isinstance(error, PatchaugError):
        raise error
    return result if error is None else error


def _start() -> subprocess.Popen[bytes]:
    """Start a process that imports this package, and the user's modules, from the same places."""
    path = os.pathsep.join(dict.fromkeys(entry or os.getcwd() for entry in sys.path))
    return subprocess.Popen(
        [sys.executable, "-P", "-c", _COMMAND], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path}, start_new_session=True,  # Ctrl-C is for this process alone
    )  # fmt: skip


def serve() -> None:
    """Answer messages from standard input until it ends: what a process of the pool does."""
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    warnings.simplefilter("ignore")  # the process that opened the slides has shown them
    while (message := _read(requests)) is not None:
        try:
            _write(answers, _answer(message))
        except BrokenPipeError:  # the program has ended
            return


def _answer(message: bytes) -> bytes:
    try:
        function, arguments = pickle.loads(message)  # from the process that started this one
    except Exception:  # a class of the user's main module
        return pickle.dumps((DoHere(), None))
    try:
        return pickle.dumps((function(*arguments), None))
    except MemoryError:
        return pickle.dumps((None, ReadError("there is no memory left; use fewer processes")))
    except Exception as error:
        return _pickled(error)


def _pickled(error: Exception) -> bytes:
    """Return an error as an answer, with its place where it is unexpected."""
    if not isinstance(error, PatchaugError):
        error.add_note("".join(traceback.format_exception(error)))
    try:
        data = pickle.dumps((None, error))
        pickle.loads(data)
    except Exception:
        return pickle.dumps((None, RuntimeError(f"{type(error).__name__}: {error}")))
    return data


def _write(stream: IO[bytes], data: bytes) -> None:
    """Write bytes behind their length."""
    stream.write(len(data).to_bytes(8, "little"))
    stream.write(data)
    stream.flush()


def _read(stream: IO[bytes]) -> bytes | None:
    """Read the bytes of a message; None where the stream has ended."""
    head = stream.read(8)
    if len(head) < 8:
        return None
    data = stream.read(int.from_bytes(head, "little"))
    return data if len(data) == int.from_bytes(head, "little") else None
