"""Where the pixels of each class are: runs along rows, in three bytes each.

The mask is cut into strips of 256 columns, and each strip into blocks of 64 rows. Within a block a run of one class is
three bytes: row, first column, last column. Blocks that lack the class take no room, and the runs of a strip lie one
after the other, so that the runs in a window's rows are one slice per strip.

Noise has a run every few pixels and would need more room than the mask itself. So a class may take `LIMIT` bytes per
pixel; beyond that, of the blocks richest in runs only the number of pixels is kept, and their runs are found again
from the mask where a draw needs them. What is drawn is the same.

Coordinates are those of the mask as it is read: `foreground.Labels` knows what they mean on the image's level.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np

from patchaug.core.arrays import Array
from patchaug.core.memory.shared_arrays import SharedArraysMixin
from patchaug.errors import ForegroundError

Read = Callable[[int, int, int, int], Array]  # x, y, width, height -> the mask's integers there

STRIP, BLOCK = 256, 64  # columns of a strip, rows of a block: never change, or the windows of old runs would move
LIMIT = 0.05  # bytes per pixel that the index of one class may take


class RunBatch(NamedTuple):
    """Runs of some rows, in no order that matters: int64 arrays of one length."""

    rows: Array
    starts: Array
    lasts: Array


@dataclass(frozen=True, eq=False)
class RunLengthIndex(SharedArraysMixin):
    """The pixels of one class.

    Attributes:
        value: The class.
        width, height: Size of the mask in its own pixels.
        blocks: Numbers of the blocks that hold the class, strip by strip, rising; int32.
        amounts: Pixels of the class in each of those; int32.
        firsts: Number of the first run in each of them, and the number of runs at the end; int64.
        rows, starts, lasts: The runs, counted from the corner of their block; uint8.
        read: Reads the mask again, for blocks whose runs are not kept.
    """

    value: int
    width: int
    height: int
    blocks: Array = field(repr=False)
    amounts: Array = field(repr=False)
    firsts: Array = field(repr=False)
    rows: Array = field(repr=False)
    starts: Array = field(repr=False)
    lasts: Array = field(repr=False)
    read: Read = field(repr=False)

    _down: int = field(init=False, repr=False)
    _gaps: bool = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_down", -(-self.height // BLOCK))  # blocks of a strip
        object.__setattr__(self, "_gaps", bool((np.diff(self.firsts) == 0).any()))  # some runs are not kept

    # Memoryviews: `bisect` and single elements are several times as fast on them as on arrays. No pickle holds them.
    @cached_property
    def blocks_view(self) -> memoryview:
        """`blocks` as a memoryview."""
        return self.blocks.data

    @cached_property
    def firsts_view(self) -> memoryview:
        """`firsts` as a memoryview."""
        return self.firsts.data

    @cached_property
    def rows_view(self) -> memoryview:
        """`rows` as a memoryview."""
        return self.rows.data

    @property
    def pixels(self) -> int:
        """Number of pixels of the class, in the mask's own pixels."""
        return int(self.amounts.sum(dtype=np.int64))

    @property
    def nbytes(self) -> int:
        """Size of the index in bytes."""
        return sum(array.nbytes for array in (self.blocks, self.amounts, self.firsts, self.rows)) + 2 * self.rows.nbytes

    def corner(self, number: int) -> tuple[int, int]:
        """Return (x, y) of the first pixel of block `number` in `blocks`."""
        strip, row = divmod(self.blocks_view[number], self._down)
        return strip * STRIP, row * BLOCK

    def block(self, number: int) -> tuple[Array, Array, Array]:
        """Return rows, first and last columns of a block's runs, uint8, counted from its corner, in reading order."""
        first, last = self.firsts_view[number : number + 2]
        if first < last:
            return self.rows[first:last], self.starts[first:last], self.lasts[first:last]
        x, y = self.corner(number)
        cells = self.read(x, y, min(STRIP, self.width - x), min(BLOCK, self.height - y))
        ours = np.zeros((cells.shape[0], cells.shape[1] + 2), np.int8)
        ours[:, 1:-1] = cells == self.value
        edges = np.diff(ours, axis=1)
        rows, starts = np.nonzero(edges == 1)
        lasts = np.nonzero(edges == -1)[1] - 1
        if int((lasts - starts + 1).sum()) != self.amounts[number]:
            raise ForegroundError(
                f"the mask changed since it was indexed: class {self.value} around x={x} y={y} had "
                f"{self.amounts[number]} px; open the slide again"
            )
        return rows.astype(np.uint8), starts.astype(np.uint8), lasts.astype(np.uint8)

    def count(self, x: int, y: int, right: int, bottom: int) -> int:
        """Count the class's pixels with x <= column < right and y <= row < bottom."""
        total = 0
        for strip, low, high, first, last in self._spans(x, y, right, bottom):
            left, end = max(x - strip * STRIP, 0), min(right - strip * STRIP, STRIP)
            if first < last:
                total += _pixels(self.starts[first:last], self.lasts[first:last], left, end)
            if self._gaps:
                for number in self._dropped(np.arange(low, high)):
                    rows, starts, lasts = self.block(number)
                    top = self.corner(number)[1]
                    inside = slice(*rows.searchsorted((max(y - top, 0), bottom - top)))
                    total += _pixels(starts[inside], lasts[inside], left, end)
        return total

    def stretches(self, x: int, y: int, right: int, bottom: int) -> RunBatch:
        """Return the whole runs, in rows y..bottom-1, of all strips that columns x..right-1 touch."""
        spans = list(self._spans(x, y, right, bottom))
        numbers = np.concatenate([np.arange(low, high) for _, low, high, _, _ in spans])
        of_strip = np.repeat(np.arange(len(spans)), [high - low for _, low, high, _, _ in spans])
        first_runs, last_runs = (np.array([span[k] for span in spans])[of_strip] for k in (3, 4))
        begin = np.maximum(self.firsts[numbers], first_runs)
        counts = np.maximum(np.minimum(self.firsts[numbers + 1], last_runs) - begin, 0)
        take = np.arange(counts.sum()) + np.repeat(begin - (np.cumsum(counts) - counts), counts)
        strips, tops = np.divmod(self.blocks[numbers].astype(np.int64), self._down)
        lefts = np.repeat(strips * STRIP, counts)
        rows = np.repeat(tops * BLOCK, counts) + self.rows[take]
        found = [(rows, lefts + self.starts[take], lefts + self.lasts[take])]
        if self._gaps:
            for number in self._dropped(numbers):
                left, top = self.corner(number)
                rows, starts, lasts = (part.astype(np.int64) for part in self.block(number))
                inside = (rows + top >= y) & (rows + top < bottom)
                found.append((rows[inside] + top, starts[inside] + left, lasts[inside] + left))
        return RunBatch(*(np.concatenate(column) for column in zip(*found, strict=True)))

    def columns_within(self, x: int, y: int, right: int, bottom: int) -> tuple[Array, Array]:
        """Return first and last columns of the runs of `stretches`, from the left of the strip of column x; int64."""
        corner = x // STRIP * STRIP
        if self._gaps:
            found = self.stretches(x, y, right, bottom)
            return found.starts - corner, found.lasts - corner
        spans = list(self._spans(x, y, right, bottom))
        parts = [slice(first, last) for _, _, _, first, last in spans]
        lefts = np.arange(0, len(parts) * STRIP, STRIP).repeat([part.stop - part.start for part in parts])
        starts, lasts = (np.concatenate([of_all[part] for part in parts]) for of_all in (self.starts, self.lasts))
        return starts + lefts, lasts + lefts

    def first(self) -> tuple[int, int]:
        """Return (x, y) of the first pixel in reading order."""
        tops = self.blocks % self._down
        found = []
        for number in np.flatnonzero(tops == tops.min()).tolist():
            rows, starts, _ = self.block(number)
            x, y = self.corner(number)
            found.append((y + int(rows[0]), x + int(starts[0])))
        y, x = min(found)
        return x, y

    def _dropped(self, numbers: Array) -> list[int]:
        """Those of some blocks whose runs are not kept."""
        return list(numbers[self.firsts[numbers] == self.firsts[numbers + 1]].tolist())

    def _spans(self, x: int, y: int, right: int, bottom: int) -> Iterator[tuple[int, int, int, int, int]]:
        """For each strip of a rectangle: the strip, its blocks low..high-1 there, its runs first..last-1 there."""
        blocks, firsts, rows = self.blocks_view, self.firsts_view, self.rows_view
        (above, skipped), (below, taken) = divmod(y, BLOCK), divmod(bottom, BLOCK)
        for strip in range(x // STRIP, (right - 1) // STRIP + 1):
            top, end = strip * self._down + above, strip * self._down + below
            low = bisect_left(blocks, top)
            high = bisect_left(blocks, end, low)
            first, last = firsts[low], firsts[high]
            if skipped and low < len(blocks) and blocks[low] == top:
                first = bisect_left(rows, skipped, first, firsts[low + 1])
            if taken and high < len(blocks) and blocks[high] == end:
                last = bisect_left(rows, taken, last, firsts[high + 1])
                high += 1
            yield strip, low, high, first, last


def _pixels(starts: Array, lasts: Array, left: int, end: int) -> int:
    """Pixels of runs of one strip between columns left..end-1; uint8."""
    if left == 0 and end == STRIP:
        return int(np.add.reduce(lasts - starts, dtype=np.int64)) + len(starts)
    if left:  # a run that ends to the left of it becomes one of no pixels
        starts, lasts = np.maximum(starts, left), np.maximum(lasts, left - 1)
    if end < STRIP:
        starts, lasts = np.minimum(starts, end), np.minimum(lasts, end - 1)
    # No run is longer than 255 here, so the byte that wraps at 0 - 1 + 1 is right again.
    return int(np.add.reduce(lasts - starts + np.uint8(1), dtype=np.int64))
