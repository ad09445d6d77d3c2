"""A zarr hierarchy below a URL."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b

import numpy as np

from patchaug.core.arrays import Array
from patchaug.errors import MissingError
from patchaug.readers.file import Fingerprint
from patchaug.readers.file_handles import ChangedError
from patchaug.readers.remote.listing import can_list, list_below, list_folder
from patchaug.readers.remote.source import BLOCK, ObjectState, Range, RemoteSource, read_range, state_of

_READ_FIRST = BLOCK  # bytes of an object whose size is not known


class _Object:
    """The bytes of one key: all of them, or an object that is read by ranges."""

    def __init__(self, url: str, state: ObjectState, data: memoryview) -> None:
        self._source, self._data, self.size = RemoteSource(url, state), data, state.size

    def read(self, offset: int, count: int) -> bytes:
        """Read bytes, fewer at the end."""
        if len(self._data) == self.size:
            return bytes(self._data[offset : offset + count])
        return self._source.read(offset, count)

    def range(self, offset: int, count: int) -> Range:
        """Return where bytes are."""
        return self._source.range(offset, count)


class _Manifest:
    """ETags of the objects of a hierarchy: 16 bytes for each that was listed."""

    def __init__(self) -> None:
        self.listed: tuple[Array, Array] = np.empty(0, np.uint64), np.empty(0, np.uint64)
        self.read: dict[int, int] = {}

    def add(self, rows: list[tuple[str, int, str]]) -> None:
        """Add listed objects: key, size and ETag."""
        keys = np.array([_hash(key) for key, _, _ in rows], np.uint64)
        tags = np.array([_hash(f"{size} {tag}") for _, size, tag in rows], np.uint64)
        keys, tags = np.concatenate([self.listed[0], keys]), np.concatenate([self.listed[1], tags])
        order = np.argsort(keys, kind="stable")
        self.listed = keys[order], tags[order]

    def find(self, key: str) -> int | None:
        """Return the hash of size and ETag at the first use; None for one that was not looked at."""
        number = _hash(key)
        at = int(np.searchsorted(self.listed[0], np.uint64(number)))
        if at < len(self.listed[0]) and self.listed[0][at] == number:
            return int(self.listed[1][at])
        return self.read.get(number)

    def check(self, url: str, key: str, state: ObjectState) -> None:
        """Require that an object is still that of the first use."""
        now, known = _hash(f"{state.size} {state.tag}"), self.find(key)
        if known is None:
            self.read[_hash(key)] = now
        elif known != now:
            raise ChangedError(f"{url}: object changed since the slide was first opened; open the slide again")


class RemoteStore:
    """A hierarchy whose keys are objects below a URL; see `ChunkStore`.

    Args:
        root: The URL.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self._manifest = _Manifest()
        self._states: dict[str, ObjectState] = {}

    def url(self, key: str) -> str:
        """Return the URL of a key."""
        return f"{self.root}/{key}" if key else self.root

    def whole(self, key: str, limit: int) -> Range:
        """Return the range of a whole object of at most `limit` bytes."""
        return Range(self.url(key), None, 0, -limit)

    def find(self, key: str, limit: int = 0) -> _Object | None:
        """Find the bytes of a key, see `ChunkStore`; with a limit, an object that was fetched as a whole is used."""
        one = self.whole(key, limit) if limit else Range(self.url(key), None, 0, _READ_FIRST)
        try:
            state, data = read_range(one)
        except MissingError:
            return None
        self._manifest.check(one.url, key, state)
        return _Object(one.url, state, data)

    def names(self, key: str) -> list[str]:
        """List the names directly below a key; none where the server cannot list."""
        return sorted(list_folder(self.url(key))) if can_list(self.root) else []

    def below(self, key: str) -> Iterator[str]:
        """Iterate over the keys of all objects below a key, and remember their ETags.

        Raises:
            ReadError: The server cannot list.
        """
        rows = list_below(self.url(key))
        start = f"{key}/" if key else ""
        self._manifest.add([(start + inside, size, tag) for inside, size, tag in rows])
        return (inside for inside, _, _ in rows)

    def fingerprint(self, keys: tuple[str, ...]) -> Fingerprint:
        """Return total size, latest change and a hash of the ETags of those objects."""
        states = {key: state_of(self.url(key)) for key in keys}
        self._states = self._states or states
        sizes, times, tags = zip(*states.values(), strict=True)
        return sum(sizes), max(times), f"{_hash(' '.join(tags)):016x}"

    def require_unchanged(self, key: str) -> None:
        """Check that an object of `fingerprint` is still the same; at most some seconds old."""
        now = state_of(self.url(key))
        if now != self._states.get(key, now):
            raise ChangedError(f"{self.url(key)}: object changed since it was first opened; open the slide again")

    def require_absent(self, key: str) -> None:
        """Check that no object of a key was removed since the objects were listed."""
        if self._manifest.find(key) is not None:
            raise ChangedError(f"{self.url(key)}: object was removed since the slide was first opened")


def _hash(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")
