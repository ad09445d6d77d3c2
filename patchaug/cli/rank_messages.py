"""One voice for the ranks of a job: rank 0 prints, and another one where it alone has failed."""

from __future__ import annotations

import time

from patchaug.core.ranks import read_ranks
from patchaug.errors import OptionError

_PATIENCE = 3.0  # seconds until torchrun has ended this process, where rank 0 has failed as well


def is_first() -> bool:
    """Return whether this process prints for all; also where the variables of the ranks are wrong."""
    try:
        return read_ranks().is_first
    except OptionError:
        return True


def name_of_rank() -> str:
    """Return how a message of an error begins.

    A rank that has failed waits for a moment: if rank 0 has failed too, the one who started them ends this process.
    """
    if is_first():
        return "patchaug"
    time.sleep(_PATIENCE)
    return f"patchaug, rank {read_ranks().rank}"
