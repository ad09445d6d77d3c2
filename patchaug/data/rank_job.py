"""The ranks of one command: they meet before they read anything, one of them speaks, and all of them end together."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from patchaug.core.ranks import Ranks, read_ranks
from patchaug.data.process_group import value_of_first
from patchaug.errors import OptionError, PatchaugError

_LONG = timedelta(days=1)  # a rank waits as long as another one reads or writes; that one has ended is known at once
_EVERY, _GRACE = 0.5, 5.0  # seconds between looks at the others, and until a process that cannot end is ended
_LOST = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "NCCL", "gloo", "process group")


class RankJob:
    """This process among the ranks of a command.

    Args:
        ranks: Their number, and which one this is.
        store: A store of torch that all of them reach.
    """

    def __init__(self, ranks: Ranks, store: Any) -> None:
        self.ranks, self._store, self._told = ranks, store, False
        threading.Thread(target=self._watch, daemon=True).start()

    @property
    def failed(self) -> bool:
        """Whether a rank has reported an error."""
        return bool(self._store.check(["failed"]))

    def speaks(self) -> bool:
        """Report that this rank fails; return whether it is the first, which tells why."""
        self._told = True
        return int(self._store.add("failed", 1)) == 1

    def finish(self) -> None:
        """End together: wait for rank 0, which may still write results.

        Raises:
            SystemExit: A rank has failed, and has reported why.
        """
        if self.ranks.is_first:
            self._store.set("done", "1")
        while not self._store.check(["done"]):
            if self.failed:
                raise SystemExit(1)
            time.sleep(_EVERY)
        self._told = True
        self._store.add("left", 1)
        while self.ranks.is_first and self._store.add("left", 0) < self.ranks.world_size and not self.failed:
            time.sleep(_EVERY / 10)  # rank 0 may hold the store

    def _watch(self) -> None:
        """End this process some seconds after another one has failed, also where it waits for a GPU."""
        with suppress(dist.DistError, RuntimeError):
            while not self._told:
                if self._store.check(["failed"]):
                    time.sleep(_GRACE)
                    if not self._told:
                        os._exit(1)
                time.sleep(_EVERY)


@contextmanager
def rank_job() -> Iterator[RankJob | None]:
    """Let the ranks that torchrun has started meet, for the length of the context; None in a single process.

    Raises:
        OptionError: The environment does not say where the ranks meet.
    """
    ranks = read_ranks()
    if ranks.world_size == 1:
        yield None
        return
    if torch.cuda.is_available() and torch.cuda.device_count() >= ranks.local_world_size:
        torch.cuda.set_device(ranks.local_rank)
    try:
        store, _, _ = next(dist.rendezvous("env://", timeout=_LONG))
        # The agent of torchrun keeps one store for all of its starts, with the addresses of ended processes.
        start = f"patchaug/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}-{ranks.world_size}"
        store = dist.PrefixStore(start, store)
        dist.init_process_group(store=store, rank=ranks.rank, world_size=ranks.world_size, timeout=_LONG)
    except (ValueError, RuntimeError) as error:
        raise OptionError(
            f"this is rank {ranks.rank} of {ranks.world_size}, and the ranks do not meet "
            f"({' '.join(str(error).split())[:200]}); start them with torchrun"
        ) from None
    yield RankJob(ranks, dist.PrefixStore("job", store))
    dist.destroy_process_group()


def lost_rank(error: BaseException) -> bool:
    """Return whether an error says that another rank has ended."""
    if isinstance(error, PatchaugError) or not isinstance(error, RuntimeError):
        return False
    return isinstance(error, dist.DistError) or any(word in str(error) for word in _LOST)


def value_of_first_rank(value: Any) -> Any:
    """Return rank 0's value on all ranks; the value itself in a single process.

    Args:
        value: A picklable value.
    """
    return value_of_first(value) if dist.is_available() and dist.is_initialized() else value
