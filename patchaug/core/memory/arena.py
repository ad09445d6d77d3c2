"""Allocate decoded pixels in one anonymous memory file that all processes of a program share.

The memory is freed with the last process that has it open, however that process ends. Locks on bytes of a second
anonymous file protect all changes; the kernel releases the locks of a process that dies.
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
from patchaug.core.memory.rank_memory import open_rank_memory
from patchaug.core.ranks import read_ranks

UNIT = 1 << 14  # bytes; allocations are rounded up to whole units
_USED, _CURSOR, _OWNERS, _SWEPT, _TOP = range(5)  # words at the start of the memory; rank_memory has another
_HEADS = 16  # word at which the offsets of the chains' first records begin
_CHAINS = 1024  # of a hash table: each is a linked list of tables
_FREES_PAGES = hasattr(mmap, "MADV_REMOVE")  # whether freed pages go back to the system, and are zero afterwards
_SWEEP_EVERY = 5  # seconds between sweeps while the memory is full
# Offsets in the lock file: all changes, a table in use, an entry being decoded.
_CHANGES, _IN_USE, _CLAIMS = 0, 1, 1 << 40


class Arena:
    """Memory in units of 16 KiB, each owned by a table or free; the memory itself holds the records.

    A table has one entry of 8 bytes for each tile of a raster. It owns the units of its tiles, which are freed together
    when no process uses the table.

    Args:
        file: The memory.
        locks: Locks that all its processes share.
        parts: Number of processes of this machine among which a budget is divided, since they do not share the memory.

    Attributes:
        memory: Map of the whole file.
        token: An object that is replaced in a forked child, which has attached no table yet.
        stripes: Locks between threads, for entries.
        barrier: A lock that orders writes: taken between the pixels of a tile and its entry.
    """

    def __init__(self, file: MemoryFile, locks: ByteLocks, parts: int = 1) -> None:
        self.file, self.locks, self.parts, self.memory = file, locks, parts, file.map
        units = file.size // UNIT
        self._words = memoryview(self.memory)[: (_HEADS + _CHAINS) * 8].cast("q")
        self._owner_of = np.frombuffer(self.memory, np.int32, units, (_HEADS + _CHAINS) * 8)
        self._first = -(-((_HEADS + _CHAINS) * 8 + units * 4) // UNIT)
        self._start_process()
        _arenas.add(self)

    def _start_process(self) -> None:
        self.token = object()
        self.stripes = [threading.Lock() for _ in range(64)]
        self.barrier = threading.Lock()
        self._thread = threading.Lock()
        self._users: Counter[int] = Counter()  # of each table, in this process
        self._detached: deque[tuple[int, object]] = deque()

    @property
    def intact(self) -> bool:
        """Return whether this process still has its locks, and with them a claim to the memory."""
        return self.locks.descriptor.intact

    @property
    def whole(self) -> bool:
        """Return whether another process can be given the memory and its locks."""
        return self.intact and self.file.descriptor.intact

    def __reduce__(self) -> tuple[Any, ...]:
        return _arena_of_parent, (self.file, self.locks, self.parts)

    @property
    def used(self) -> int:
        """Return the allocated bytes, in whole units."""
        return self._words[_USED] * UNIT

    def attach(self, digest: bytes, entries: int, limit: int, *, sweep: bool = False) -> tuple[int, int] | None:
        """Find or create a table; it is in use until `detach`.

        Args:
            digest: 16 bytes that identify the content of the table.
            entries: Length of the table; a part of its identity.
            limit: Bytes that may be allocated in all.
            sweep: Free unused memory, even if that was done a moment ago.

        Returns:
            The owner's number, and the offset of the first entry; None without room for the table.
        """
        key = np.frombuffer(digest + entries.to_bytes(8, "little"), np.int64).tolist()
        chain = _HEADS + key[0] % _CHAINS
        with self._thread, self.locks.exclusive(_CHANGES):
            self._release_detached()
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
                new = None if not sweep and self.full(size, limit) else self._allot(owner, size, limit)
                if new is None:
                    return None
                at, record = new, self._record(new)
                for word, value in enumerate((*key, self._words[chain], owner)):
                    record[word] = value
                self._words[chain] = at  # last: a process killed before leaves no table, one killed after a whole one
            self.locks.share(_IN_USE + owner)
            self._users[owner] += 1
        return owner, at + 40

    def detach(self, owner: int, token: object) -> None:
        """Remove a user of a table at the next change; takes no lock, so that a finalizer may call it."""
        self._detached.append((owner, token))

    def full(self, size: int, limit: int) -> bool:
        """Return whether there was no room for `size` bytes a moment ago; takes no lock."""
        return self._exceeds(size, limit) and time.monotonic() < self._words[_SWEPT] + _SWEEP_EVERY

    def allot(self, owner: int, size: int, limit: int, *, sweep: bool = False) -> int | None:
        """Allocate `size` bytes for a table.

        Returns:
            Their offset; None if more than `limit` bytes would be allocated in all.
        """
        if not sweep and self.full(size, limit):
            return None
        with self._thread, self.locks.exclusive(_CHANGES):
            return self._allot(owner, size, limit)

    def write(self, at: int, data: Any) -> None:
        """Write the bytes of a contiguous array into newly allocated memory."""
        self.file.write(at, memoryview(data).cast("B"))

    @contextmanager
    def claim(self, place: int) -> Iterator[None]:
        """Lock an entry against all other threads and processes, until the block or the process ends."""
        with self.stripes[place // 8 % len(self.stripes)], self.locks.exclusive(_CLAIMS + place):
            yield

    def _record(self, at: int) -> memoryview:
        """View a table's record: digest (2 words), length, offset of the next record, owner."""
        return memoryview(self.memory)[at : at + 40].cast("q")

    def _exceeds(self, size: int, limit: int) -> bool:
        total = min(limit // UNIT, self.file.size // UNIT - self._first)
        return self._words[_USED] + -(-size // UNIT) > total

    def _allot(self, owner: int, size: int, limit: int) -> int | None:
        units = -(-size // UNIT)
        if self._exceeds(size, limit):
            self._sweep()
            if self._exceeds(size, limit):
                return None
        at = max(self._words[_CURSOR], self._first)
        owners = self._owner_of[at : at + units]
        if len(owners) < units or owners.any():
            gap = self._gap(units)
            if gap is None:
                return None
            at = gap
        self._words[_USED] += units  # first: a process killed after it leaves too little room until the next sweep
        self._words[_TOP] = max(self._words[_TOP], at + units)  # above it no record was ever read or written
        self._owner_of[at : at + units] = owner
        self._words[_CURSOR] = at + units
        if not _FREES_PAGES:
            self.memory[at * UNIT : (at + units) * UNIT] = bytes(units * UNIT)
        return at * UNIT

    def _gap(self, units: int) -> int | None:
        """Find the first of so many free units in a row."""
        free = self._owner_of[self._first : self._words[_TOP] + units] == 0
        edges = np.flatnonzero(np.diff(free, prepend=False, append=False))
        starts, ends = edges[::2], edges[1::2]
        fitting = starts[ends - starts >= units]
        return int(fitting[0]) + self._first if len(fitting) else None

    def _release_detached(self) -> None:
        """Release the tables without users in this process."""
        while self._detached:
            owner, token = self._detached.popleft()
            if token is self.token:
                self._users[owner] -= 1
                if not self._users[owner]:
                    del self._users[owner]
                    self.locks.release(_IN_USE + owner)

    def _sweep(self) -> None:
        """Free the memory that no process uses."""
        self._release_detached()
        used = [0]
        for chain in range(_HEADS, _HEADS + _CHAINS):
            before, at = None, self._words[chain]
            while at:
                record = self._record(at)
                after, owner = record[3], record[4]
                if owner in self._users or self.locks.held_by_others(_IN_USE + owner):
                    used.append(owner)
                    before = record
                elif before is None:
                    self._words[chain] = after
                else:
                    before[3] = after
                at = after
        owners = self._owner_of[: self._words[_TOP]]
        freed = ~np.isin(owners, used)  # also what a killed process had allocated
        edges = np.flatnonzero(np.diff(freed, prepend=False, append=False)).tolist()
        owners[freed] = 0
        self._words[_USED] = int(np.count_nonzero(owners))
        if _FREES_PAGES:
            for start, end in zip(edges[::2], edges[1::2], strict=True):
                self.memory.madvise(mmap.MADV_REMOVE, start * UNIT, (end - start) * UNIT)
        self._words[_CURSOR] = 0
        self._words[_SWEPT] = int(time.monotonic())  # the same clock in all processes


_arena: Arena | None = None
_arenas: weakref.WeakSet[Arena] = weakref.WeakSet()
_lock = threading.Lock()


def arena() -> Arena | None:
    """Return this program's arena, opened at the first call; None on systems without file locks or without room.

    The ranks of one machine share an arena where the system lets them. Where another part of the program has closed its
    descriptors, a new one takes its place.
    """
    global _arena
    if HAS_FILE_LOCKS and (_arena is None or not _arena.intact):
        with _lock:
            if _arena is None or not _arena.intact:
                if _arena is not None:
                    _arena.file.descriptor.give_up()
                    _arena.locks.descriptor.give_up()
                ranks = read_ranks()
                try:
                    _arena = Arena(*open_rank_memory(most_memory() // UNIT * UNIT, ranks))
                except (OSError, ValueError):  # a limit on address space, with no room or little
                    return None
    return _arena


def cached_bytes() -> int:
    """Return how many bytes of decoded pixels are cached."""
    return 0 if _arena is None else _arena.used


def _arena_of_parent(file: MemoryFile, locks: ByteLocks, parts: int) -> Arena:
    """Open the parent's arena in a process that was started by spawn or forkserver."""
    global _arena
    if _arena is not None and os.path.sameopenfile(file.fd, _arena.file.fd):
        return _arena
    opened = Arena(file, locks, parts)
    if _arena is None:
        _arena = opened
    return opened


def _start_child() -> None:
    global _lock
    _lock = threading.Lock()
    for arena in _arenas:
        arena._start_process()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_child)
