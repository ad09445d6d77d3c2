"""Read single chunks of a zarr array: stored objects, or parts of a shard."""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass

from patchaug.core.arrays import Array
from patchaug.errors import ReadError
from patchaug.readers.file_handles import get_or_open
from patchaug.readers.remote.source import Range
from patchaug.readers.zarr.metadata import ZarrArray
from patchaug.readers.zarr.multiscales import Plane
from patchaug.readers.zarr.remote_store import RemoteStore
from patchaug.readers.zarr.store import ChunkStore, StoredBytes

_NONE = (1 << 64) - 1  # in the index of a shard: there is no such chunk


@dataclass(frozen=True, eq=False)
class Chunks:
    """Chunks of one store.

    Args:
        store: The store.
        owner: What the handles of its shards belong to; changes when the store does.
    """

    store: ChunkStore
    owner: Hashable

    def read(self, array: ZarrArray, place: tuple[int, ...]) -> Array | None:
        """Read a chunk by its index along each axis; None if it is not stored.

        Raises:
            ReadError: It is cut short, too long, or damaged.
        """
        if array.shards is not None:
            return self._of_shard(array, place)
        key, limit = array.chunk_key(place), array.chain.limit(array.chunks)
        part = self.store.find(key, limit) if isinstance(self.store, RemoteStore) else self.store.find(key)
        if part is None:
            self.store.require_absent(key)
            return None
        if part.size > limit:  # before the bytes are allocated
            raise ReadError(f"{key} has {part.size} bytes, a chunk of {array.chunks} has {limit} at most")
        return array.chain.decode(_bytes(part, key, 0, part.size), array.chunks)

    def stored_range(self, array: ZarrArray, place: tuple[int, ...]) -> Range | None:
        """Return where a chunk is stored below a URL; None for one that is not stored. Reads the index of its shard."""
        assert isinstance(self.store, RemoteStore)
        if array.shards is None:
            return self.store.whole(array.chunk_key(place), array.chain.limit(array.chunks))
        found = self._place_in_shard(array, place)
        return None if found is None else found[0].range(*found[2:])  # type: ignore[attr-defined]

    def _of_shard(self, array: ZarrArray, place: tuple[int, ...]) -> Array | None:
        found = self._place_in_shard(array, place)
        return None if found is None else array.chain.decode(_bytes(*found), array.chunks)

    def _place_in_shard(self, array: ZarrArray, place: tuple[int, ...]) -> tuple[StoredBytes, str, int, int] | None:
        """Return the shard of a chunk, its key, and offset and size of the chunk; None for one that is not stored."""
        many = [a // b for a, b in zip(array.stored_shape, array.chunks, strict=True)]
        key = array.chunk_key([at // per for at, per in zip(place, many, strict=True)])
        opened = get_or_open((self.owner, key), lambda: self._shard(array, key))
        if opened is None:
            return None
        part, index = opened
        number = 0
        for at, per in zip(place, many, strict=True):
            number = number * per + at % per
        offset, count = (int(word) for word in index[number])
        if offset == count == _NONE:
            return None
        if count > array.chain.limit(array.chunks) or offset + count > part.size:
            raise ReadError(f"{key}: its index says bytes {offset} to {offset + count}, and it has {part.size}")
        return part, key, offset, count

    def _shard(self, array: ZarrArray, key: str) -> tuple[StoredBytes, Array] | None:
        """Open a shard and its index, uint64 (chunks, 2): offset and size in bytes."""
        assert array.shards is not None
        part, size = self.store.find(key), array.shards.size
        if part is None:
            self.store.require_absent(key)
            return None
        if part.size < size:
            raise ReadError(f"{key} is cut off: {part.size} bytes, and its index alone has {size}")
        data = _bytes(part, key, 0 if array.shards.first else part.size - size, size)
        number = math.prod(a // b for a, b in zip(array.stored_shape, array.chunks, strict=True))
        return part, array.shards.index.decode(data, (number, 2))


def count_missing(store: ChunkStore, levels: tuple[Plane, ...]) -> tuple[int, int]:
    """Count the chunks (or shards) of all levels that are not stored, and all of them; lists all keys."""
    missing = number = 0
    for plane in levels:
        array = plane.array
        stored = sum(array.place_of(inside) is not None for inside in store.below(array.key))
        number += math.prod(array.counts)
        missing += math.prod(array.counts) - stored
    return missing, number


def _bytes(part: StoredBytes, key: str, offset: int, count: int) -> bytes:
    data = part.read(offset, count)
    if len(data) < count:
        raise ReadError(f"{key} is cut off: got {len(data)} of {count} bytes")
    return data
