"""Anonymous memory and locks that processes share; both vanish with the last process that has them open."""

from __future__ import annotations

import errno
import mmap
import os
import tempfile
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from multiprocessing import reduction
from multiprocessing.context import get_spawning_popen
from typing import Any

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

HAS_FILE_LOCKS = fcntl is not None
# Maps that are never closed: Python closes a copy of the descriptor with them, which may belong to another file.
_abandoned: list[mmap.mmap] = []
_MEMFD = hasattr(os, "memfd_create")


def is_starting_process() -> bool:
    """Return True while the current pickle is for a process that is being started by spawn or forkserver.

    Only such a pickle may contain handles of anonymous memory. Every other pickle contains values.
    """
    return get_spawning_popen() is not None


class LostDescriptorError(OSError):
    """Raised when another part of the program has closed a descriptor of shared memory."""


def can_name_memory() -> bool:
    """Return whether anonymous memory has a name, by which other processes find it in `/proc` (Linux)."""
    return _MEMFD and HAS_FILE_LOCKS and os.path.isdir("/proc/self/fd")


def identity(fd: int) -> tuple[int, int] | None:
    """Return device and inode of an open file; None for a closed descriptor."""
    try:
        status = os.fstat(fd)
    except OSError:
        return None
    return status.st_dev, status.st_ino


class OwnedDescriptor:
    """A file descriptor that knows its file.

    A program may close descriptors that it did not open (`os.closerange` in a daemon), and their numbers then belong to
    other files: to write, lock or close would harm those. So each use verifies the identity first.

    Args:
        fd: The descriptor, which this object will close.
    """

    def __init__(self, fd: int) -> None:
        self.fd, self._identity = fd, identity(fd)

    @property
    def intact(self) -> bool:
        """Return whether the descriptor still belongs to its file."""
        return self._identity is not None and identity(self.fd) == self._identity

    def verified(self) -> int:
        """Return the descriptor.

        Raises:
            LostDescriptorError: It belongs to no file, or to another.
        """
        if not self.intact:
            raise LostDescriptorError(f"descriptor {self.fd} of shared memory was closed elsewhere in the program")
        return self.fd

    def give_up(self) -> None:
        """Never use or close a lost descriptor again, also where its number becomes one of the same file."""
        if not self.intact:
            self._identity = None

    def close(self) -> None:
        """Close the descriptor, unless it belongs to another file now."""
        if self.intact:
            os.close(self.fd)


class MemoryFile:
    """An anonymous file in memory; pickles as a handle while a process is being started, and closes itself.

    New pages are zero, and take no memory until they are written.

    Args:
        size: Bytes, at least 1.
        fd: File descriptor of an existing memory file, which this object will close.
        name: Name of a new file in `/proc`, where the system has such names.

    Raises:
        OSError: The system has no room for the file, or has no anonymous files.
    """

    def __init__(self, size: int, fd: int | None = None, *, name: str = "patchaug") -> None:
        self.size = size
        self.descriptor = OwnedDescriptor(_new_memory(size, name) if fd is None else fd)
        weakref.finalize(self, _close, self.descriptor, self.__dict__).atexit = False

    @property
    def fd(self) -> int:
        """The file descriptor.

        Raises:
            LostDescriptorError: Another part of the program has closed it.
        """
        return self.descriptor.verified()

    @cached_property
    def map(self) -> mmap.mmap:
        """The whole file, mapped at first use; the map stays valid after the file descriptor is closed."""
        return mmap.mmap(self.fd, self.size)

    def write(self, at: int, data: memoryview) -> None:
        """Write bytes at an offset; into new pages this costs half of what writing into the map costs."""
        while data and _MEMFD and self.descriptor.intact:
            done = os.pwrite(self.descriptor.fd, data, at)
            data, at = data[done:], at + done
        if data:
            self.map[at : at + len(data)] = data

    def __reduce__(self) -> tuple[Any, ...]:
        return _open_memory, (self.size, reduction.DupFd(self.fd))


def _close(descriptor: OwnedDescriptor, attributes: dict[str, Any]) -> None:
    if not descriptor.intact and "map" in attributes:
        _abandoned.append(attributes["map"])
    descriptor.close()


def _new_memory(size: int, name: str) -> int:
    if _MEMFD:
        fd = os.memfd_create(name)
    else:  # macOS
        import _posixshmem

        path = f"/patchaug{os.getpid()}"
        fd = _posixshmem.shm_open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode=0o600)
        _posixshmem.shm_unlink(path)
    os.ftruncate(fd, size)
    return fd


def _open_memory(size: int, handle: Any) -> MemoryFile:
    return MemoryFile(size, handle.detach())


class ByteLocks:
    """Locks between processes, one for each byte of an anonymous file; the kernel releases those of a dead process.

    The bytes need not exist. Threads of one process do not exclude each other, and a forked child starts without locks.
    The file stays open: closing any copy of its descriptor would release all locks that the process holds.

    Args:
        fd: File descriptor of an existing lock file.
        name: Name of a new one in `/proc`, where the system has such names.
    """

    def __init__(self, fd: int | None = None, *, name: str = "patchaug locks") -> None:
        self.descriptor = OwnedDescriptor(_new_lock_file(name) if fd is None else fd)

    @property
    def fd(self) -> int:
        """The file descriptor.

        Raises:
            LostDescriptorError: Another part of the program has closed it, which has released all locks.
        """
        return self.descriptor.verified()

    def __reduce__(self) -> tuple[Any, ...]:
        return _open_locks, (reduction.DupFd(self.fd),)

    @contextmanager
    def exclusive(self, byte: int) -> Iterator[None]:
        """Wait for a byte, and lock it so that no other process can hold or share it."""
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
        """Lock a byte so that others can share it."""
        fcntl.lockf(self.fd, fcntl.LOCK_SH, 1, byte)

    def release(self, byte: int) -> None:
        """Release a byte; closing the descriptor has released it already."""
        with suppress(LostDescriptorError):
            fcntl.lockf(self.fd, fcntl.LOCK_UN, 1, byte)

    def held_by_others(self, byte: int) -> bool:
        """Return True if another process holds or shares a byte that this process does not."""
        fd = self.fd
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
        except OSError:
            return True
        self.release(byte)
        return False


def _new_lock_file(name: str) -> int:
    if _MEMFD:
        return os.memfd_create(name)
    fd, path = tempfile.mkstemp()  # macOS supports no locks on memory
    os.unlink(path)
    return fd


def _open_locks(handle: Any) -> ByteLocks:
    return ByteLocks(handle.detach())
