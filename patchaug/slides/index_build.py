"""Build indexes of labels: in this process where the work is small, else in several."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from multiprocessing import parent_process
from typing import Literal

from patchaug.core.process_pool import DoHere, ProcessPool, TryLater, available_cores, message_of
from patchaug.core.progress import progress
from patchaug.core.validation import checked_integer
from patchaug.errors import OptionError, PatchaugError, ReadError
from patchaug.slides.index_bytes import encode_index
from patchaug.slides.index_cache import IndexCache, current_cache, labels_of
from patchaug.slides.index_tasks import IndexTask, key_of
from patchaug.slides.labels import Labels

Workers = int | Literal["auto"]
Result = Labels | PatchaugError
TRIAL = 1 << 28  # pixels of an index from which processes are started without a trial
WORTH = 1.5  # seconds of work for one process from which more are started: two are ready after half a second
_TRIAL_SECONDS = 0.1
_NO_KEY = "0" * 32
_caches: dict[str, IndexCache] = {}  # of a process of the pool, by folder


def checked_workers(workers: object) -> Workers:
    """Return a number of processes, or "auto".

    Raises:
        OptionError: It is neither a whole number of at least 1 nor "auto".
    """
    if workers == "auto":
        return "auto"
    if isinstance(workers, str):
        raise OptionError(f'index_workers must be a number of processes or "auto", got {workers!r}')
    return checked_integer("index_workers", workers, 1)


def build_indexes(tasks: Sequence[IndexTask], *, workers: Workers = "auto") -> list[Result]:
    """Build indexes of labels, or take them from the current cache.

    Args:
        tasks: What to build.
        workers: Number of processes; "auto": one for each core that this program may use, and none besides this one
            where it would be done within `WORTH` seconds, by the pace of the smallest tasks. The ranks of a machine
            share its cores.

    Returns:
        For each task its index, or the error that building it ended in.
    """
    results: list[Result | None] = [None] * len(tasks)
    keys: list[str | None] = [None] * len(tasks)
    cache = current_cache()
    if cache is not None:
        for number, task in enumerate(tasks):
            try:
                keys[number] = key = key_of(task)
                results[number] = None if key is None else cache.find(task, key)
            except PatchaugError as error:
                results[number] = error
    left = sorted((n for n, one in enumerate(results) if one is None), key=lambda n: -tasks[n].pixels)

    def build_here(number: int) -> None:
        try:
            results[number] = tasks[number]() if cache is None else cache.fetch(tasks[number])
        except PatchaugError as error:
            results[number] = error

    processes = _processes(workers, len(left))
    if workers == "auto" and processes > 1 and not _is_worth_it(tasks, left, build_here):
        processes = 1
    there = {n: data for n in left if (data := _message(tasks[n], keys[n], cache)) is not None} if processes > 1 else {}
    here = [number for number in left if number not in there]
    with ProcessPool(min(processes, len(there)), "lower index_workers, or set it to 1") as pool:
        done = pool.run(there, lambda number: tasks[number].slide)
        for number, result in progress(done, len(there), "indexing labels"):
            if isinstance(result, bytes):
                task = tasks[number]
                damaged = ReadError(f"{task.slide}: its index was damaged on the way from another process; try again")
                results[number] = labels_of(result, task, keys[number] or _NO_KEY) or damaged
            elif isinstance(result, DoHere):
                here.append(number)
            else:
                results[number] = result
    for number in progress(here, len(here), "indexing labels"):
        build_here(number)
    return [one for one in results if one is not None]


def _processes(workers: Workers, tasks: int) -> int:
    """Return how many processes to start at most; 1 for this one alone."""
    if tasks < 2 or not sys.executable or (workers == "auto" and parent_process() is not None):
        return 1
    return min(available_cores() if workers == "auto" else workers, tasks)


def _is_worth_it(tasks: Sequence[IndexTask], left: list[int], build_here: Callable[[int], None]) -> bool:
    """Return whether processes would save time; the smallest tasks are done on trial, and taken from `left`."""
    began, seconds, done = time.perf_counter(), 0.0, 0
    while len(left) > 1 and seconds < _TRIAL_SECONDS:
        if not done and tasks[left[-1]].pixels >= TRIAL:
            return True
        number = left.pop()
        build_here(number)
        done += tasks[number].pixels
        seconds = time.perf_counter() - began
    return len(left) > 1 and seconds / max(done, 1) * sum(tasks[number].pixels for number in left) > WORTH


def _message(task: IndexTask, key: str | None, cache: IndexCache | None) -> bytes | None:
    """Return the task for another process; None where it must be done here."""
    other = task.for_other_process()
    return None if other is None else message_of(_built, other, key, None if cache is None else str(cache.folder))


def _built(task: IndexTask, key: str | None, folder: str | None) -> bytes | TryLater:
    """Build an index in a process of the pool, keep it in the cache, and return its bytes."""
    if key is None or folder is None:
        return encode_index(key or _NO_KEY, task(), task.facts())
    cache = _caches.get(folder)
    if cache is None:
        cache = _caches[folder] = IndexCache(folder)
    with cache.building(key) as mine:
        if not mine:
            return TryLater()
        if cache.find(task, key) is not None:  # another program was faster
            return cache.path_of(key).read_bytes()
        data = encode_index(key, task(), task.facts())
        cache.store(key, data)
        return data
