"""One piece of anonymous memory for decoded pixels, which all processes of a program share.

It has no name: it is gone with the last process that has it, however that ends. Who may change what is settled by locks
on bytes of a second nameless file, which the kernel takes from a process that dies.
"""

from __future__ import annotations

import mmap
import os
import threading
import time
import weakref
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from patchaug.core.memory.anonymous import HAS_FILE_LOCKS, ByteLocks, MemoryFile
from patchaug.core.memory.budget import most_memory

UNIT = 1 << 14  # bytes: what is handed out is rounded up to it
_USED, _CURSOR, _OWNERS, _SWEPT = range(4)  # words at the start
_HEADS = 16  # then the first records of the chains
_CHAINS = 1024
_PUNCHES = hasattr(mmap, "MADV_REMOVE")  # whether freed memory goes back to the system, and is zero afterwards
_SWEEP_EVERY = 5  # seconds, while there is no room
# Bytes of the lock file; they need not exist.
_HEAD, _IN_USE, _CLAIMS = 0, 1, 1 << 40


class Arena:
    """Memory in units of 16 KiB, each owned by a table or free; all of it is bookkept in the memory itself.

    Attributes:
        memory: All of it.
        token: An object that a forked child replaces: what another process had attached, this one has not.
    """

    def __init__(self, file: MemoryFile, locks: ByteLocks) -> None:
        self.file, self.locks, self.memory = file, locks, file.map
        units = file.size // UNIT
        self._words = memoryview(self.memory)[: (_HEADS + _CHAINS) * 8].cast("q")
        self._owner_of = np.frombuffer(self.memory, np.int32, units, (_HEADS + _CHAINS) * 8)
        self._first = -(-((_HEADS + _CHAINS) * 8 + units * 4) // UNIT)
        self._fresh()
        _arenas.add(self)

    def _fresh(self) -> None:
        self.token = object()
        self.stripes = [threading.Lock() for _ in range(64)]
        self.barrier = threading.Lock()
        self._thread = threading.Lock()
        self._here: Counter[int] = Counter()  # tables that are in use in this process
        self._gone: deque[tuple[int, object]] = deque()

    def __reduce__(self) -> tuple[Any, ...]:
        return _arena_of_parent, (self.file, self.locks)

    @property
    def used(self) -> int:
        """Bytes handed out, in whole units."""
        return self._words[_USED] * UNIT

    def attach(self, digest: bytes, entries: int, limit: int, *, sweep: bool = False) -> tuple[int, int] | None:
        """The table of a digest, made where there is none; in use until `detach`.

        Args:
            digest: 16 bytes that say what the table is about.
            entries: Its length; part of what it is about.
            limit: Bytes that may be handed out in all.
            sweep: Look for memory that nobody uses any more, even if that was done a moment ago.

        Returns:
            Its owner's number, and where its first entry lies; None if there is no room for it.
        """
        key = np.frombuffer(digest + entries.to_bytes(8, "little"), np.int64).tolist()
        chain = _HEADS + key[0] % _CHAINS
        with self._thread, self.locks.exclusive(_HEAD):
            self._let_go()
            at = self._words[chain]
            while at:
                record = self._record(at)
                if record[:3].tolist() == key:
                    owner = record[4]
                    break
                at = record[3]
            else:
                owner = self._words[_OWNERS] = self._words[_OWNERS] + 1
                size = 40 + 8 * entries
                made = None if not sweep and self.full(size, limit) else self._allot(owner, size, limit)
                if made is None:
                    return None
                at, record = made, self._record(made)
                for word, value in enumerate((*key, self._words[chain], owner)):
                    record[word] = value
                self._words[chain] = at  # last: should this process be killed, there is no table, or a whole one
            self.locks.share(_IN_USE + owner)
            self._here[owner] += 1
        return owner, at + 40

    def detach(self, owner: int, token: object) -> None:
        """A user of a table is gone. May be called from a finalizer: it takes no lock, and does nothing yet."""
        self._gone.append((owner, token))

    def full(self, size: int, limit: int) -> bool:
        """Whether there is no room for `size` bytes, as it was a moment ago; without taking a lock."""
        return self._lacks(size, limit) and time.monotonic() < self._words[_SWEPT] + _SWEEP_EVERY

    def allot(self, owner: int, size: int, limit: int, *, sweep: bool = False) -> int | None:
        """Where `size` bytes for a table begin, or None if more than `limit` bytes would be handed out in all."""
        if not sweep and self.full(size, limit):
            return None
        with self._thread, self.locks.exclusive(_HEAD):
            return self._allot(owner, size, limit)

    def write(self, at: int, data: Any) -> None:
        """Put the bytes of a contiguous array into memory that is new: half the cost of touching its pages here."""
        self.file.write(at, memoryview(data).cast("B"))

    @contextmanager
    def claim(self, place: int) -> Iterator[None]:
        """Be the only one, of all threads and processes, to work on an entry; ends with the process if need be."""
        with self.stripes[place // 8 % len(self.stripes)], self.locks.exclusive(_CLAIMS + place):
            yield

    def _record(self, at: int) -> memoryview:
        """A table's digest (2 words), length, next record, owner."""
        return memoryview(self.memory)[at : at + 40].cast("q")

    def _lacks(self, size: int, limit: int) -> bool:
        room = min(limit // UNIT, self.file.size // UNIT - self._first)
        return self._words[_USED] + -(-size // UNIT) > room

    def _allot(self, owner: int, size: int, limit: int) -> int | None:
        units = -(-size // UNIT)
        if self._lacks(size, limit):
            self._sweep()
            if self._lacks(size, limit):
                return None
        at = max(self._words[_CURSOR], self._first)
        taken = self._owner_of[at : at + units]
        if len(taken) < units or taken.any():
            found = self._gap(units)
            if found is None:
                return None
            at = found
        self._owner_of[at : at + units] = owner
        self._words[_CURSOR] = at + units
        self._words[_USED] += units
        if not _PUNCHES:
            self.memory[at * UNIT : (at + units) * UNIT] = bytes(units * UNIT)
        return at * UNIT

    def _gap(self, units: int) -> int | None:
        """The first of so many free units in a row."""
        edges = np.flatnonzero(np.diff(self._owner_of[self._first :] == 0, prepend=False, append=False))
        starts, ends = edges[::2], edges[1::2]
        fit = starts[ends - starts >= units]
        return int(fit[0]) + self._first if len(fit) else None

    def _let_go(self) -> None:
        """Give up the tables whose last user in this process is gone."""
        while self._gone:
            owner, token = self._gone.popleft()
            if token is self.token:
                self._here[owner] -= 1
                if not self._here[owner]:
                    del self._here[owner]
                    self.locks.release(_IN_USE + owner)

    def _sweep(self) -> None:
        """Free what no process uses any more."""
        self._let_go()
        living = [0]
        for chain in range(_HEADS, _HEADS + _CHAINS):
            before, at = None, self._words[chain]
            while at:
                record = self._record(at)
                after, owner = record[3], record[4]
                if owner in self._here or self.locks.held_by_others(_IN_USE + owner):
                    living.append(owner)
                    before = record
                elif before is None:
                    self._words[chain] = after
                else:
                    before[3] = after
                at = after
        freed = ~np.isin(self._owner_of, living)  # also what a process had asked for when it was killed
        edges = np.flatnonzero(np.diff(freed, prepend=False, append=False)).tolist()
        self._owner_of[freed] = 0
        self._words[_USED] = int(np.count_nonzero(self._owner_of))
        if _PUNCHES:
            for start, end in zip(edges[::2], edges[1::2], strict=True):
                self.memory.madvise(mmap.MADV_REMOVE, start * UNIT, (end - start) * UNIT)
        self._words[_CURSOR] = 0
        self._words[_SWEPT] = int(time.monotonic())  # the same clock in all processes


_arena: Arena | None = None
_arenas: weakref.WeakSet[Arena] = weakref.WeakSet()
_lock = threading.Lock()


def arena() -> Arena | None:
    """This process's arena, made at the first call; None where the system has no locks on bytes, or no room for it."""
    global _arena
    if _arena is None and HAS_FILE_LOCKS:
        with _lock:
            if _arena is None:
                try:
                    capacity = most_memory() // UNIT * UNIT
                    _arena = Arena(MemoryFile(capacity), ByteLocks())
                except OSError:  # a limit on address space
                    return None
    return _arena


def kept() -> int:
    """Bytes of decoded pixels that are kept."""
    return 0 if _arena is None else _arena.used


def _arena_of_parent(file: MemoryFile, locks: ByteLocks) -> Arena:
    """Open the parent's arena in a process that was started by spawn or forkserver."""
    global _arena
    if _arena is not None and os.path.sameopenfile(file.fd, _arena.file.fd):
        return _arena
    opened = Arena(file, locks)
    if _arena is None:
        _arena = opened
    return opened


def _in_child() -> None:
    global _lock
    _lock = threading.Lock()
    for one in _arenas:
        one._fresh()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
