"""Tiles that lie side by side in a file, read by one call of the system."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from patchaug.core.arrays import Array
from patchaug.errors import PatchaugError

_TILE = 32 << 10  # bytes: copying larger tiles out of what was read costs more than a call for each
_ALL = 1 << 20  # bytes that are read together
_GAP = 64  # bytes between two tiles; GDAL writes 8, the size before and the last bytes after each tile


class Readable(Protocol):
    """What reads bytes at an offset."""

    def read(self, offset: int, count: int) -> bytes:
        """Read bytes, fewer at the end."""
        ...


def read_adjacent(
    opened: Callable[[], Readable], offsets: Array, counts: Array, numbers: Sequence[int], size: int
) -> dict[int, bytes]:
    """Read tiles that lie side by side; others are left for reads of their own, which say what is wrong.

    Args:
        opened: Returns the open file.
        offsets: Offset of each tile in bytes, integers (tiles,).
        counts: Bytes of each tile.
        numbers: Tiles to read.
        size: Bytes of the file.

    Returns:
        The bytes of those that were read, by number.
    """
    found: dict[int, bytes] = {}
    span: list[tuple[int, int, int]] = []
    for number, begin, length in zip(numbers, offsets[numbers].tolist(), counts[numbers].tolist(), strict=True):
        end = begin + length
        if span and not (0 <= begin - span[-1][1] <= _GAP and end - span[0][0] <= _ALL):
            _read(opened, span, found)
            span = []
        if 0 < length <= _TILE and end <= size:
            span.append((begin, end, number))
    _read(opened, span, found)
    return found


def _read(opened: Callable[[], Readable], span: list[tuple[int, int, int]], found: dict[int, bytes]) -> None:
    if len(span) < 2:
        return
    start, stop = span[0][0], span[-1][1]
    try:
        data = opened().read(start, stop - start)
    except PatchaugError:  # the read of each tile raises it with its place
        return
    if len(data) == stop - start:
        for begin, end, number in span:
            found[number] = data[begin - start : end - start]
