"""`Shard`: one of several equal parts of a job, each done by a process of its own."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from patchaug.core.ranks import Ranks
from patchaug.errors import OptionError


@dataclass(frozen=True)
class Shard:
    """One of several parts of a job.

    Attributes:
        number: Number of the part, from 0.
        count: Number of parts.

    Examples:
        >>> from patchaug.core.shards import Shard
        >>> str(Shard(1, 4)), list(Shard(1, 4).slides(10)), list(Shard(1, 4).bands(10))
        ('1/4', [1, 5, 9], [2, 3, 4])
    """

    number: int = 0
    count: int = 1

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def slides(self, total: int) -> range:
        """Return the numbers of the slides of this part: every n-th one."""
        return range(self.number, total, self.count)

    def bands(self, total: int) -> range:
        """Return the numbers of the bands of a shared slide, neighbours of each other; none where there are too few."""
        return range(total * self.number // self.count, total * (self.number + 1) // self.count)

    def of_rank(self, ranks: Ranks) -> Shard:
        """Return the part of this part that one of several processes does."""
        return Shard(self.number * ranks.world_size + ranks.rank, self.count * ranks.world_size)


def checked_shard(shard: Any) -> Shard:
    """Return a shard that is written as "0/4", or as a pair of integers; None is the whole job.

    Raises:
        OptionError: It is neither, or the number is not below the count.

    Examples:
        >>> from patchaug.core.shards import checked_shard
        >>> checked_shard("3/4"), checked_shard(None)
        (Shard(number=3, count=4), Shard(number=0, count=1))
    """
    if shard is None:
        return Shard()
    found = re.fullmatch(r"\s*(\d+)\s*/\s*(\d+)\s*", shard, re.ASCII) if isinstance(shard, str) else None
    pair = found.groups() if found else shard
    if isinstance(pair, (tuple, list)) and len(pair) == 2 and (found or all(type(one) is int for one in pair)):
        number, count = int(pair[0]), int(pair[1])
        if 0 <= number < count:
            return Shard(number, count)
        raise OptionError(
            f"shard {number}/{count} does not exist: {count} shards are 0/{count} to {count - 1}/{count}"
            if count > 0
            else f"shard {number}/{count}: the number of shards must be at least 1, such as 0/1"
        )
    raise OptionError(f'shard must be a number and the number of shards, such as "0/4", got {shard!r}')
