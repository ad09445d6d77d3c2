"""Objects of stores: what they are, and their ranges. Nothing is kept but a few blocks of headers."""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from patchaug.errors import MissingError, ReadError
from patchaug.readers.file_handles import ChangedError
from patchaug.readers.remote.client import VARIABLE, ask, limit, tell
from patchaug.readers.urls import ACCESS, is_url, split_url

BLOCK = 256 << 10  # bytes that a header is read by
_BLOCKS = 64  # of them that are cached
WHOLE = 1 << 30  # bytes of an object that is fetched as a whole
_FRESH = 5.0  # seconds for which size and ETag are believed; each range checks the ETag again
_thread = threading.local()


class ObjectState(NamedTuple):
    """Size in bytes, nanoseconds of the last change, and ETag of an object: its fingerprint."""

    size: int
    modified: int
    tag: str


class Range(NamedTuple):
    """Bytes of an object.

    Attributes:
        url: The object.
        tag: ETag that it must have; None accepts any.
        offset: First byte.
        length: Number of bytes; of a negative number -n: all bytes, n at most.
    """

    url: str
    tag: str | None
    offset: int
    length: int

    @property
    def item(self) -> list[Any]:
        """The same as a message."""
        return [*split_url(self.url), self.tag, self.offset, self.length]


class _Cache:
    """States and first blocks of objects, of this process."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.states: dict[str, tuple[float, ObjectState]] = {}
        self.blocks: OrderedDict[tuple[str, str, int], bytes] = OrderedDict()


_cache = _Cache()


def state_of(url: str) -> ObjectState:
    """Return size, time and ETag of an object, at most some seconds old.

    Raises:
        MissingError: There is no such object.
        ReadError: It is empty, access is denied, or the store does not answer.
    """
    known = _cache.states.get(url)
    if known is not None and time.monotonic() - known[0] < _FRESH:
        return known[1]
    # The first block is what will be read next: one request fetches it with size and ETag.
    found = fetch([Range(url, None, 0, BLOCK)])[0]
    if isinstance(found, Exception):
        raise found
    state, data = found
    if state.size == 0:
        raise ReadError(f"{url} is empty (0 bytes); copy it again")
    if not state.tag:
        raise ReadError(
            f"{url}: the server sends neither ETag nor Last-Modified, so that a change could not be noticed; copy the "
            f"file to a local disk or to a store"
        )
    with _cache.lock:
        _cache.states[url] = time.monotonic(), state
        _keep_block(url, state.tag, 0, bytes(data))
    return state


def is_object(source: str) -> bool:
    """Return whether a source is a URL of an object, rather than of a hierarchy of them; False for local paths.

    Raises:
        ReadError: The store does not answer, or denies access.
    """
    if not is_url(source):
        return False
    try:
        state_of(source)
    except MissingError:
        return False
    return True


def known_blocks(url: str, tag: str, numbers: Iterable[int]) -> dict[int, bytes | None]:
    """Return cached blocks of an object by number; None for those that are not cached."""
    with _cache.lock:
        return {number: _cache.blocks.get((url, tag, number)) for number in numbers}


def keep_blocks(url: str, tag: str, blocks: dict[int, bytes]) -> None:
    """Cache blocks of an object; those cached longest ago make room."""
    with _cache.lock:
        for number, data in blocks.items():
            _keep_block(url, tag, number, data)


def _keep_block(url: str, tag: str, number: int, data: bytes) -> None:
    _cache.blocks[url, tag, number] = data
    while len(_cache.blocks) > _BLOCKS:
        _cache.blocks.popitem(last=False)


def forget(url: str) -> None:
    """Forget what is known of an object; the next use asks for it again."""
    with _cache.lock:
        _cache.states.pop(url, None)


def fetch(ranges: list[Range]) -> list[tuple[ObjectState, memoryview] | ReadError | MissingError]:
    """Fetch ranges at the same time, neighbours by one request.

    Returns:
        For each range the object's state, and the bytes; or the error that says why there are none.
    """
    if not ranges:
        return []
    head, payload = ask({"do": "get", "items": [one.item for one in ranges]})
    answers: list[tuple[ObjectState, memoryview] | ReadError | MissingError] = []
    at = 0
    for one, state in zip(ranges, head["states"], strict=True):
        if "error" in state:
            answers.append(error_of(one.url, state))
            continue
        stop = at + state["bytes"]
        answers.append((ObjectState(state["size"], state["modified"], state["tag"]), payload[at:stop]))
        at = stop
    return answers


def read_ahead(ranges: Iterable[Range]) -> None:
    """Start to fetch ranges that `fetch` will ask for soon. What fails is fetched again then."""
    items = [one.item for one in ranges]
    if items:
        tell({"do": "ahead", "items": items})


def error_of(url: str, answer: dict[str, Any]) -> ReadError | MissingError:
    """Return the error for an answer without bytes."""
    kind, text, scheme = answer["error"], answer.get("text", ""), url.partition(":")[0]
    if kind == "missing":
        forget(url)
        return MissingError(f"{url}: there is no such object")
    if kind == "changed":
        forget(url)
        return ChangedError(f"{url}: object changed since it was first opened ({text}); open the slide again")
    if kind == "large":
        return ReadError(
            f"{url}: {text} for what is fetched whole; copy it again, or convert it to a tiled TIFF, which is read by "
            f"windows"
        )
    if kind == "unsupported":
        return ReadError(
            f"{url}: the server does not answer requests for ranges of bytes ({text}); serve it by a server that does, "
            f"such as nginx, or copy the file to a local disk"
        )
    if kind == "denied":
        cure = f"; credentials come from the environment: {ACCESS[scheme]}" if scheme in ACCESS else "; is it public?"
        return ChangedError(f"{url}: access is denied ({text}){cure}")
    return ChangedError(
        f"{url}: cannot be fetched within {limit():g} s ({text}); check the network, or raise {VARIABLE}"
    )


class RemoteSource:
    """Object read by ranges, each of which must still have the ETag of the first use; see `Descriptor`.

    Args:
        url: The object.
        state: What it was at the first use.
    """

    def __init__(self, url: str, state: ObjectState) -> None:
        self.url, self.state = url, state

    def range(self, offset: int, count: int) -> Range:
        """Return a range of this object."""
        return Range(self.url, self.state.tag, offset, count)

    def read(self, offset: int, count: int) -> bytes:
        """Read `count` bytes at `offset`, fewer at the end of the object.

        Raises:
            ReadError: The object has changed, or the store does not answer.
        """
        count = min(count, self.state.size - offset)
        if min(offset, count) < 0:
            raise ReadError(f"{self.url}: bytes {offset} to {offset + count} do not exist; copy the file again")
        return bytes(read_range(self.range(offset, count))[1]) if count else b""


def read_range(one: Range) -> tuple[ObjectState, memoryview]:
    """Return a range that was staged, once, or fetch it.

    Raises:
        ReadError, MissingError: See `error_of`.
    """
    found = getattr(_thread, "staged", {}).pop(one, None)  # once, so that memory is free again
    if found is None:
        found = fetch([one])[0]
    if isinstance(found, Exception):
        raise found
    answer: tuple[ObjectState, memoryview] = found
    return answer


@contextmanager
def staging() -> Iterator[None]:
    """Keep what `stage` fetches until the block ends."""
    before, _thread.staged = getattr(_thread, "staged", {}), {}
    try:
        yield
    finally:
        _thread.staged = before


def stage(ranges: list[Range]) -> None:
    """Fetch ranges at the same time for the reads of this thread that follow, in place of those staged before."""
    _thread.staged = dict(zip(ranges, fetch(ranges), strict=True))


def _start_anew() -> None:
    global _cache  # another thread of the parent may have held its lock
    _cache = _Cache()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew)
