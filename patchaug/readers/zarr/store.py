"""Stores of zarr hierarchies: the files of a folder, or one zip file.

Each object of a hierarchy (metadata, a chunk, a shard) has a key, a path with slashes. Nothing here knows of arrays.
"""

from __future__ import annotations

import os
import stat
import struct
import sys
import time
import zlib
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Protocol

from patchaug.errors import PatchaugError, ReadError
from patchaug.readers.file import Fingerprint, describe, fingerprint, open_file, open_source
from patchaug.readers.file_handles import ChangedError, Descriptor, get_or_open
from patchaug.readers.remote.listing import METADATA, is_hierarchy
from patchaug.readers.remote.source import RemoteSource
from patchaug.readers.urls import as_url

if TYPE_CHECKING:
    import zipfile

_REALTIME_COARSE = 5  # Linux dates files by this clock, which is up to 10 ms behind; Python has no name for it
_STORED, _DEFLATED = 0, 8  # as zipfile numbers them
ZIP = (b"PK\x03\x04", b"PK\x05\x06")


class StoredBytes(Protocol):
    """The bytes of one key.

    Attributes:
        size: How many they are.
    """

    size: int

    def read(self, offset: int, count: int) -> bytes:
        """Read `count` bytes from `offset` on, fewer at the end."""


class ChunkStore(Protocol):
    """The objects of a hierarchy, by key."""

    def find(self, key: str) -> StoredBytes | None:
        """Return the bytes of a key; None if the key does not exist.

        Raises:
            ReadError: It is not a regular file, or cannot be opened.
        """

    def names(self, key: str) -> list[str]:
        """List the names directly below a key, sorted; "" is the top."""

    def below(self, key: str) -> Iterator[str]:
        """Iterate over the keys of all objects below a key, without it."""

    def fingerprint(self, keys: tuple[str, ...]) -> Fingerprint:
        """Return a value that changes when one of those objects does.

        Raises:
            ReadError, MissingError: One of them is not there any more.
        """

    def require_unchanged(self, key: str) -> None:
        """Check that an object of `fingerprint` is still the same.

        Raises:
            ReadError, MissingError: It was changed, or does not exist any more.
        """

    def require_absent(self, key: str) -> None:
        """Check that a key that does not exist did not exist either when the store was opened.

        Raises:
            ReadError: It may have existed.
        """


def is_zarr(path: str | os.PathLike[str]) -> bool:
    """Return whether a folder, or what is below a URL, is a zarr array or group."""
    url = as_url(path)
    if url is not None:
        return is_hierarchy(url)
    return any(os.path.isfile(os.path.join(path, name)) for name in METADATA)


def wait_until_files_are_later(opened: int) -> None:
    """Wait until a file that is written now gets a later time than `opened`: at most a tick of the clock.

    Args:
        opened: A time of `time.time_ns`.
    """
    while sys.platform == "linux" and 0 <= opened - time.clock_gettime_ns(_REALTIME_COARSE) < 10**8:
        time.sleep(0.001)


def _require_older(path: str, opened: int, status: os.stat_result) -> None:
    if status.st_mtime_ns > opened:
        raise ChangedError(f"{path}: file changed since its folder was first opened; open the slide again")


class _File:
    """A file of a folder."""

    def __init__(self, path: str, size: int, opened: int) -> None:
        self._file, self.size = Descriptor(path, partial(_require_older, path, opened)), size

    def read(self, offset: int, count: int) -> bytes:
        return self._file.read(offset, count)


class FolderStore:
    """A hierarchy whose keys are paths of files; holds none of them open.

    Args:
        root: The folder.
        opened: Time of `time.time_ns` when the folder was first opened; what was written later is an error.
    """

    def __init__(self, root: str, opened: int) -> None:
        self.root, self.opened = root, opened
        self._fingerprints: dict[str, Fingerprint] = {}

    def _path(self, key: str) -> str:
        return os.path.join(self.root, *key.split("/")) if key else self.root

    def find(self, key: str) -> StoredBytes | None:
        """Find the bytes of a key, see `ChunkStore`."""
        path = self._path(key)
        try:
            status = os.stat(path)
            if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
                raise ReadError(f"{key} is not a regular file")
            return _File(path, status.st_size, self.opened)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError) as error:
            if isinstance(error, ReadError):
                raise
            raise ReadError(f"{key}: {describe(error)}") from None

    def names(self, key: str) -> list[str]:
        """List the names directly below a key."""
        try:
            return sorted(entry.name for entry in os.scandir(self._path(key)))
        except OSError:
            return []

    def below(self, key: str) -> Iterator[str]:
        """Iterate over the keys of all objects below a key."""
        top = self._path(key)
        for folder, _, names in os.walk(top):
            inside = os.path.relpath(folder, top).replace(os.sep, "/")
            yield from names if inside == "." else (f"{inside}/{name}" for name in names)

    def fingerprint(self, keys: tuple[str, ...]) -> Fingerprint:
        """Return total size, latest change and inodes of those files."""
        parts = {key: fingerprint(self._path(key)) for key in keys}
        self._fingerprints = self._fingerprints or parts
        sizes, times, inodes = zip(*parts.values(), strict=True)
        return sum(sizes), max(times), sum(inodes)

    def require_unchanged(self, key: str) -> None:
        """Check that an object of `fingerprint` is still the same, see `ChunkStore`."""
        path = self._path(key)
        now = fingerprint(path)
        if now != self._fingerprints.get(key, now):
            raise ChangedError(f"{path}: file changed since it was first opened; open the slide again")

    def require_absent(self, key: str) -> None:
        """Check that no object of a key was removed: removing a file changes the time of its folder."""
        path = self._path(key)
        while len(path) > len(self.root):
            path = os.path.dirname(path)
            try:
                status = os.stat(path)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                raise ChangedError(f"{path}: cannot be read any more ({describe(error)})") from None
            if status.st_mtime_ns > self.opened:
                raise ChangedError(
                    f"{path}: folder changed since it was first opened, and {key} is not in it; open the slide again"
                )
            return
        raise ChangedError(f"{self.root}: folder does not exist any more; is its disk still mounted?")


class _Entry:
    """A file inside a zip file, packed or not."""

    def __init__(self, archive: ZipStore, info: zipfile.ZipInfo) -> None:
        self._archive, self._info, self.size = archive, info, info.file_size

    def read(self, offset: int, count: int) -> bytes:
        info = self._info
        if info.flag_bits & 1 or info.compress_type not in (_STORED, _DEFLATED):
            raise ReadError(f"{info.filename} is encrypted, or packed by method {info.compress_type}")
        file = self._archive.file()
        head = file.read(info.header_offset, 30)
        if len(head) < 30 or head[:4] != ZIP[0]:
            raise ReadError(f"{info.filename}: there is no such entry in the zip file; copy it again")
        start = info.header_offset + 30 + sum(struct.unpack("<HH", head[26:]))
        whole = offset == 0 and count >= info.file_size
        if info.compress_type == _STORED and not whole:
            return file.read(start + offset, min(count, max(info.file_size - offset, 0)))
        if start + info.compress_size > self._archive.size:  # before the bytes are allocated
            raise ReadError(f"{info.filename} is cut off; copy the zip file again")
        data = file.read(start, info.compress_size)
        if info.compress_type == _DEFLATED:
            data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, info.file_size + 1)
        if len(data) != info.file_size or zlib.crc32(data) != info.CRC:
            raise ReadError(f"{info.filename} has a wrong length or CRC-32; copy the zip file again")
        return data[offset : offset + count]


class ZipStore:
    """A hierarchy in a zip file, whose directory is read once.

    Args:
        path: The file.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._fingerprint = fingerprint(path)
        self.size = self._fingerprint[0]
        import zipfile

        try:
            with open_file(path, whole=False) as file, zipfile.ZipFile(file) as archive:
                infos = [info for info in archive.infolist() if not info.is_dir()]
        except PatchaugError:
            raise
        except Exception as error:  # a broken directory raises whatever the parser met first
            raise ReadError(f"{path}: broken zip file ({describe(error)}); copy it again") from None
        self._entries = {info.filename: info for info in infos}

    def file(self) -> Descriptor | RemoteSource:
        """Return this process's handle."""
        expected = self._fingerprint
        return get_or_open(("zip", self.path, expected), lambda: open_source(self.path, expected, lambda: expected))

    def find(self, key: str) -> StoredBytes | None:
        """Find the bytes of a key, see `ChunkStore`."""
        info = self._entries.get(key)
        return None if info is None else _Entry(self, info)

    def names(self, key: str) -> list[str]:
        """List the names directly below a key."""
        return sorted({name.split("/")[0] for name in self.below(key)})

    def below(self, key: str) -> Iterator[str]:
        """Iterate over the keys of all objects below a key."""
        start = f"{key}/" if key else ""
        return (name[len(start) :] for name in self._entries if name.startswith(start))

    def fingerprint(self, keys: tuple[str, ...]) -> Fingerprint:
        """Return the fingerprint of the zip file."""
        return fingerprint(self.path)

    def require_unchanged(self, key: str) -> None:
        """Do nothing: the directory was read when the file was opened, and its handle checks each read."""

    def require_absent(self, key: str) -> None:
        """Do nothing: see `require_unchanged`."""
