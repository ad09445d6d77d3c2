"""Stores of zarr hierarchies: the files of a folder, or one zip file.

Each object of a hierarchy (metadata, a chunk, a shard) has a key, a path with slashes. Nothing here knows of arrays.
"""

from __future__ import annotations

import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import Protocol

from patchaug.errors import ReadError
from patchaug.readers.file import Fingerprint, describe, fingerprint
from patchaug.readers.file_handles import Descriptor, get_or_open

METADATA = ("zarr.json", ".zarray", ".zgroup")  # one of them makes a folder a zarr array or group
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
            ReadError: It is no regular file, or cannot be opened.
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


def is_zarr(path: str | os.PathLike[str]) -> bool:
    """Return whether a folder is a zarr array or group."""
    return any(os.path.isfile(os.path.join(path, name)) for name in METADATA)


class _File:
    """A file of a folder."""

    def __init__(self, path: str, size: int) -> None:
        self._file, self.size = Descriptor(path), size

    def read(self, offset: int, count: int) -> bytes:
        return self._file.read(offset, count)


class FolderStore:
    """A hierarchy whose keys are paths of files; holds none of them open.

    Args:
        root: The folder.
    """

    def __init__(self, root: str) -> None:
        self.root = root

    def _path(self, key: str) -> str:
        return os.path.join(self.root, *key.split("/")) if key else self.root

    def find(self, key: str) -> StoredBytes | None:
        """Find the bytes of a key, see `ChunkStore`."""
        path = self._path(key)
        try:
            status = os.stat(path)
            if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
                raise ReadError(f"{key} is no regular file")
            return _File(path, status.st_size)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError) as error:
            raise error if isinstance(error, ReadError) else ReadError(f"{key}: {describe(error)}") from None

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
        parts = [fingerprint(self._path(key)) for key in keys]
        sizes, times, inodes = zip(*parts, strict=True)
        return sum(sizes), max(times), sum(inodes)


class _Entry:
    """A file inside a zip file, packed or not."""

    def __init__(self, archive: ZipStore, info: zipfile.ZipInfo) -> None:
        self._archive, self._info, self.size = archive, info, info.file_size

    def read(self, offset: int, count: int) -> bytes:
        info = self._info
        if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ReadError(f"{info.filename} is encrypted, or packed by method {info.compress_type}")
        file = self._archive.file()
        head = file.read(info.header_offset, 30)
        if len(head) < 30 or head[:4] != ZIP[0]:
            raise ReadError(f"{info.filename}: there is no such entry in the zip file; copy it again")
        start = info.header_offset + 30 + sum(struct.unpack("<HH", head[26:]))
        whole = offset == 0 and count >= info.file_size
        if info.compress_type == zipfile.ZIP_STORED and not whole:
            return file.read(start + offset, min(count, max(info.file_size - offset, 0)))
        if start + info.compress_size > self._archive.size:  # before the bytes are allocated
            raise ReadError(f"{info.filename} is cut off; copy the zip file again")
        data = file.read(start, info.compress_size)
        if info.compress_type == zipfile.ZIP_DEFLATED:
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
        try:
            with zipfile.ZipFile(path) as archive:
                infos = [info for info in archive.infolist() if not info.is_dir()]
        except Exception as error:  # a broken directory raises whatever the parser met first
            raise ReadError(f"{path}: broken zip file ({describe(error)}); copy it again") from None
        self._entries = {info.filename: info for info in infos}

    def file(self) -> Descriptor:
        """Return this process's handle."""
        return get_or_open(("zip", self.path, self._fingerprint), lambda: Descriptor(self.path))

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
