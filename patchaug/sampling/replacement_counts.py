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
        by_place: The slide of a window changes from epoch to epoch; each count is then of the slide that was replaced
            last there, so that `counts` must be called once an epoch at least, as loaders do.
    """

    def __init__(self, starts: list[int], *, by_place: bool = False) -> None:
        self._starts, self._by_place = starts, by_place
        self._counts = SharedArray(np.zeros(starts[-1], np.uint16))
        self._slides = SharedArray(np.zeros(starts[-1] if by_place else 0, np.uint32))
        self._known = np.zeros(starts[-1] if by_place else 0, np.uint16)  # counts that `_sums` holds
        self._sums = np.zeros(len(starts) - 1, np.int64)

    def __getstate__(self) -> dict[str, Any]:
        # Workers share the counts; every other copy starts at zero.
        names = self.__dict__ if is_starting_process() else ("_starts", "_by_place")
        return {name: self.__dict__[name] for name in names}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if "_counts" not in state:
            self.__init__(self._starts, by_place=self._by_place)  # type: ignore[misc]

    def add(self, place: int, slide: int) -> None:
        """Count a window, by its place in the unshuffled epoch, and its slide."""
        if self._by_place:
            self._slides.array(writeable=True)[place] = slide
        counts = self._counts.array(writeable=True)
        counts[place] = min(int(counts[place]) + 1, 0xFFFF)

    def counts(self) -> list[int]:
        """Count the replaced windows of each slide over all epochs."""
        counts = self._counts.array()
        if self._by_place:
            now = counts.copy()
            new = now - self._known
            np.add.at(self._sums, self._slides.array()[new > 0], new[new > 0])
            self._known = now
            return [int(number) for number in self._sums]
        return [int(counts[a:b].sum()) for a, b in zip(self._starts, self._starts[1:], strict=False)]
