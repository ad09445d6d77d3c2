"""Budget of this process for decoded pixels: that of the machine, or a part of it."""

from __future__ import annotations

from patchaug.core.memory.arena import arena, cached_bytes
from patchaug.core.memory.budget import budget
from patchaug.core.ranks import read_ranks


def room_for(ram: int | str) -> int:
    """Compute this process's budget for decoded pixels in bytes.

    Args:
        ram: The budget of the machine, see `patchaug.core.memory.budget.budget`. It is that of this process, too, if
            the ranks of this machine share an arena. Otherwise each rank has an equal part.

    Raises:
        OptionError: The text is not a size, the number is negative, or the variables of the ranks are wrong.

    Examples:
        >>> from patchaug.core.memory.room import room_for
        >>> room_for("8GB")
        8000000000
    """
    if not budget(ram):
        return 0
    found = arena()
    return budget(ram, cached_bytes()) // (read_ranks().local_world_size if found is None else found.parts)
