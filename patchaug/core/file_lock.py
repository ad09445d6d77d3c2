"""Locks of files that end with this process, and that forked processes do not hold beyond its end."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from patchaug.errors import WriteError

try:
    import fcntl
except ImportError:  # Windows has no such locks
    fcntl = None  # type: ignore[assignment]

_open_locks: set[int] = set()


def lock_file(path: str | os.PathLike[str]) -> int | None:
    """Open and lock a file, and make it where it does not exist; None if another process holds it.

    On systems and network disks without such locks the file is only opened.

    Raises:
        WriteError: The file cannot be opened.

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
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(opened)
            return None
        except OSError:
            pass  # some network disks have no locks
    _open_locks.add(opened)
    return opened


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
