"""Read from the environment which of several processes of one job this is, as `torchrun` and `accelerate` set it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple

from patchaug.errors import OptionError


class Ranks(NamedTuple):
    """Position of this process in its job.

    Attributes:
        rank: Number of this process in the job, from 0.
        world_size: Processes of the job, on all machines.
        local_rank: Number of this process on its machine, from 0.
        local_world_size: Processes of the job on this machine.

    Examples:
        >>> from patchaug.core.ranks import Ranks
        >>> Ranks(rank=5, world_size=8, local_rank=1, local_world_size=4).is_first
        False
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_world_size: int = 1

    @property
    def is_first(self) -> bool:
        """Return whether this process writes and prints for all of them."""
        return self.rank == 0


def read_ranks(environ: Mapping[str, str] | None = None) -> Ranks:
    """Read RANK, WORLD_SIZE, LOCAL_RANK and LOCAL_WORLD_SIZE; one process of one where they are not set.

    A LOCAL_ variable that is not set has the value of the other one: all processes are of this machine. The values are
    read at each call, since a job may set them after the import.

    Args:
        environ: Variables; None for those of this process.

    Raises:
        OptionError: A variable is no number, is out of its limits, or RANK comes without WORLD_SIZE.

    Examples:
        >>> from patchaug.core.ranks import read_ranks
        >>> read_ranks({"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"})
        Ranks(rank=5, world_size=8, local_rank=1, local_world_size=4)
        >>> read_ranks({})
        Ranks(rank=0, world_size=1, local_rank=0, local_world_size=1)
    """
    values = os.environ if environ is None else environ
    rank, world_size = (0, 1)
    if values.get("WORLD_SIZE") and values.get("RANK"):
        rank, world_size = _integer(values, "RANK", 0), _integer(values, "WORLD_SIZE", 1)
    elif values.get("RANK", "0") not in ("", "0"):
        raise OptionError(f"RANK={values['RANK']} is set without WORLD_SIZE; set both, or start with torchrun")
    local_rank = _integer(values, "LOCAL_RANK", 0) if values.get("LOCAL_RANK") else rank
    local_world_size = _integer(values, "LOCAL_WORLD_SIZE", 1) if values.get("LOCAL_WORLD_SIZE") else world_size
    for start, number, count in (("", rank, world_size), ("LOCAL_", local_rank, local_world_size)):
        if number >= count:
            raise OptionError(
                f"{start}RANK={number} must be below {start}WORLD_SIZE={count}; set both as torchrun does, or unset "
                f"both for a single process"
            )
    return Ranks(rank, world_size, local_rank, local_world_size)


def _integer(values: Mapping[str, str], name: str, least: int) -> int:
    text = values[name].strip()
    if not (text.isascii() and text.isdigit() and int(text) >= least):
        raise OptionError(f"the variable {name} must be an integer of at least {least}, got {values[name]!r}")
    return int(text)
