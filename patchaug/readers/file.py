"""What all rasters of a file share: path, name, fingerprint, and a pickle that holds nothing else."""

from __future__ import annotations

import os
import stat
from typing import Any, ClassVar

from patchaug.errors import MissingError, ReadError

Fingerprint = tuple[int, int, int]  # bytes, nanoseconds of the last change, inode


class UnsupportedError(ReadError):
    """A file that this source does not read, but another one may."""


def describe(error: BaseException) -> str:
    """An exception of another library as one line of text."""
    return " ".join(f"{type(error).__name__}: {error}".split())


def fingerprint(path: str) -> Fingerprint:
    """Size, time of change and inode of a regular file that is not empty.

    Raises:
        MissingError: There is no such file.
        ReadError: It is no regular file, is empty, or may not be looked at.
    """
    try:
        found = os.stat(path)
    except FileNotFoundError:
        raise MissingError(f"{path}: there is no such file") from None
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        raise ReadError(f"{path!r} cannot be opened: {describe(error)}") from None
    if not stat.S_ISREG(found.st_mode):
        kind = "a directory without zarr metadata" if stat.S_ISDIR(found.st_mode) else "no regular file"
        raise ReadError(f"{path} is {kind}; an image must be a file, or a zarr folder")
    if found.st_size == 0:
        raise ReadError(f"{path} is empty (0 bytes); copy it again")
    return found.st_size, found.st_mtime_ns, found.st_ino


class FileRaster:
    """Base of the rasters that read a file.

    Args:
        path: The file. It is not touched before the first use.
        name: What window errors call it; the file's name by default.

    The file's fingerprint is taken at the first use and travels in the pickle: a process that later finds another
    file at the path says so, and reads nothing from it.
    """

    _lazy: ClassVar[tuple[str, ...]] = ()  # attributes that each process works out for itself

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
        """What the path holds now."""
        return fingerprint(self.path)

    def require_unchanged(self) -> Fingerprint:
        """Check that the path still holds the file of the first use, and return its fingerprint.

        Raises:
            ReadError: The file is another one by now, or cannot be opened.
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
