"""Compute how many bytes of memory decoded pixels may take."""

from __future__ import annotations

import re
from pathlib import Path

from patchaug.core.arguments import names_arguments
from patchaug.errors import OptionError

_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_UNITS |= {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}
_CGROUP = Path("/sys/fs/cgroup")  # limits of the container


@names_arguments
def budget(ram: int | str, cached: int = 0) -> int:
    """Compute the budget for decoded tiles in bytes.

    All slides and worker processes share one cache of decoded tiles. A slide adds a tile while the whole cache stays
    within that slide's own budget. A tile without room is decoded at each use. Slides with one budget therefore cache
    no more than that together, and slides with several budgets no more than the largest. Memory of deleted slides is
    freed when other slides need it.

    Args:
        ram: A size like "8GB" or "512MiB", a number of bytes, or "auto" for half of the memory that is free now.
        cached: Bytes in the cache already; for "auto" they count as free.

    Returns:
        The budget in bytes.

    Raises:
        OptionError: The text is not a size, or the number is negative.

    Examples:
        >>> budget("8GB"), budget("1.5 KiB"), budget(10_000)
        (8000000000, 1536, 10000)
    """
    if ram == "auto":
        return (_free_memory() + cached) // 2
    if isinstance(ram, str):
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", ram)
        if match and match[2].upper() in _UNITS:
            return int(float(match[1]) * _UNITS[match[2].upper()])
    elif isinstance(ram, int) and not isinstance(ram, bool) and ram >= 0:
        return ram
    raise OptionError(f'ram must be "auto", a number of bytes, or a size like "8GB", got {ram!r}')


def most_memory() -> int:
    """Return the upper limit of any budget in bytes: the machine's memory, or half of the free address space."""
    import psutil

    return min(int(psutil.virtual_memory().total), _address_space() // 2)


def _free_memory() -> int:
    import psutil

    free = min(int(psutil.virtual_memory().available), _address_space() // 2)
    try:
        limit, used = (int((_CGROUP / f"memory.{name}").read_text()) for name in ("max", "current"))
    except (OSError, ValueError):  # not in a container, or in one without a limit ("max")
        return free
    return max(min(free, limit - used), 0)


def _address_space() -> int:
    """Return the bytes that this process may still map (`ulimit -v`, less what is mapped already)."""
    try:
        import resource
    except ImportError:  # Windows
        return 1 << 62
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY:
        return 1 << 62
    import psutil

    return max(limit - int(psutil.Process().memory_info().vms), 0)
