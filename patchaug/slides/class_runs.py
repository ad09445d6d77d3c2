"""The runs of all classes of a mask. Those of class 0 follow from the others, and are made where they are asked for.

Most of a mask is class 0, and its runs would take most of the memory, while hardly a plan asks where it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from patchaug.core.arrays import Array
from patchaug.slides.label_runs import BLOCK, STRIP, Read, RunLengthIndex

REST = 0
Runs = tuple[Array, Array, Array]


class ClassRuns(Mapping[int, RunLengthIndex]):
    """{class number: its pixels in the mask}, by rising number.

    Args:
        width: Columns of the mask.
        height: Rows of the mask.
        stored: The pixels of all classes but `REST`.
        read: Reads a part of the mask again.
    """

    def __init__(self, width: int, height: int, stored: Mapping[int, RunLengthIndex], read: Read) -> None:
        self.width, self.height, self.stored, self.read = width, height, dict(stored), read
        self._has_rest = sum(runs.pixels for runs in self.stored.values()) < width * height
        self._rest: RunLengthIndex | None = None

    def __getitem__(self, value: int) -> RunLengthIndex:
        if value == REST and self._has_rest:
            if self._rest is None:
                self._rest = complement(self.width, self.height, list(self.stored.values()), self.read)
            return self._rest
        return self.stored[value]

    def __contains__(self, value: object) -> bool:  # the default would make the runs
        return value in self.stored or (value == REST and self._has_rest)

    def __iter__(self) -> Iterator[int]:
        return iter(sorted({*self.stored, *([REST] if self._has_rest else [])}))

    def __len__(self) -> int:
        return len(self.stored) + self._has_rest

    def with_read(self, read: Read) -> ClassRuns:
        """Return the same runs, with another function that reads the mask."""
        stored = {value: replace(runs, read=read) for value, runs in self.stored.items()}
        return ClassRuns(self.width, self.height, stored, read)


def complement(width: int, height: int, others: list[RunLengthIndex], read: Read) -> RunLengthIndex:
    """Return the pixels of class `REST`: those of no other class.

    Where a block's runs of another class are not kept, those of `REST` are not kept either.
    """
    down = -(-height // BLOCK)
    deep = np.minimum(height - np.arange(down, dtype=np.int64) * BLOCK, BLOCK)
    parts: list[tuple[Array, ...]] = []
    for strip in range(-(-width // STRIP)):
        across = min(STRIP, width - strip * STRIP)
        taken, known, runs = _of_strip(others, strip, down)
        amounts = deep * across - taken
        blocks = np.flatnonzero(amounts > 0)
        rows, starts, lasts = _gaps(runs, height, across)
        keep = known[rows // BLOCK]
        rows, starts, lasts = rows[keep], starts[keep], lasts[keep]
        counts = np.bincount(rows // BLOCK, minlength=down)[blocks]
        parts.append((blocks + strip * down, amounts[blocks], counts, rows % BLOCK, starts, lasts))
    blocks, amounts, counts, rows, starts, lasts = (np.concatenate(column) for column in zip(*parts, strict=True))
    firsts = np.concatenate(([0], np.cumsum(counts)))
    rows, starts, lasts = (array.astype(np.uint8) for array in (rows, starts, lasts))
    blocks, amounts = blocks.astype(np.int32), amounts.astype(np.int32)
    return RunLengthIndex(REST, width, height, blocks, amounts, firsts, rows, starts, lasts, read)


def _of_strip(others: list[RunLengthIndex], strip: int, down: int) -> tuple[Array, Array, Runs]:
    """Return, for each block of a strip, pixels of other classes and whether all their runs are kept; and these runs.

    Returns:
        int64 (down,); bool (down,); rows in the mask, first and last columns in the strip.
    """
    taken, known = np.zeros(down, np.int64), np.ones(down, bool)
    found: list[Runs] = []
    for runs in others:
        low, high = (int(at) for at in runs.blocks.searchsorted((strip * down, (strip + 1) * down)))
        tops = runs.blocks[low:high].astype(np.int64) - strip * down
        taken[tops] += runs.amounts[low:high]
        counts = np.diff(runs.firsts[low : high + 1])
        known[tops[counts == 0]] = False
        part = slice(int(runs.firsts[low]), int(runs.firsts[high]))
        found.append((np.repeat(tops * BLOCK, counts) + runs.rows[part], runs.starts[part], runs.lasts[part]))
    if not found:
        nothing = np.empty(0, np.int64)
        return taken, known, (nothing, nothing, nothing)
    rows, starts, lasts = (np.concatenate(column).astype(np.int64) for column in zip(*found, strict=True))
    return taken, known, (rows, starts, lasts)


def _gaps(runs: Runs, height: int, across: int) -> tuple[Array, Array, Array]:
    """Return rows, first and last columns of what runs of a strip leave free, in reading order."""
    rows, starts, lasts = runs
    # A run behind the end of each row closes its last gap.
    rows = np.concatenate((rows, np.arange(height)))
    starts = np.concatenate((starts, np.full(height, across)))
    lasts = np.concatenate((lasts, np.full(height, across)))
    order = np.argsort(rows * (STRIP + 1) + starts, kind="stable")
    rows, starts, lasts = rows[order], starts[order], lasts[order]
    before = np.concatenate(([-1], lasts[:-1]))
    before[1:][rows[1:] != rows[:-1]] = -1
    free = starts > before + 1
    return rows[free], before[free] + 1, starts[free] - 1
