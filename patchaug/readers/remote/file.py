"""Objects of stores as files for parsers: by blocks for headers, and as a whole."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from patchaug.readers.remote.source import (
    BLOCK,
    WHOLE,
    RemoteSource,
    error_of,
    fetch,
    keep_blocks,
    known_blocks,
    state_of,
)

_PART, _PARTS = 8 << 20, 4  # bytes of a request, and requests at a time, of an object that is fetched whole
_thread = threading.local()


class RemoteFile(io.RawIOBase):
    """Object as a file for parsers of headers; read by blocks, of which the last ones are cached.

    Args:
        url: The object.
    """

    def __init__(self, url: str) -> None:
        super().__init__()
        self.name = url  # tifffile asks for it
        self._source, self._at = RemoteSource(url, state_of(url)), 0

    @property
    def size(self) -> int:
        """Size in bytes."""
        return self._source.state.size

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a byte, counted from the start, from here, or from the end."""
        at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.size}[whence]
        if at < 0:
            raise ValueError(f"{self.name}: byte {at} does not exist")
        self._at = at
        return at

    def readinto(self, buffer: Any) -> int:
        """Read up to as many bytes as the buffer holds."""
        view = memoryview(buffer).cast("B")
        count = max(min(len(view), self.size - self._at), 0)
        if not count:
            return 0
        first, last = self._at // BLOCK, (self._at + count - 1) // BLOCK
        blocks = self._blocks(first, last + 1)
        start = self._at - first * BLOCK
        view[:count] = blocks[start : start + count]
        self._at += count
        return count

    def _blocks(self, first: int, stop: int) -> bytes:
        url, tag = self.name, self._source.state.tag
        known = known_blocks(url, tag, range(first, stop))
        missing = [number for number, data in known.items() if data is None]
        ranges = [self._source.range(at := number * BLOCK, min(BLOCK, self.size - at)) for number in missing]
        for number, found in zip(missing, fetch(ranges), strict=True):
            if isinstance(found, Exception):
                raise found
            known[number] = bytes(found[1])
        blocks = {number: data or b"" for number, data in known.items()}
        keep_blocks(url, tag, blocks)
        return b"".join(blocks.values())


@contextmanager
def keeping_whole() -> Iterator[None]:
    """Keep the objects that this thread fetches whole until the block ends, so that none is fetched twice."""
    before, _thread.whole = getattr(_thread, "whole", None), {}
    try:
        yield
    finally:
        _thread.whole = before


def fetch_whole(url: str) -> bytes:
    """Return the content of an object, in parts that are fetched side by side; see `keeping_whole`.

    Raises:
        ReadError, MissingError: It does not exist, cannot be read, or is larger than the limit.
    """
    kept: dict[str, bytes] | None = getattr(_thread, "whole", None)
    if kept is not None and url in kept:
        return kept[url]
    state = state_of(url)
    if state.size > WHOLE:
        raise error_of(url, {"error": "large", "text": f"{state.size:,} bytes, at most {WHOLE:,} are read"})
    source, data = RemoteSource(url, state), bytearray()
    while len(data) < state.size:
        starts = range(len(data), min(len(data) + _PARTS * _PART, state.size), _PART)
        for found in fetch([source.range(start, min(_PART, state.size - start)) for start in starts]):
            if isinstance(found, Exception):
                raise found
            data += found[1]
    if kept is not None:
        kept[url] = bytes(data)
    return bytes(data)
