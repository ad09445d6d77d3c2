"""A process that builds indexes of labels; `index_build` starts it and talks to it through its standard streams.

Not by `multiprocessing`: a program need not guard its main module, nothing is forked beside threads, and a worker of a
loader may start such a process too.
"""

from __future__ import annotations

import os
import pickle
import sys
import warnings
from typing import IO, Any

from patchaug.errors import PatchaugError, ReadError
from patchaug.slides.index_bytes import encode_index
from patchaug.slides.index_cache import IndexCache
from patchaug.slides.index_tasks import IndexTask

INDEX, ERROR, BUSY, ELSEWHERE = b"I", b"E", b"B", b"L"  # first byte of an answer
COMMAND = "from patchaug.slides.index_worker import main; main()"
_NO_KEY = "0" * 32


def write_message(stream: IO[bytes], data: bytes) -> None:
    """Write bytes behind their length."""
    stream.write(len(data).to_bytes(8, "little"))
    stream.write(data)
    stream.flush()


def read_message(stream: IO[bytes]) -> bytes | None:
    """Read the bytes of a message; None where the stream has ended."""
    head = stream.read(8)
    data = stream.read(int.from_bytes(head, "little")) if len(head) == 8 else b""
    return data if len(head) == 8 and len(data) == int.from_bytes(head, "little") else None


def main() -> None:
    """Answer messages from standard input until it ends."""
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    warnings.simplefilter("ignore")  # the process that opened the slides has shown them
    caches: dict[str, IndexCache] = {}
    while (data := read_message(requests)) is not None:
        write_message(answers, answer(data, caches))


def answer(data: bytes, caches: dict[str, IndexCache]) -> bytes:
    """Build the index of a message, and return the answer."""
    try:
        task, key, folder = pickle.loads(data)  # from the process that started this one
    except Exception:  # a class of the user's main module
        return ELSEWHERE
    try:
        if folder is not None and folder not in caches:
            caches[folder] = IndexCache(folder)
        return _built(task, key, None if folder is None else caches[folder])
    except MemoryError:
        return ERROR + pickle.dumps(
            ReadError(f"{task.slide}: no memory for its index of labels; lower index_workers, each needs about 1 GB")
        )
    except Exception as error:
        return ERROR + _pickled(error)


def _built(task: IndexTask, key: str | None, cache: IndexCache | None) -> bytes:
    """Build an index, keep it in the cache, and return its bytes."""
    if key is None or cache is None:
        return INDEX + encode_index(key or _NO_KEY, task(), task.facts())
    with cache.building(key) as mine:
        if not mine:
            return BUSY
        if cache.find(task, key) is not None:  # another process was faster
            return INDEX + cache.path_of(key).read_bytes()
        data = encode_index(key, task(), task.facts())
        cache.store(key, data)
        return INDEX + data


def _pickled(error: Exception) -> bytes:
    try:
        data = pickle.dumps(error)
        pickle.loads(data)
    except Exception:
        return pickle.dumps(RuntimeError(f"{type(error).__name__}: {error}"))
    return data if isinstance(error, PatchaugError) else pickle.dumps(_explained(error))


def _explained(error: Exception) -> Exception:
    """Add the place of an unexpected error, which does not travel with it."""
    import traceback

    error.add_note("".join(traceback.format_exception(error)))
    return error


def parse_answer(data: bytes, key: str | None) -> tuple[bytes, str, Any]:
    """Return kind, key and content of an answer: bytes of an index, or an error."""
    kind, content = data[:1], data[1:]
    return kind, key or _NO_KEY, pickle.loads(content) if kind == ERROR else content
