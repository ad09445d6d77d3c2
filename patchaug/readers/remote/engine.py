"""Requests to object stores, in a process of their own: only the standard library and obstore are imported here.

obstore runs threads inside the process that uses it, and a forked child, in which they are missing, hangs or crashes.
So no process that may fork loads it: each starts this file as a program and talks to it by pipes, see `client`.
The program ends when its pipe closes. Windows has no fork; there the client uses `Engine` directly.
"""

from __future__ import annotations

import random
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as LateError
from functools import partial
from typing import Any

from patchaug.readers.remote.stores import describe, inside, kind_of, open_store, state_of_meta

REQUESTS = 32  # at the same time, of what is waited for, and as many of what is read ahead
TRIES = 8
GAP = 128 << 10  # bytes between two ranges that one request covers
MERGED = 8 << 20  # bytes of a request, beyond which neighbours are not merged
AHEAD = 64 << 20  # bytes that are read ahead

# Store such as "s3://bucket", key, ETag that the object must have, offset, and bytes; of a negative size -n the whole
# object, if it has at most n bytes; of size 0 its size and ETag alone.
Item = tuple[str, str, str | None, int, int]
Answer = tuple[dict[str, Any], memoryview | bytes]


class FetchError(Exception):
    """A request that failed for good.

    Args:
        kind: "missing", "changed", "denied", "unsupported", "large", "failed" or "late".
        text: Why, without secrets.
    """

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind, self.text = kind, text


class _Piece:
    """One request that covers several ranges."""

    def __init__(self, future: Future[Answer], item: Item) -> None:
        self.future, self.start = future, item[3]
        self.size = min(abs(item[4]), 1 << 20) if item[4] <= 0 else item[4]
        self.items: list[Item] = []
        self.began, self.used = time.monotonic(), False

    def cut(self, item: Item, until: float) -> Answer:
        """Return the bytes of one range; raise FetchError where there are none, or the time is over."""
        try:
            state, data = self.future.result(max(until - time.monotonic(), 0))
        except LateError:
            raise FetchError("late", "the store did not answer in time") from None
        if item[4] <= 0:
            return state, data
        at = item[3] - self.start
        return state, memoryview(data)[at : at + item[4]]


class Engine:
    """Stores, requests in flight, and what was read ahead.

    Args:
        seconds: Time after which any request is given up, all tries together.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._stores: dict[str, Any] = {}
        self._opening, self._lock = threading.Lock(), threading.Lock()
        self._now = ThreadPoolExecutor(REQUESTS, "patchaug-now")
        self._later = ThreadPoolExecutor(REQUESTS, "patchaug-ahead")
        self._ahead: OrderedDict[int, _Piece] = OrderedDict()  # pieces by identity, the oldest first
        self._piece_of: dict[Item, _Piece] = {}
        self._bytes = 0

    def get(self, items: list[Item]) -> list[Answer | FetchError]:
        """Fetch ranges: neighbours by one request, requests side by side.

        Returns:
            For each range what the store says of the object, and the bytes; or why there are none.
        """
        until = time.monotonic() + self.seconds
        with self._lock:
            ready = {item: piece for item in items if (piece := self._piece_of.get(item)) is not None}
        started = self._start([item for item in dict.fromkeys(items) if item not in ready], self._now, until)
        answers: list[Answer | FetchError] = []
        for item in items:
            try:
                if item in ready:
                    ready[item].used = True
                    answers.append(ready[item].cut(item, until - self.seconds / 2))
                else:
                    answers.append(started[item].cut(item, until))
            except FetchError as error:
                answers.append(self._again(item, ready[item], error, until) if item in ready else error)
        return answers

    def _again(self, item: Item, piece: _Piece, error: FetchError, until: float) -> Answer | FetchError:
        """Ask in earnest for what could not be read ahead."""
        with self._lock:
            self._forget(piece)
        if error.kind not in ("failed", "late"):
            return error
        try:
            return self._start([item], self._now, until)[item].cut(item, until)
        except FetchError as again:
            return again

    def reason(self, error: Exception) -> dict[str, Any]:
        """Return an error as an answer."""
        if isinstance(error, FetchError):
            return {"error": error.kind, "text": error.text}
        return {"error": "failed", "text": describe(error)}

    def ahead(self, items: list[Item]) -> None:
        """Start to fetch ranges that will be asked for, while there is room beside those that still wait for that."""
        with self._lock:
            new = [item for item in dict.fromkeys(items) if item not in self._piece_of]
            room, old = AHEAD - sum(max(item[4], 0) for item in new), time.monotonic() - self.seconds
            for piece in list(self._ahead.values()):
                if self._bytes <= room:
                    break
                if piece.used or piece.began < old:
                    self._forget(piece)
            if self._bytes > room:
                return
            started = self._start(new, self._later, time.monotonic() + self.seconds)
            for item, piece in started.items():
                self._piece_of[item] = piece
                piece.items.append(item)
                if id(piece) not in self._ahead:
                    self._ahead[id(piece)] = piece
                    self._bytes += piece.size

    def _forget(self, piece: _Piece) -> None:
        if self._ahead.pop(id(piece), None) is not None:
            self._bytes -= piece.size
        for item in piece.items:
            self._piece_of.pop(item, None)

    def _start(self, items: Iterable[Item], pool: ThreadPoolExecutor, until: float) -> dict[Item, _Piece]:
        started: dict[Item, _Piece] = {}
        for group in merged(items):
            place, key, tag, start, count = group[0]
            if count > 0:
                count = max(one[3] + one[4] for one in group) - start
            whole = place, key, tag, start, count
            started.update(dict.fromkeys(group, _Piece(pool.submit(_retried, partial(self._ask, whole), until), whole)))
        return started

    def _ask(self, item: Item) -> Answer:
        import obstore

        place, key, tag, start, count = item
        store = self._store(place)
        if count == 0:
            return state_of_meta(obstore.head(store, inside(place, key))), b""
        options: Any = {}
        if count > 0:
            options["range"] = (start, start + count)
        if tag is not None and tag.startswith('"'):  # a weak one is compared afterwards, as HTTP has it
            options["if_match"] = tag
        try:
            found = obstore.get(store, inside(place, key), options=options)
        except Exception as error:
            if " 416" not in str(error):
                raise
            state = state_of_meta(obstore.head(store, inside(place, key)))  # an empty object has no ranges
            if state["size"]:
                raise
            return state, b""
        state = state_of_meta(found.meta)
        if tag is not None and state["tag"] != tag:
            raise FetchError("changed", f"its ETag was {tag} and is {state['tag']}")
        if count < 0 and state["size"] > -count:
            raise FetchError("large", f"{state['size']:,} bytes, at most {-count:,} are read")
        data = memoryview(found.bytes())
        wanted = min(max(state["size"] - start, 0), count) if count > 0 else state["size"]
        if len(data) != wanted or found.range[0] != start:
            raise OSError(f"the store sent {len(data)} of {wanted} bytes")
        return state, data

    def _store(self, place: str) -> Any:
        with self._opening:
            if place not in self._stores:
                self._stores[place] = open_store(place, self.seconds)
            return self._stores[place]

    def list(self, place: str, prefix: str, deep: bool) -> list[tuple[str, int, str]]:
        """List the objects below a key: key, size and ETag.

        Args:
            place: The store.
            prefix: The key, "" for all.
            deep: Whether objects in folders are listed too; else folders are, as keys that end in a slash.

        Raises:
            FetchError: The store cannot list, or does not answer.
        """
        import obstore

        def ask() -> Answer:
            store = self._store(place)
            if deep:
                metas = [meta for chunk in obstore.list(store, prefix or None, chunk_size=1000) for meta in chunk]
                folders: list[str] = []
            else:
                found = obstore.list_with_delimiter(store, prefix or None)
                metas, folders = list(found["objects"]), [f"{one.rstrip('/')}/" for one in found["common_prefixes"]]
            rows = [(meta["path"], meta["size"], state_of_meta(meta)["tag"]) for meta in metas]
            return {"rows": [*rows, *((folder, 0, "") for folder in folders)]}, b""

        found: list[tuple[str, int, str]] = _retried(ask, time.monotonic() + self.seconds)[0]["rows"]
        return found


def merged(items: Iterable[Item]) -> list[list[Item]]:
    """Group ranges that one request covers: of one object, close to each other, and not too long together."""
    groups: list[list[Item]] = []
    end = 0
    for item in sorted(items, key=lambda one: (one[0], one[1], one[2] or "", one[3], one[4])):
        last = groups[-1][0] if groups else None
        stop = item[3] + item[4]
        joins = last is not None and last[:3] == item[:3] and min(last[4], item[4]) > 0
        if last is not None and joins and item[3] - end <= GAP and max(stop, end) - last[3] <= MERGED:
            groups[-1].append(item)
            end = max(stop, end)
        else:
            groups.append([item])
            end = stop
    return groups


def _retried(ask: Callable[[], Answer], until: float) -> Answer:
    """Try until an answer is whole, an error is one that stays, or the time is over.

    Raises:
        FetchError: There is no answer.
    """
    for number in range(1, TRIES + 1):
        if time.monotonic() > until:
            raise FetchError("late", "the store did not answer in time")
        try:
            return ask()
        except FetchError:
            raise
        except Exception as error:  # obstore's errors derive from Exception alone
            kind, pause = kind_of(error), random.uniform(0.03, 0.06) * 2 ** (number - 1)
            if kind != "again" or number == TRIES or time.monotonic() + pause > until:
                tried = f", tried {number} times" if number > 1 else ""
                raise FetchError("failed" if kind == "again" else kind, f"{describe(error)}{tried}") from None
            time.sleep(pause)
    raise AssertionError("unreachable")
