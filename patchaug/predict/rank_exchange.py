"""Exchange results between the ranks of a job, which may take hours from each other."""

from __future__ import annotations

import math
import pickle
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from typing import Any, TypeVar

import torch.distributed as dist

from patchaug.core.messages import print_message
from patchaug.core.ranks import Ranks, read_ranks
from patchaug.errors import PatchaugError

_calls = count()  # every rank counts alike
_EVERY = 0.1  # seconds between looks at the store
_PATIENCE = 60.0  # seconds until a rank says that it waits

T = TypeVar("T")


class RankExchange:
    """Values of all ranks, through a store of torch; no process group of a backend with limits on time.

    Args:
        store: The store.
        ranks: Those of this process.
        calls: Numbers of the exchanges, the same on each rank.
    """

    def __init__(self, store: Any, ranks: Ranks, calls: Iterator[int] = _calls) -> None:
        self._store, self.ranks, self._calls = store, ranks, calls

    def together(self, work: Callable[[], T]) -> list[T]:
        """Return what a function returns on each rank, in order.

        Raises:
            Exception: That of the function, at once on its own rank, and on the others when they have done their part.
        """
        name = f"patchaug/{next(self._calls)}"
        try:
            value = work()
        except Exception as error:
            with suppress(dist.DistError):
                self._store.set(f"{name}/{self.ranks.rank}", pickle.dumps((None, sendable(error))))
            raise
        every = self._gather(name, (value, None))
        for _, failed in every:
            if failed is not None:
                raise failed
        return [one for one, _ in every]

    def _gather(self, name: str, value: Any) -> list[Any]:
        keys = [f"{name}/{rank}" for rank in range(self.ranks.world_size)]
        try:
            self._store.set(keys[self.ranks.rank], pickle.dumps(value))
            report_at = time.monotonic() + _PATIENCE
            while not self._store.check(keys):
                time.sleep(_EVERY)
                if time.monotonic() > report_at:
                    report_at = math.inf
                    late = [str(rank) for rank, key in enumerate(keys) if not self._store.check([key])]
                    print_message(
                        f"rank {self.ranks.rank} has done its part, and waits for rank {', '.join(late[:9])}; each "
                        f"rank must call the same function"
                    )
            values = [pickle.loads(self._store.get(key)) for key in keys]
            self._store.add(f"{name}/read", 1)
            # The rank that holds the store may end after this call.
            ended = sum(error is not None for _, error in values)
            while self.ranks.is_first and self._store.add(f"{name}/read", 0) < self.ranks.world_size - ended:
                time.sleep(_EVERY)
        except dist.DistError as error:
            raise PatchaugError(
                f"another process of this job has ended ({' '.join(str(error).split())[:200]})"
            ) from None
        return values


def sendable(error: Exception) -> Exception:
    """Return an error that another process can raise: itself, or its text."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return PatchaugError(f"{type(error).__name__}: {error}")
    return error


def group_exchange() -> RankExchange | None:
    """Return the exchange of torch's process group; None where there is none, or it has one process."""
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return None
    local = read_ranks()
    ranks = Ranks(dist.get_rank(), dist.get_world_size(), local.local_rank, local.local_world_size)
    return RankExchange(dist.distributed_c10d._get_default_store(), ranks)
