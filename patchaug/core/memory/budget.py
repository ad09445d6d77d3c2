"""How much memory decoded pixels may take: a budget said in words, in bytes."""

from __future__ import annotations

import re
from pathlib import Path

from patchaug.errors import OptionError

_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_UNITS |= {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}
_CGROUP = Path("/sys/fs/cgroup")  # what a container may use


def budget(ram: int | str, kept: int = 0) -> int:
    """Bytes of a budget: "8GB", "512MiB", a number of bytes, or "auto" for half of the memory that is free now.

    There is one memory for decoded pixels, of all slides and all worker processes. A slide keeps another tile, decoded
    once for all epochs, while all that is kept, by whichever slide, stays within its own budget; what finds no room is
    decoded at each use. So slides of one budget keep no more than that together, and of several no more than the
    largest. Memory of slides that are gone is given back when others need it.

    Args:
        ram: The budget in words.
        kept: Bytes that are kept under this budget already: for "auto" they count as free.

    Raises:
        OptionError: The text is no size, or the number is negative.
    """
    if ram == "auto":
        return (_free_memory() + kept) // 2
    if isinstance(ram, str):
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", ram)
        if match and match[2].upper() in _UNITS:
            return int(float(match[1]) * _UNITS[match[2].upper()])
    elif isinstance(ram, int) and not isinstance(ram, bool) and ram >= 0:
        return ram
    raise OptionError(f'ram must be "auto", a number of bytes, or a size like "8GB", got {ram!r}')


def most_memory() -> int:
    """Bytes that decoded pixels could take at the very most: the machine's memory, or this process's limit on it."""
    import psutil

    return min(int(psutil.virtual_memory().total), _address_space() // 2)


def _free_memory() -> int:
    import psutil

    free = min(int(psutil.virtual_memory().available), _address_space() // 2)
    try:
        limit, taken = (int((_CGROUP / f"memory.{name}").read_text()) for name in ("max", "current"))
    except (OSError, ValueError):  # no container, or one without a limit ("max")
        return free
    return max(min(free, limit - taken), 0)


def _address_space() -> int:
    """Limit on this process's address space in bytes (`ulimit -v`)."""
    try:
        import resource
    except ImportError:  # Windows
        return 1 << 62
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return 1 << 62 if limit == resource.RLIM_INFINITY else limit
