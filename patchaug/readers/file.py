"""Base class of rasters that read a file: path, name, fingerprint, and a small pickle."""

from __future__ import annotations

import io
import os
import stat
import weakref
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, BinaryIO, ClassVar

from patchaug.errors import MissingError, ReadError
from patchaug.readers.file_handles import ChangedError, Descriptor
from patchaug.readers.remote.file import RemoteFile, fetch_whole
from patchaug.readers.remote.source import ObjectState, Range, RemoteSource, forget, state_of
from patchaug.readers.urls import absolute_path, as_url, is_url

Fingerprint = tuple[int, int, int | str]  # bytes, nanoseconds of the last change, inode; of a URL its ETag


class UnsupportedError(ReadError):
    """Raised when a reader does not support the file; the next reader is tried.

    Examples:
        >>> from patchaug.readers import UnsupportedError
        >>> raise UnsupportedError("a.raw: compressed files are not supported")
        Traceback (most recent call last):
        patchaug.readers.file.UnsupportedError: a.raw: compressed files are not supported
    """


def describe(error: BaseException) -> str:
    """Return an exception of another library as one line of text."""
    return " ".join(f"{type(error).__name__}: {error}".split())


def fingerprint(path: str) -> Fingerprint:
    """Return size, time of change and inode of a regular file that is not empty; of a URL its ETag for the inode.

    Raises:
        MissingError: The file does not exist.
        ReadError: It is a directory or special file, is empty, or access is denied.
    """
    if is_url(path):
        state = state_of(path)
        return state.size, state.modified, state.tag
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
    return fingerprint_of(status)


def fingerprint_of(status: os.stat_result) -> Fingerprint:
    """Return the fingerprint of a file from its status."""
    return status.st_size, status.st_mtime_ns, status.st_ino


def require_same(path: str, expected: Fingerprint, status: os.stat_result) -> None:
    """Raise ReadError if a file's status differs from its fingerprint at the first use."""
    require_equal(path, expected, fingerprint_of(status))


def require_equal(path: str, expected: Fingerprint, now: Fingerprint) -> None:
    """Raise ReadError if a fingerprint differs from that of the first use."""
    if now != expected:
        if is_url(path):
            forget(path)
        parts = f"size, time, {'ETag' if is_url(path) else 'inode'}"
        raise ChangedError(
            f"{path}: file changed since it was first opened ({parts} were {expected}, are {now}); open the slide again"
        )


def open_file(path: str, *, whole: bool = True) -> BinaryIO:
    """Open a file or object to read; close it after use.

    Args:
        path: The file, or a URL.
        whole: Whether most of it will be read: an object is then fetched at once, into memory.

    Raises:
        OSError: The file cannot be opened.
        ReadError: The object cannot be read, or is too large to be fetched whole.
    """
    url = as_url(path)
    if url is None:
        return open(path, "rb")
    if whole:
        return io.BytesIO(fetch_whole(url))
    return io.BufferedReader(RemoteFile(url), 1 << 16)


def open_source(path: str, expected: Fingerprint, check: Callable[[], Fingerprint]) -> Descriptor | RemoteSource:
    """Open a file or object for reads at offsets.

    Args:
        path: The file, or a URL.
        expected: Its fingerprint at the first use; each read verifies it.
        check: Called before the file is opened.
    """
    if is_url(path):
        size, modified, tag = expected
        return RemoteSource(path, ObjectState(size, modified, str(tag)))
    return Descriptor(path, partial(require_same, path, check()))


class FileRaster:
    """Base class of rasters that read a file.

    Args:
        path: The file, or a URL; it is not opened before the first use.
        name: Name in errors about windows; by default the file's name.

    The file's fingerprint is taken at the first use and is part of the pickle. A process that later finds another
    file at the path raises ReadError.
    """

    _lazy: ClassVar[tuple[str, ...]] = ("_handle",)  # attributes that each process derives itself

    def __init__(self, path: str | os.PathLike[str], *, name: str | None = None) -> None:
        self.path = absolute_path(path)
        self.name = os.path.basename(self.path) if name is None else name
        self.remote = is_url(self.path)
        self._fingerprint: Fingerprint | None = None
        self._handle: weakref.ref[Descriptor] | None = None  # the file, where this process has it open

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

    def stored_ranges(self, level: int, numbers: Iterable[int]) -> list[Range]:
        """Return where tiles of an object are stored; by default nowhere, and each is fetched by itself.

        Args:
            level: The level.
            numbers: Row-major numbers of tiles within the level.
        """
        return []

    def require_unchanged(self) -> Fingerprint:
        """Check that the path still holds the file of the first use, and return its fingerprint.

        Raises:
            ReadError: The file was replaced or changed, or cannot be opened.
        """
        now = self._current_fingerprint()
        if self._fingerprint is None:
            self._fingerprint = now
        require_equal(self.path, self._fingerprint, now)
        return now

    def require_not_rewritten(self) -> None:
        """Check that the file of the first use has not been rewritten in place; costs one call of the system.

        A file that was removed or replaced passes: cached pixels are still those of the file of the first use, and
        opening another file raises an error.

        Raises:
            ReadError: The file was rewritten.
        """
        if self._fingerprint is None or self.remote:  # each range of an object is checked
            return
        handle = None if self._handle is None else self._handle()
        try:
            status = os.stat(self.path) if handle is None else os.fstat(handle.fd)
        except OSError:
            return
        size, time, inode = self._fingerprint
        if status.st_ino == inode and (status.st_mtime_ns != time or status.st_size != size):
            require_same(self.path, self._fingerprint, status)
