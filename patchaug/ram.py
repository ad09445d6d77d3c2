"""How much memory decoded pixels may take: a budget said in words, in bytes."""

from __future__ import annotations

import re

from patchaug.errors import OptionError

_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_UNITS |= {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}


def budget(ram: int | str) -> int:
    """Bytes of a budget: "8GB", "512MiB", a number of bytes, or "auto" for half of the memory that is free now.

    Raises:
        OptionError: The text is no size, or the number is negative.
    """
    if ram == "auto":
        return _free_memory() // 2
    if isinstance(ram, str):
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", ram)
        if match and match[2].upper() in _UNITS:
            return int(float(match[1]) * _UNITS[match[2].upper()])
    elif isinstance(ram, int) and not isinstance(ram, bool) and ram >= 0:
        return ram
    raise OptionError(f'ram must be "auto", a number of bytes, or a size like "8GB", got {ram!r}')


def _free_memory() -> int:
    import psutil

    return int(psutil.virtual_memory().available)
