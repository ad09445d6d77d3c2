"""Tiles that lie side by side in a file, read by one call of the system."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from patchaug.core.arrays import Array
from patchaug.errors import PatchaugError

_COPY, _VIEW = 32 << 10, 64 << 10  # bytes of a tile: for larger ones, a call for each costs little
_ALL = 1 << 20  # bytes that are read together
_GAP = 64  # bytes between two tiles; GDAL writes 8, the size before and the last bytes after each tile


class Readable(Protocol):
    """What reads bytes at an offset."""

    def read(self, offset: int, count: int) -> bytes:
        """Read bytes, fewer at the end."""
        ...


def read_adjacent(
    opened: Callable[[], Readable], offsets: Array, counts: Array, numbers: Sequence[int], size: int,
    views: bool,
) -> dict[int, bytes | memoryview]:  # fmt: skip
    """Read tiles that lie side by side; others are left for reads of their own, which say what is wrong.

    Args:
        opened: Returns the open file.
        offsets: Offset of each tile in bytes, integers (tiles,).
        counts: Bytes of each tile.
        numbers: Tiles to read.
        size: Bytes of the file.
        views: Whether views of what was read will do; else each tile is copied.

    Returns:
        The bytes of those that were read, by number.
    """
    found: dict[int, bytes | memoryview] = {}
    most = _VIEW if views else _COPY
    span: list[tuple[int, int, int]] = []
    for number, begin, length in zip(numbers, offsets[numbers].tolist(), counts[numbers].tolist(), strict=True):
        end = begin + length
        if span and not (0 <= begin - span[-1][1] <= _GAP and end - span[0][0] <= _ALL):
            _read(opened, span, found, views)
            span = []
        if 0 < length <= most and end <= size:
            span.append((begin, end, number))
    _read(opened, span, found, views)
    return found


def _read(
    opened: Callable[[], Readable], span: list[tuple[int, int, int]], found: dict[int, bytes | memoryview], views: bool
) -> None:
    if len(span) < 2:
        return
    start, stop = span[0][0], span[-1][1]
    try:
        data = opened().read(start, stop - start)
    except PatchaugError:  # the read of each tile raises it with its place
        return
    if len(data) == stop - start:
        source = memoryview(data) if views else data
        for begin, end, number in span:
            found[number] = source[begin - start : end - start]
