"""Base class of rasters that read a file: path, name, fingerprint, and a small pickle."""

from __future__ import annotations

import os
import stat
from typing import Any, ClassVar

from patchaug.errors import MissingError, ReadError

Fingerprint = tuple[int, int, int]  # bytes, nanoseconds of the last change, inode


class UnsupportedError(ReadError):
    """Raised when a reader does not support the file; the next reader is tried.

    Example:
        >>> from patchaug.readers import UnsupportedError
        >>> raise UnsupportedError("a.raw: compressed files are not supported")
        Traceback (most recent call last):
        patchaug.readers.file.UnsupportedError: a.raw: compressed files are not supported
    """


def describe(error: BaseException) -> str:
    """Return an exception of another library as one line of text."""
    return " ".join(f"{type(error).__name__}: {error}".split())


def fingerprint(path: str) -> Fingerprint:
    """Return size, time of change and inode of a regular file that is not empty.

    Raises:
        MissingError: The file does not exist.
        ReadError: It is a directory or special file, is empty, or access is denied.
    """
    try:
        status = os.stat(path)
    except FileNotFoundError:
        raise MissingError(f"{path}: there is no such file") from None
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        raise ReadError(f"{path!r} cannot be opened: {describe(error)}") from None
    if not stat.S_ISREG(status.st_mode):
        kind = "a directory without zarr metadata" if stat.S_ISDIR(status.st_mode) else "no regular file"
        raise ReadError(f"{path} is {kind}; an image must be a file, or a zarr folder")
    if status.st_size == 0:
        raise ReadError(f"{path} is empty (0 bytes); copy it again")
    return status.st_size, status.st_mtime_ns, status.st_ino


class FileRaster:
    """Base class of rasters that read a file.

    Args:
        path: The file; it is not opened before the first use.
        name: Name in errors about windows; by default the file's name.

    The file's fingerprint is taken at the first use and is part of the pickle. A process that later finds another
    file at the path raises ReadError.
    """

    _lazy: ClassVar[tuple[str, ...]] = ()  # attributes that each process derives itself

    def __init__(self, path: str | os.PathLike[str], *, name: str | None = None) -> None:
        self.path = os.path.abspath(os.fsdecode(path))
        self.name = os.path.basename(self.path) if name is None else name
        self._fingerprint: Fingerprint | None = None

    def expect(self, fingerprint: Fingerprint | None) -> None:
        """Read only the file that has this fingerprint; None accepts the file of the first use."""
        self._fingerprint = fingerprint

    def __getstate__(self) -> dict[str, Any]:
        return {key: None if key in self._lazy else value for key, value in self.__dict__.items()}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.path!r})"

    def _current_fingerprint(self) -> Fingerprint:
        """Return the fingerprint of the file now."""
        return fingerprint(self.path)

    def require_unchanged(self) -> Fingerprint:
        """Check that the path still holds the file of the first use, and return its fingerprint.

        Raises:
            ReadError: The file was replaced or changed, or cannot be opened.
        """
        now = self._current_fingerprint()
        if self._fingerprint is None:
            self._fingerprint = now
        elif now != self._fingerprint:
            raise ReadError(
                f"{self.path}: file changed since it was first opened (size, time, inode were {self._fingerprint}, "
                f"are {now}); open the slide again"
            )
        return now
