"""The first bytes of a source, by which readers recognise their formats."""

from __future__ import annotations

from patchaug.errors import MissingError, PatchaugError, ReadError
from patchaug.readers.file import describe, fingerprint, open_file
from patchaug.readers.urls import is_url
from patchaug.readers.zarr.store import is_zarr

HEAD_BYTES = 4096  # bytes of a file that are compared with `magic`
VECTORS = (b"SQLite format 3\0", b"\x00\x00\x27\x0a", b"fgb\x03")  # GeoPackage, Shapefile, FlatGeobuf


def first_bytes(path: str) -> bytes:
    """Return the first bytes of a file or object; none for a zarr hierarchy below a URL."""
    try:
        fingerprint(path)
    except MissingError:
        if is_url(path) and is_zarr(path):
            return b""
        raise
    try:
        with open_file(path, whole=False) as file:
            return file.read(HEAD_BYTES)
    except PatchaugError:
        raise
    except OSError as error:
        raise ReadError(f"{path} cannot be opened: {describe(error)}") from None
