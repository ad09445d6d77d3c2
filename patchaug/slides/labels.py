"""The labels of one level of a slide: how many pixels of a class a window holds, and where they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from patchaug.core.arrays import Array
from patchaug.core.memory.shared_arrays import SharedArraysMixin
from patchaug.slides.class_runs import REST, ClassRuns
from patchaug.slides.label_runs import BLOCK, STRIP, RunLengthIndex

_RUNS = 1 << 20  # that are weighed at a time


@dataclass(frozen=True, eq=False)
class Labels(SharedArraysMixin):
    """All labels of a mask, seen on one level of the image.

    Attributes:
        width, height: Size of the level in pixels.
        columns: First column of the level over each column of the mask as it was indexed, and `width` at the end;
            None where the two are the same, pixel by pixel.
        lines: The same for rows, and `height` at the end.
        runs: {class number: its pixels in the mask}.
    """

    width: int
    height: int
    columns: Array | None = field(repr=False)
    lines: Array | None = field(repr=False)
    runs: Mapping[int, RunLengthIndex] = field(repr=False)

    def count(self, value: int, x: int, y: int, width: int, height: int) -> int:
        """Count a class's pixels in a window of the level."""
        runs = self.runs[value]
        if self.columns is None or self.lines is None:
            return runs.count(x, y, x + width, y + height)
        left, across = _shares(self.columns, x, width)
        top, down = _shares(self.lines, y, height)
        right = left + len(across)
        rows, starts, lasts = runs.stretches(left, top, right, top + len(down))
        below = np.concatenate(([0], np.cumsum(across)))
        widths = below[np.clip(lasts + 1, left, right) - left] - below[np.clip(starts, left, right) - left]
        return int((widths * down[rows - top]).sum())

    def count_within(self, value: int, bounds: tuple[int, int, int, int]) -> int:
        """Count a class's pixels within left, top, right and bottom; 0 for a class that the level does not hold."""
        left, top, right, bottom = bounds
        if value not in self.runs or left >= right or top >= bottom:
            return 0
        if bounds == (0, 0, self.width, self.height):
            return self.pixels(value)
        return self.count(value, left, top, right - left, bottom - top)

    def pixels(self, value: int) -> int:
        """Count a class's pixels on the level."""
        columns = np.arange(self.width + 1) if self.columns is None else self.columns
        lines = np.arange(self.height + 1) if self.lines is None else self.lines
        if isinstance(self.runs, ClassRuns) and value == REST and value in self.runs:
            others = sum(self.pixels(other) for other in self.runs.stored)
            return int(columns[-1] - columns[0]) * int(lines[-1] - lines[0]) - others
        return int(block_weights(self.runs[value], columns, lines).sum())

    def first(self, value: int) -> tuple[int, int]:
        """Return (x, y) of a class's first pixel on the level, in reading order."""
        x, y = self.runs[value].first()
        return (x if self.columns is None else int(self.columns[x])), (y if self.lines is None else int(self.lines[y]))


class Region(Protocol):
    """Pixels of a slide, on each of its levels; `patchaug.slides.regions` makes them."""

    def outside(self, slide: Any, level: int) -> tuple[Labels, int]:
        """Return an index of a level, and the number in it of the pixels outside."""


def _shares(edges: Array, start: int, length: int) -> tuple[int, Array]:
    """The first mask pixel under start..start+length-1; how many of these it, and each that follows, lies under."""
    first = int(edges.searchsorted(start, side="right")) - 1
    end = int(edges.searchsorted(start + length, side="left"))
    return first, np.diff(np.clip(edges[first : end + 1], start, start + length))


def block_weights(runs: RunLengthIndex, columns: Array, lines: Array) -> Array:
    """Sum column weight times row weight over the pixels of each block that holds the class; int64.

    Args:
        runs: The pixels of the class.
        columns: Sums of the weights of all columns before each, and of all; int64, (width + 1,).
        lines: The same for rows, (height + 1,).
    """
    strips, tops = np.divmod(runs.blocks.astype(np.int64), -(-runs.height // BLOCK))
    across, down = _common_weights(columns, STRIP)[strips], _common_weights(lines, BLOCK)[tops]
    weights = runs.amounts * across * down
    left = np.flatnonzero((across < 0) | (down < 0))  # not inside: their runs count
    counts = runs.firsts[left + 1] - runs.firsts[left]
    running = np.cumsum(counts)
    low = 0
    while low < len(left):  # some blocks at a time: their runs take eight times their memory here
        done = int(running[low - 1]) if low else 0
        high = min(max(int(running.searchsorted(done + _RUNS, side="right")), low + 1), len(left))
        numbers, of_each = left[low:high], counts[low:high]
        ends = running[low:high] - done
        take = np.arange(ends[-1]) + np.repeat(runs.firsts[numbers] - (ends - of_each), of_each)
        rows = np.repeat(tops[numbers] * BLOCK, of_each) + runs.rows[take]
        lefts = np.repeat(strips[numbers] * STRIP, of_each)
        widths = columns[lefts + runs.lasts[take] + 1] - columns[lefts + runs.starts[take]]
        sums = np.concatenate(([0], np.cumsum(widths * (lines[rows + 1] - lines[rows]))))
        weights[numbers] = sums[ends] - sums[ends - of_each]
        for number in numbers[of_each == 0].tolist():
            weights[number] = _weight(runs, number, columns, lines)
        low = high
    return weights


def _common_weights(below: Array, side: int) -> Array:
    """Return the weight of the columns of each strip, or the rows of each block; -1 where they differ; int64."""
    weights = np.diff(below)
    starts = np.arange(0, len(weights), side)
    lowest, highest = np.minimum.reduceat(weights, starts), np.maximum.reduceat(weights, starts)
    return np.where(lowest == highest, lowest, -1)


def _weight(runs: RunLengthIndex, number: int, columns: Array, lines: Array) -> int:
    """The weight of a block whose runs are not kept."""
    x, y = runs.corner(number)
    widths, heights = np.diff(columns[x : x + STRIP + 1]), np.diff(lines[y : y + BLOCK + 1])
    rows, starts, lasts = runs.block(number)
    below = np.concatenate(([0], np.cumsum(widths)))
    return int(((below[1:][lasts] - below[starts]) * heights[rows]).sum())
