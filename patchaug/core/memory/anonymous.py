"""Memory and locks that processes share, and that have no names: both are gone with the last process that has them."""

from __future__ import annotations

import errno
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

SHARES = fcntl is not None
_MEMFD = hasattr(os, "memfd_create")


def memory_file(size: int) -> int:
    """A file in memory, open, of zeros that take no memory until they are written over."""
    if _MEMFD:
        fd = os.memfd_create("patchaug")
    else:  # macOS
        import _posixshmem

        name = f"/patchaug{os.getpid()}"
        fd = _posixshmem.shm_open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode=0o600)
        _posixshmem.shm_unlink(name)
    os.ftruncate(fd, size)
    return fd


def write_new(fd: int, at: int, data: memoryview) -> bool:
    """Write into memory that is new, at half the cost of touching its pages; False where the system cannot."""
    while data and _MEMFD:
        done = os.pwrite(fd, data, at)
        data, at = data[done:], at + done
    return _MEMFD


def lock_file() -> int:
    """An empty file, open, whose bytes are locked; they need not exist.

    A file of its own: closing any copy of its number would end all locks that the process holds on it.
    """
    if _MEMFD:
        return os.memfd_create("patchaug locks")
    fd, path = tempfile.mkstemp()  # macOS takes no locks on memory
    os.unlink(path)
    return fd


class ByteLocks:
    """Locks between processes, one for each byte of a file; the kernel takes them from a process that dies.

    Threads of one process do not exclude each other, and a forked child starts without any.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd

    @contextmanager
    def alone(self, byte: int) -> Iterator[None]:
        """Hold a byte that no other process holds or shares; waits for it."""
        while True:
            try:
                fcntl.lockf(self.fd, fcntl.LOCK_EX, 1, byte)
                break
            except OSError as error:
                # The kernel counts locks by process, and sees a circle where two threads wait for two others.
                if error.errno != errno.EDEADLK:
                    raise
                time.sleep(0.001)
        try:
            yield
        finally:
            self.release(byte)

    def share(self, byte: int) -> None:
        """Hold a byte that others may share."""
        fcntl.lockf(self.fd, fcntl.LOCK_SH, 1, byte)

    def release(self, byte: int) -> None:
        """Let go of a byte."""
        fcntl.lockf(self.fd, fcntl.LOCK_UN, 1, byte)

    def elsewhere(self, byte: int) -> bool:
        """Whether another process holds or shares a byte that this one does not."""
        try:
            fcntl.lockf(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
        except OSError:
            return True
        self.release(byte)
        return False
