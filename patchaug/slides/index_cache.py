"""A folder that keeps indexes of labels, shared by ranks and runs.

Each index is a file of its own, named by what it follows from (`key_of`), and appears when it is whole. A file that is
damaged, or of another format, is made anew. While one process makes an index, it holds a lock, and others wait for it.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from patchaug.core.atomic import atomic_write, write_error, write_text
from patchaug.core.file_lock import lock_file, unlock_file
from patchaug.errors import MissingError, WriteError
from patchaug.slides.index_bytes import decode_index, encode_index
from patchaug.slides.index_tasks import IndexTask, key_of
from patchaug.slides.label_runs import Read
from patchaug.slides.labels import Labels

TAG = "CACHEDIR.TAG"  # backup programs leave a folder with this file out
_TEXT = (
    "Signature: 8a477f597d28d172789f06886806bc55\n"
    "# This folder holds indexes of labels that patchaug made. It may be removed at any time.\n"
)
_SUFFIX = ".labels"
_POLL = 0.05  # seconds between two looks at an index that another process makes


class IndexCache:
    """Keep indexes of labels in a folder.

    Args:
        folder: The folder; it is made if it does not exist. A folder that holds anything else is refused.

    Raises:
        MissingError: Its parent does not exist.
        WriteError: It is a file, holds other files, or cannot be written.

    Examples:
        >>> from patchaug.slides.index_cache import IndexCache
        >>> IndexCache("indexes").folder.name
        'indexes'
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(os.path.abspath(folder))
        self._warned = False
        self._prepare()

    def _prepare(self) -> None:
        """Make the folder, mark it, and verify that it can be written."""
        folder = self.folder
        try:
            if not folder.parent.is_dir():
                raise MissingError(f"index_cache={folder}: there is no folder {folder.parent}; make it first")
            if folder.exists() and not folder.is_dir():
                raise WriteError(f"index_cache={folder} is a file; name a folder for the indexes")
            folder.mkdir(exist_ok=True)
            with os.scandir(folder) as entries:
                names = {entry.name for entry in entries}
            if TAG not in names:
                others = sorted(name for name in names if not name.startswith("."))
                if others and not (folder / TAG).is_file():
                    raise WriteError(
                        f"index_cache={folder} holds other files, such as {others[0]}; name a new or an empty folder"
                    )
                write_text(folder / TAG, _TEXT, "tag", replace=lambda _: True)
        except OSError as error:
            if isinstance(error, (WriteError, MissingError)):
                raise
            raise write_error(folder, error) from None
        if not os.access(folder, os.W_OK | os.X_OK):
            raise WriteError(
                f"index_cache={folder} cannot be written: the folder is read-only; choose a folder that you can write "
                f"to, or leave index_cache out"
            )

    def __repr__(self) -> str:
        return f"IndexCache({str(self.folder)!r})"

    def path_of(self, key: str) -> Path:
        """Return the file of an index."""
        return self.folder / key[:2] / f"{key}{_SUFFIX}"  # 256 folders: a write lists its own

    def find(self, task: IndexTask, key: str) -> Labels | None:
        """Return the index of a task; None where it is not there, or damaged."""
        try:
            data = self.path_of(key).read_bytes()
        except OSError:
            return None
        return labels_of(data, task, key)

    def store(self, key: str, data: bytes) -> None:
        """Write an index; a disk that is full is a warning, since the cache is only an aid."""
        path = self.path_of(key)
        try:
            path.parent.mkdir(exist_ok=True)
            with atomic_write(path, "index", replace=lambda _: True, durable=False) as temporary:
                temporary.write_bytes(data)
        except OSError as error:  # also WriteError and MissingError
            if not self._warned:
                self._warned = True
                warnings.warn(f"an index of labels is not kept, and work goes on without: {error}", stacklevel=2)

    def fetch(self, task: IndexTask) -> Labels:
        """Return the index of a task from the folder, or build and keep it.

        While another process builds the same index, this one waits for it.

        Raises:
            PatchaugError: It cannot be built.
        """
        key = key_of(task)
        if key is None:
            return task()
        while True:
            found = self.find(task, key)
            if found is not None:
                return found
            with self.building(key) as mine:
                if not mine:
                    time.sleep(_POLL)
                    continue
                found = self.find(task, key)  # another process may have finished it in between
                if found is None:
                    found = task()
                    self.store(key, encode_index(key, found, task.facts()))
                return found

    @contextmanager
    def building(self, key: str) -> Iterator[bool]:
        """Lock an index while it is built; yields False where another process builds it."""
        path = self.path_of(key).with_suffix(".lock")
        try:
            path.parent.mkdir(exist_ok=True)
            lock = lock_file(path)
        except OSError:  # a disk that is full: two processes may build the same
            yield True
            return
        if lock is None:
            yield False
            return
        try:
            yield True
        finally:
            with suppress(OSError):
                path.unlink()  # while it is locked; who waits for it finds the index, or makes another lock
            unlock_file(lock)


def labels_of(data: bytes, task: IndexTask, key: str) -> Labels | None:
    """Return the index of a task from its bytes; None where they are damaged."""

    def reader_of(facts: Mapping[str, Any]) -> Read:
        task.accept(facts)
        return task.reader()

    return decode_index(data, key, reader_of)


_current: ContextVar[IndexCache | None] = ContextVar("index_cache", default=None)


@contextmanager
def keeping_indexes(cache: IndexCache | None) -> Iterator[None]:
    """Let slides look for their indexes in a cache within the context; None changes nothing."""
    if cache is None:
        yield
        return
    token = _current.set(cache)
    try:
        yield
    finally:
        _current.reset(token)


def current_cache() -> IndexCache | None:
    """Return the cache of the innermost `keeping_indexes`."""
    return _current.get()


def fetch_index(task: IndexTask) -> Labels:
    """Return the index of a task: from the current cache, or built."""
    cache = current_cache()
    return task() if cache is None else cache.fetch(task)
