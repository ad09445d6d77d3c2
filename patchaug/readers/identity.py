"""What identifies the pixels of a raster across processes and runs: path, size, time, and bytes of its file.

`identity_of` calls the hook `identity()` of a raster. It returns a tuple of plain values whose `repr` differs wherever
the pixels may: for a file its path, size, time of change, a digest of its first and last bytes, and the options that it
is read with; for a remote object its address, size and ETag. None stands for pixels that nothing identifies, such as
arrays; what follows from them is then never kept.
"""

from __future__ import annotations

import os
from hashlib import blake2b
from typing import Any

from patchaug.errors import ReadError
from patchaug.readers.base import Raster
from patchaug.readers.file import describe, fingerprint
from patchaug.readers.remote.listing import can_list, list_below
from patchaug.readers.urls import is_url

Identity = tuple[Any, ...]
_END = 1 << 14  # bytes at the start and at the end of a file that are part of its identity
_TABLES = (".dbf", ".shx", ".prj", ".cpg")  # files of a shapefile


def identity_of(raster: Raster) -> Identity | None:
    """Return the identity of a raster's pixels; None where it has none.

    Examples:
        >>> import numpy as np
        >>> from patchaug.readers import ArrayRaster
        >>> from patchaug.readers.constant import ConstantRaster
        >>> from patchaug.readers.identity import identity_of
        >>> identity_of(ConstantRaster(1, ((60, 40),)))
        ('constant', 1, ((60, 40),))
        >>> identity_of(ArrayRaster(np.zeros((4, 4), np.uint8))) is None
        True
    """
    hook = getattr(raster, "identity", None)
    found: Identity | None = None if hook is None else hook()
    return found


def identify_file(path: str) -> Identity:
    """Return path, size, time of change in nanoseconds, and a digest of the first and last bytes of a file.

    Of an object: URL, size and ETag.

    Raises:
        MissingError, ReadError: The file does not exist, or cannot be read.
    """
    size, time, tag = fingerprint(path)
    if is_url(path):
        return path, size, tag
    try:
        with open(path, "rb") as file:
            digest = blake2b(file.read(_END), digest_size=16)
            file.seek(max(size - _END, 0))
            digest.update(file.read(_END))
    except OSError as error:
        raise ReadError(f"{path} cannot be read: {describe(error)}") from None
    return os.path.abspath(path), size, time, digest.hexdigest()


def identify_folder(path: str) -> Identity:
    """Return the path of a folder, and a digest of path, size and time of every file below it.

    Raises:
        ReadError: The folder cannot be read.
    """
    digest = blake2b(digest_size=16)
    count = 0
    try:
        for folder, inside, names in os.walk(path, onerror=_raise):
            inside.sort()
            for name in sorted(names):
                file = os.path.join(folder, name)
                status = os.stat(file)
                digest.update(repr((os.path.relpath(file, path), status.st_size, status.st_mtime_ns)).encode())
                count += 1
    except OSError as error:
        raise ReadError(f"{path} cannot be read: {describe(error)}") from None
    return os.path.abspath(path), count, digest.hexdigest()


def identify_below(url: str) -> Identity | None:
    """Return a URL, and a digest of key, size and ETag of every object below it; None where the server cannot list."""
    if not can_list(url):
        return None
    rows = sorted(list_below(url))
    return url, len(rows), blake2b(repr(rows).encode(), digest_size=16).hexdigest()


def identify_shapes(path: str) -> Identity:
    """Return the identities of a shapefile and of its tables, which lie beside it under the same stem.

    Raises:
        MissingError, ReadError: A file cannot be read.
    """
    stem = os.path.splitext(path)[0]
    others = (stem + suffix for name in _TABLES for suffix in (name, name.upper()))
    return identify_file(path), *(identify_file(other) for other in others if _has_bytes(other))


def _has_bytes(path: str) -> bool:
    return os.path.isfile(path) and os.stat(path).st_size > 0


def _raise(error: OSError) -> None:
    raise error
