"""Memory that the ranks of one machine share: the first one makes it, and the others open it through `/proc`.

The name of a memory file is the only mark: nothing is written to a disk or to /dev/shm, and no process serves the
others, so that nothing is left however they end. Where ranks cannot see each other, each has memory of its own, and the
budget is divided.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

from patchaug.core.memory.anonymous import ByteLocks, MemoryFile, can_name_memory
from patchaug.core.messages import print_message
from patchaug.core.ranks import Ranks, read_ranks
from patchaug.errors import OptionError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_FORMAT = "1"  # of the arena; other versions of this package may have others
_MARK = 8  # word of the memory that holds the inode of its locks, once it may be opened
_PATIENCE = 5.0  # seconds until all ranks of this machine have started
_PROC, _LOCK_FOLDER = "/proc", "/dev/shm"


class RankMemory(NamedTuple):
    """Memory of this process.

    Attributes:
        file: The memory.
        locks: Locks that all its processes share.
        parts: Number of processes among which the budget is divided; 1 where they share the memory.
    """

    file: MemoryFile
    locks: ByteLocks
    parts: int


class _Process(NamedTuple):
    """A process of the job on this machine."""

    number: int
    local_rank: int


def open_rank_memory(size: int, ranks: Ranks) -> RankMemory:
    """Open the memory of this machine's ranks, or make it.

    Args:
        size: Bytes of new memory, of which those that are written are allocated.
        ranks: Those of this process.

    Raises:
        OSError: The system has no room for the memory.
    """
    if ranks.local_world_size == 1:
        return RankMemory(MemoryFile(size), ByteLocks(), 1)
    job, processes = _see_all(ranks)
    with _one_at_a_time(job) as alone:
        name = f"patchaug {blake2b(repr((job, _FORMAT)).encode(), digest_size=8).hexdigest()}"
        own = f"{name} part"  # each rank's, where they do not share
        divided = any(_find(one, own) for one in processes)
        if alone and not divided:
            found = next((opened for one in processes if (opened := _open(one, name))), None)
            if found is not None or _all_there(processes, ranks):
                memory = found or _make(name, size)
                _report(ranks, found is None, "share one memory for decoded pixels")
                return RankMemory(*memory, 1)
        same = [one for one in processes if one.local_rank == ranks.local_rank]
        found = next((opened for one in same if (opened := _open(one, own))), None)
        memory = found or _make(own, size)
        _report(ranks, found is None, "do not share memory: each has an equal part of ram=")
    return RankMemory(*memory, ranks.local_world_size)


def _report(ranks: Ranks, new: bool, text: str) -> None:
    if new:
        print_message(f"the {ranks.local_world_size} processes of this machine {text}")


def _see_all(ranks: Ranks) -> tuple[object, list[_Process]]:
    """Wait a moment until all ranks of this machine have started; return their job, and the processes of it."""
    end = time.monotonic() + _PATIENCE
    while True:
        job, processes = _processes_of_job(ranks)
        if not processes or _all_there(processes, ranks) or time.monotonic() > end:
            return job, processes
        time.sleep(0.05)


def _all_there(processes: list[_Process], ranks: Ranks) -> bool:
    return {one.local_rank for one in processes} == set(range(ranks.local_world_size))


def _processes_of_job(ranks: Ranks) -> tuple[object, list[_Process]]:
    """Return what identifies the job, and its processes, workers too; none where this process is not seen as one."""
    mine = _job_of("self") if can_name_memory() else None
    if mine is None or mine[1][2:] != ranks[2:]:
        return None, []
    found = []
    with suppress(OSError):
        for entry in Path(_PROC).iterdir():
            other = _job_of(entry.name) if entry.name.isdigit() else None
            if other is not None and other[0] == mine[0]:
                found.append(_Process(int(entry.name), other[1].local_rank))
    return mine[0], found


def _job_of(process: str) -> tuple[object, Ranks] | None:
    """Return what identifies the job of a process, and its ranks, as any other process sees it; None for others.

    Processes of two jobs, users or containers are never taken for one job.
    """
    folder = f"{_PROC}/{process}"
    try:
        with open(f"{folder}/environ", "rb") as file:
            raw = file.read()
        if b"LOCAL_" not in raw and b"WORLD_SIZE" not in raw:
            return None
        next(Path(f"{folder}/fd").iterdir(), None)
        spaces = [os.readlink(f"{folder}/ns/{one}") for one in ("pid", "mnt", "user")]
        user = os.stat(folder).st_uid
    except OSError:
        return None
    values = {}
    for entry in raw.split(b"\0"):
        key, _, value = entry.partition(b"=")
        values[os.fsdecode(key)] = os.fsdecode(value)
    try:
        ranks = read_ranks(values)
    except OptionError:
        return None
    if ranks.local_world_size == 1:
        return None
    known = [values.get(key) for key in ("MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RUN_ID")]
    return (user, *spaces, *known, ranks.local_world_size), ranks


@contextmanager
def _one_at_a_time(job: object) -> Iterator[bool]:
    """Hold a lock against the other ranks; False where there is none. It is a folder's, so that no file is left."""
    try:
        opened = os.open(_LOCK_FOLDER, os.O_RDONLY) if job is not None else None
    except OSError:
        opened = None
    if opened is None:
        yield False
        return
    end, held = time.monotonic() + 2 * _PATIENCE, False
    try:
        while not held:
            try:
                fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
                held = True
            except OSError:
                if time.monotonic() > end:
                    break
                time.sleep(0.01)
        yield held
    finally:
        if held:
            fcntl.flock(opened, fcntl.LOCK_UN)  # also for a child that was forked meanwhile
        os.close(opened)


def _make(name: str, size: int) -> tuple[MemoryFile, ByteLocks]:
    locks = ByteLocks(name=f"{name} locks")
    memory = MemoryFile(size, name=f"{name} memory")
    _mark(memory)[0] = os.fstat(locks.fd).st_ino  # last: from now on others may open it
    return memory, locks


def _mark(memory: MemoryFile) -> memoryview:
    return memoryview(memory.map)[8 * _MARK : 8 * _MARK + 8].cast("q")


def _find(process: _Process, name: str) -> dict[str, str]:
    """Return the paths by which the memory and the locks of a name are opened: {"memory": path, "locks": path}."""
    found = {}
    with suppress(OSError):
        for path in Path(f"{_PROC}/{process.number}/fd").iterdir():
            with suppress(OSError):
                link = os.readlink(path)
                for kind in ("memory", "locks"):
                    if link == _link(name, kind):
                        found[kind] = str(path)
    return found if len(found) == 2 else {}


def _link(name: str, kind: str) -> str:
    return f"/memfd:{name} {kind} (deleted)"


def _open(process: _Process, name: str) -> tuple[MemoryFile, ByteLocks] | None:
    """Open the memory of another process, and its locks; None if it has none, or has ended."""
    if process.number == os.getpid():
        return None
    opened: dict[str, int] = {}
    for kind, path in _find(process, name).items():
        with suppress(OSError):
            opened[kind] = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    right = [os.readlink(f"{_PROC}/self/fd/{fd}") == _link(name, kind) for kind, fd in opened.items()]
    if right == [True, True]:
        memory = MemoryFile(os.fstat(opened["memory"]).st_size, opened["memory"])
        if _mark(memory)[0] == os.fstat(opened["locks"]).st_ino:
            return memory, ByteLocks(opened["locks"])
        del opened["memory"]
    for fd in opened.values():
        os.close(fd)
    return None
