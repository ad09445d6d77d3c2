"""Pool of this process's open files; the least recently used is closed first, and a forked child starts empty."""

from __future__ import annotations

import errno
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from patchaug.core.memory.anonymous import identity
from patchaug.errors import ReadError

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

T = TypeVar("T")

CAPACITY = 64  # far below the 256 open files that macOS allows a process
_SHARE = 4  # of a lower limit on open files, the part that the pool takes


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
    opened = open_with_room(key, opener)  # outside the lock: one slow file does not hold up the readers of others
    dropped = []  # let go after the lock is released, because closing may take long
    with pool.lock:
        shared: T = pool.items.setdefault(key, opened)  # another thread may have been faster
        pool.items.move_to_end(key)
        while len(pool.items) > _capacity():
            dropped.append(pool.items.popitem(last=False))
    return shared


def _capacity() -> int:
    return min(CAPACITY, max(_limit() // _SHARE, 1))


def _limit() -> int:
    """Return how many files this process may have open."""
    if resource is None:
        return 8192
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return 1 << 20 if soft == resource.RLIM_INFINITY else soft


def is_out_of_files(error: BaseException | None) -> bool:
    """Return whether an exception, or the one that it followed from, says that no more files can be opened."""
    text = os.strerror(errno.EMFILE)
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
            return True
        if text in str(error):  # of a library that keeps the words alone
            return True
        error = error.__cause__ or error.__context__
    return False


def open_with_room(name: object, opener: Callable[[], T]) -> T:
    """Open a file; where no more files can be open, close those of the pool and try once more.

    Args:
        name: What is opened, for the error: a path, or a key whose second word is one.
        opener: Opens the file. Its other errors pass through.

    Raises:
        ChangedError: No more files can be open, even with an empty pool.
    """
    try:
        return opener()
    except Exception as error:
        if isinstance(error, OutOfFilesError) or not is_out_of_files(error):
            raise
    _empty()
    try:
        return opener()
    except Exception as error:
        if isinstance(error, OutOfFilesError) or not is_out_of_files(error):
            raise
        path = name[1] if isinstance(name, tuple) else name
        raise OutOfFilesError(
            f"{path}: cannot be opened, because this process may have {_limit()} files open and has as many; raise the "
            f"limit (ulimit -n 4096), or close files of the program"
        ) from error


def _empty() -> None:
    """Drop all handles; those that no thread reads from close."""
    pool = _pool
    with pool.lock:
        dropped, pool.items = pool.items, OrderedDict()
    del dropped


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


class ChangedError(ReadError):
    """Raised when a file is no longer the file of the first use, or the system cannot read it now.

    The file itself may be sound, so errors about tiles pass the text on without advice to copy the file again.
    """


class OutOfFilesError(ChangedError):
    """Raised when no more files can be open in this process."""


class Descriptor:
    """File open for reading at explicit offsets, so that threads and forks cannot disturb each other.

    A program may close descriptors that it did not open (`os.closerange` in a daemon), and their numbers then belong to
    other files. So each read verifies that the descriptor is still that of the file, and else opens the file again.

    Args:
        path: The file.
        check: Called with the file's status after each read; raises an error if the file has changed.
    """

    __slots__ = ("__weakref__", "_check", "_identity", "_lock", "_path", "fd")

    def __init__(self, path: str, check: Callable[[os.stat_result], None] | None = None) -> None:
        self.fd = -1  # for __del__, should opening fail
        self._lock = threading.Lock()
        self._path, self._check = path, check
        self.fd = self._open()
        self._identity = identity(self.fd)

    def __del__(self) -> None:
        if self.fd >= 0 and identity(self.fd) == self._identity:
            os.close(self.fd)

    def _open(self) -> int:
        flags = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
        return open_with_room(self._path, lambda: os.open(self._path, flags))

    def read(self, offset: int, count: int) -> bytes:
        """Read `count` bytes at `offset`, fewer at the end of the file.

        Raises:
            ReadError: The offset is negative, the file has changed, or the system cannot read it.
        """
        if min(offset, count) < 0:
            raise ReadError(f"{self._path}: bytes {offset} to {offset + count} do not exist; copy the file again")
        try:
            data, status = self._read(offset, count)
            if status is None:
                self._open_again()
                data, status = self._read(offset, count)
        except OSError as error:
            if isinstance(error, ReadError):
                raise
            raise ChangedError(f"{self._path}: the system cannot read it ({error.strerror or error})") from error
        if status is None:
            raise ChangedError(f"{self._path}: its descriptor is closed again and again by another part of the program")
        if self._check is not None:
            self._check(status)  # after the read: before new bytes are visible, the file has a new time
        return data

    def _read(self, offset: int, count: int) -> tuple[bytes, os.stat_result | None]:
        """Return bytes and the file's status; None in its place if the descriptor belongs to another file."""
        fd = self.fd
        try:
            data = self._some(fd, offset, count)
            while len(data) < count:  # a network file system may return less at a time
                more = self._some(fd, offset + len(data), count - len(data))
                if not more:
                    break
                data += more
            status = os.fstat(fd)
        except OSError:
            if identity(fd) == self._identity:
                raise
            return b"", None
        return data, status if (status.st_dev, status.st_ino) == self._identity else None

    def _open_again(self) -> None:
        with self._lock:
            if identity(self.fd) == self._identity:  # another thread was faster
                return
            fd = self._open()
            if identity(fd) != self._identity:
                os.close(fd)
                raise ChangedError(f"{self._path}: file was replaced since it was first opened; open the slide again")
            self.fd = fd

    def _some(self, fd: int, offset: int, count: int) -> bytes:
        if hasattr(os, "pread"):
            return os.pread(fd, count, offset)
        with self._lock:  # Windows has no pread; nothing forks there, so a lock is enough
            os.lseek(fd, offset, os.SEEK_SET)
            return os.read(fd, count)
