"""Locks of files that end with this process, and that forked processes do not hold beyond its end."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from patchaug.errors import WriteError

try:
    import fcntl
except ImportError:  # Windows has no such locks
    fcntl = None  # type: ignore[assignment]

_open_locks: set[int] = set()


def lock_file(path: str | os.PathLike[str], *, shared: bool = False, required: bool = False) -> int | None:
    """Open and lock a file, and make it where it does not exist; None if another process holds it.

    On systems and network disks without such locks the file is only opened.

    Args:
        path: The file.
        shared: Let others share the lock, but none hold it alone.
        required: Raise an error where there are no locks.

    Raises:
        WriteError: The file cannot be opened, or there are no locks.

    Examples:
        >>> from patchaug.core.file_lock import lock_file, unlock_file
        >>> lock = lock_file("mark")
        >>> lock_file("mark") is None
        True
        >>> unlock_file(lock)
    """
    try:
        opened = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        folder = Path(path).parent
        raise WriteError(
            f"{folder} cannot be written: {error.strerror}; choose a folder that you can write to"
        ) from None
    if fcntl is not None:
        try:
            fcntl.flock(opened, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(opened)
            return None
        except OSError as error:  # some network disks have no locks
            if required:
                os.close(opened)
                raise _no_locks(path, error.strerror) from None
    elif required:
        os.close(opened)
        raise _no_locks(path, "Windows has none of this kind")
    _open_locks.add(opened)
    return opened


def _no_locks(path: str | os.PathLike[str], why: str | None) -> WriteError:
    return WriteError(
        f"{Path(path).parent} is on a disk without locks of files ({why}), and several processes cannot write to it "
        f"together; give each a folder and slides of its own"
    )


@contextmanager
def locked_file(path: str | os.PathLike[str]) -> Iterator[None]:
    """Hold the lock of a file within the context, and wait for it before; for moments only.

    Examples:
        >>> from patchaug.core.file_lock import lock_file, locked_file
        >>> with locked_file("mark"):
        ...     lock_file("mark") is None
        True
    """
    while (lock := lock_file(path)) is None:
        time.sleep(0.02)
    try:
        yield
    finally:
        unlock_file(lock)


def unlock_file(lock: int) -> None:
    """Release a lock."""
    _open_locks.discard(lock)
    with suppress(OSError):
        os.close(lock)


def _close_in_child() -> None:
    """Close the locks in a forked process, which would hold them beyond the end of the parent."""
    for lock in _open_locks:
        with suppress(OSError):
            os.close(lock)
    _open_locks.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_in_child)
