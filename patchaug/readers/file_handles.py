"""Pool of this process's open files; the least recently used is closed first, and a forked child starts empty."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

T = TypeVar("T")

CAPACITY = 64  # far below the 256 open files that macOS allows a process


class _Pool:
    """Handles by key, and their lock."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.items: OrderedDict[Hashable, Any] = OrderedDict()


_pool = _Pool()
_inherited: list[_Pool] = []


def get_or_open(key: Hashable, opener: Callable[[], T]) -> T:
    """Return this process's handle for `key`; open it if there is none yet.

    Hold the result only while reading. A full pool only drops its reference: a thread that still reads from the
    handle keeps it open, and its last reference closes it.

    Args:
        key: Identity of the file's content; a changed file must have another key.
        opener: Opens a handle that closes itself when it is collected. Its errors pass through.
    """
    pool = _pool
    with pool.lock:
        if key in pool.items:
            pool.items.move_to_end(key)
            handle: T = pool.items[key]
            return handle
    opened = opener()  # outside the lock: one slow file does not hold up the readers of others
    dropped = []  # let go after the lock is released, because closing may take long
    with pool.lock:
        shared: T = pool.items.setdefault(key, opened)  # another thread may have been faster
        pool.items.move_to_end(key)
        while len(pool.items) > CAPACITY:
            dropped.append(pool.items.popitem(last=False))
    return shared


def discard(key: Hashable) -> None:
    """Drop the handle for `key`, if there is one; the next read opens the file again."""
    pool = _pool
    with pool.lock:
        dropped = pool.items.pop(key, None)
    del dropped


def _start_empty() -> None:
    """Give a forked child a pool and a lock of its own.

    The parent's handles stay referenced and are never used or closed here: a thread that does not exist in the child
    may hold the locks inside them, and closing would then wait for ever.
    """
    global _pool
    _inherited.append(_pool)
    _pool = _Pool()


if hasattr(os, "register_at_fork"):  # not on Windows, where nothing forks
    os.register_at_fork(after_in_child=_start_empty)


class Descriptor:
    """File open for reading at explicit offsets, so that threads and forks cannot disturb each other."""

    __slots__ = ("_lock", "fd")

    def __init__(self, path: str) -> None:
        self.fd = -1  # for __del__, should opening fail
        self._lock = threading.Lock()
        self.fd = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0))

    def __del__(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)

    def read(self, offset: int, count: int) -> bytes:
        """Read `count` bytes at `offset`, fewer at the end of the file."""
        data = self._some(offset, count)
        while len(data) < count:  # a network file system may return less at a time
            more = self._some(offset + len(data), count - len(data))
            if not more:
                break
            data += more
        return data

    def _some(self, offset: int, count: int) -> bytes:
        if hasattr(os, "pread"):
            return os.pread(self.fd, count, offset)
        with self._lock:  # Windows has no pread; nothing forks there, so a lock is enough
            os.lseek(self.fd, offset, os.SEEK_SET)
            return os.read(self.fd, count)
