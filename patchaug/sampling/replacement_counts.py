"""Count the replacements of unreadable windows in memory that worker processes share."""

from __future__ import annotations

from typing import Any

import numpy as np

from patchaug.core.memory.anonymous import is_starting_process
from patchaug.core.memory.shared_arrays import SharedArray


class ReplacementCounts:
    """A uint16 count for each window of an epoch, in anonymous shared memory.

    There is no lock, which a killed worker could hold: one process at a time reads a window, so no count is lost.

    Args:
        starts: First window of each slide in an epoch, then the number of windows.
    """

    def __init__(self, starts: list[int]) -> None:
        self._starts = starts
        self._counts = SharedArray(np.zeros(starts[-1], np.uint16))

    def __getstate__(self) -> dict[str, Any]:
        # Workers share the counts; every other copy starts at zero.
        return self.__dict__ if is_starting_process() else {"_starts": self._starts}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if "_counts" not in state:
            self.__init__(self._starts)  # type: ignore[misc]

    def add(self, place: int) -> None:
        """Count a window, by its place in the unshuffled epoch."""
        counts = self._counts.array(writeable=True)
        counts[place] = min(int(counts[place]) + 1, 0xFFFF)

    def counts(self) -> list[int]:
        """Count the replaced windows of each slide over all epochs."""
        counts = self._counts.array()
        return [int(counts[a:b].sum()) for a, b in zip(self._starts, self._starts[1:], strict=False)]
