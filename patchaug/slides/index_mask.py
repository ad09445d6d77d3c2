"""Index the classes of a mask: one pass over its pixels, piece by piece."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterable

import numpy as np

from patchaug.core.arrays import Array
from patchaug.errors import ForegroundError
from patchaug.slides.label_runs import BLOCK, LIMIT, STRIP, Read, RunLengthIndex

_RUN_BYTES, _BLOCK_BYTES = 3, 24  # the latter with the sums that a law keeps per block
_KEPT = 2**21  # bytes of memory that each thread keeps
_thread = threading.local()
_PIECE = 2**20  # pixels of a piece: some rows, on which the limit of bytes per pixel holds
_TOGETHER = 4  # pieces that are searched at a time where runs are few; of many runs the arrays would be large


def index_mask(
    width: int, height: int, bands: Iterable[Array], read: Read, limit: float | None = None, rest: int | None = None
) -> dict[int, RunLengthIndex]:
    """Index all classes of a mask in one pass.

    Args:
        width: Columns of the mask.
        height: Rows of the mask.
        bands: The mask as bands of full rows, top to bottom, each (rows, width) of integers; all but the last have a
            multiple of 64 rows.
        read: Reads a part of it again.
        limit: Bytes per pixel that the index of one class may take; default: `LIMIT`.
        rest: A class that is left out.

    Raises:
        ForegroundError: The bands hold another number of rows.
    """
    limit = LIMIT if limit is None else limit
    parts: dict[int, list[tuple[Array, ...]]] = {}
    down, top = -(-height // BLOCK), 0
    lines, together = max(_PIECE // width // BLOCK, 1) * BLOCK, 1
    for band in bands:
        y = 0
        while y < len(band):
            rows = band[y : y + lines * together]
            runs = _index_rows(rows, lines, top + y, down, parts, limit, rest)
            y += len(rows)
            together = _TOGETHER if runs * 32 <= rows.size else 1
        top += len(band)
    if top != height:
        raise ForegroundError(f"the mask's bands hold {top} rows, its level has {height}")
    return {value: _joined(value, width, height, parts.pop(value), read) for value in sorted(parts)}


def _runs_of(piece: Array, rest: int | None) -> tuple[Array, Array, Array, Array]:
    """Return values, rows, first and last columns of all runs but those of one class, cut where a strip ends."""
    width = piece.shape[1]
    flat = np.ascontiguousarray(piece).reshape(-1)  # also of one value that is shown as an array
    at = _starts_of_runs(flat, width)
    values, ends = flat.take(at), np.concatenate((at[1:], [len(flat)]))
    if rest is not None:
        keep = np.flatnonzero(values != rest)
        at, ends, values = at.take(keep), ends.take(keep), values.take(keep)
    rows = at // width
    starts = at - rows * width
    lasts = starts + (ends - at) - 1
    first = starts // STRIP
    spans = lasts // STRIP - first + 1
    if not (spans > 1).any():
        return values, rows, starts, lasts
    of_run = np.repeat(np.arange(len(at)), spans)
    left = (first.take(of_run) + np.arange(len(of_run)) - np.repeat(np.cumsum(spans) - spans, spans)) * STRIP
    starts, lasts = np.maximum(starts.take(of_run), left), np.minimum(lasts.take(of_run), left + STRIP - 1)
    return values.take(of_run), rows.take(of_run), starts, lasts


def _scratch(size: int) -> Array:
    """Return memory of this thread for booleans: fresh memory is slow to touch."""
    if size > _KEPT:
        return np.empty(size, bool)
    if not hasattr(_thread, "changes"):
        _thread.changes = np.empty(_KEPT, bool)
    return np.asarray(_thread.changes[:size])


def _starts_of_runs(flat: Array, width: int) -> Array:
    """Return where a value differs from the one before, and where rows begin; rising int64.

    Eight bytes are compared at a time with the eight that begin one value earlier; most are equal.
    """
    each = 8 // flat.itemsize  # values of a word; word k holds the changes at each * k + 1 to each * (k + 1)
    words = (len(flat) - 1) // each
    after, before = flat[1 : words * each + 1], flat[: words * each]
    row_starts = np.arange(width, len(flat), width)
    row_words, row_places = np.divmod(row_starts - 1, each)
    inside = int(row_words.searchsorted(words))
    row_words, row_places = row_words[:inside], row_places[:inside]
    changed = _scratch(-(-words // 8) * 8)
    np.not_equal(after.view(np.uint64), before.view(np.uint64), out=changed[:words])
    changed[words:] = False
    changed[row_words] = True
    groups = np.flatnonzero(changed.view(np.uint64) != 0)  # of booleans it is several times as fast
    found = np.flatnonzero(changed.reshape(-1, 8).take(groups, axis=0))
    found = (groups.take(found >> 3) << 3) + (found & 7)
    changes = after.reshape(-1, each).take(found, axis=0) != before.reshape(-1, each).take(found, axis=0)
    changes[found.searchsorted(row_words), row_places] = True
    places = np.flatnonzero(changes)
    shift = each.bit_length() - 1
    at = (found.take(places >> shift) << shift) + (places & (each - 1)) + 1
    last = np.arange(words * each + 1, len(flat))  # fewer than a word
    last = last[(flat[last] != flat[last - 1]) | (last % width == 0)]
    return np.concatenate(([0], at, last))


def _index_rows(
    band: Array, lines: int, top: int, down: int, parts: dict[int, list[tuple[Array, ...]]], limit: float,
    rest: int | None,
) -> int:  # fmt: skip
    """Add the runs of some rows to what is known of each class: block numbers, amounts, runs in blocks, runs.

    Returns the number of runs.
    """
    values, rows, starts, lasts = _runs_of(band, rest)
    if not len(values):
        return 0
    strips = starts // STRIP
    order = np.argsort(strips.astype(np.uint16), kind="stable")  # of 16 bits: sorted by digits
    if (values != values[0]).any():
        order = order.take(np.argsort(values.take(order), kind="stable"))  # by class, by strip, by row
    values, rows, starts, lasts, strips = (one.take(order) for one in (values, rows, starts, lasts, strips))
    rows += top
    tops = rows // BLOCK
    numbers = strips * down + tops
    lefts = strips * STRIP
    lengths = lasts - starts + 1
    runs_of_all = np.empty((3, len(values)), np.uint8)
    for one, places, corners in zip(runs_of_all, (rows, starts, lasts), (tops * BLOCK, lefts, lefts), strict=True):
        np.subtract(places, corners, out=one, casting="unsafe")
    edges = [0, *(np.flatnonzero(values[1:] != values[:-1]) + 1).tolist(), len(values)]
    for begin, end in itertools.pairwise(edges):
        block = numbers[begin:end]
        new = np.concatenate(([0], np.flatnonzero(block[1:] != block[:-1]) + 1))
        blocks, counts = block.take(new), np.diff(new, append=len(block))
        amounts = np.add.reduceat(lengths[begin:end], new)
        kept = runs_of_all[:, begin:end]
        keep = _kept(blocks % down - top // BLOCK, counts, band, lines, limit)
        if not keep.all():
            kept = kept[:, np.repeat(keep, counts)]
            counts = np.where(keep, counts, 0)
        parts.setdefault(int(values[begin]), []).append((blocks, amounts, counts, *kept))
    return len(values)


def _kept(tops: Array, counts: Array, band: Array, lines: int, limit: float) -> Array:
    """Return which blocks keep their runs: in pieces that hold too many, those richest in them do not.

    Args:
        tops: Row of each block, in blocks from the top of the band.
        counts: Number of its runs.
        band: The rows that hold them.
        lines: Rows of a piece.
        limit: Bytes per pixel.
    """
    keep = np.ones(len(counts), bool)
    height, width = band.shape
    smallest = (height % lines or lines) if height > lines else height
    if _RUN_BYTES * int(counts.sum()) <= limit * smallest * width - _BLOCK_BYTES * len(counts):
        return keep  # also if all lay in one piece
    for first in range(0, height, lines):
        here = np.flatnonzero(tops // (lines // BLOCK) == first // lines)
        of_each = counts[here]
        room = limit * min(lines, height - first) * width - _BLOCK_BYTES * len(here)
        if _RUN_BYTES * int(of_each.sum()) > room:
            poorest = np.argsort(of_each, kind="stable")
            keep[here[poorest[np.cumsum(of_each[poorest]) * _RUN_BYTES > room]]] = False
    return keep


def _joined(value: int, width: int, height: int, parts: list[tuple[Array, ...]], read: Read) -> RunLengthIndex:
    """The runs of one class, strip by strip, from those of bands, each of which holds all strips."""
    blocks, amounts, runs, rows, starts, lasts = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.argsort(blocks, kind="stable")
    before, counts = np.cumsum(runs) - runs, runs[order]
    firsts = np.concatenate(([0], np.cumsum(counts)))
    take = np.arange(firsts[-1]) + np.repeat(before[order] - firsts[:-1], counts)
    return RunLengthIndex(
        value, width, height, blocks[order].astype(np.int32), amounts[order].astype(np.int32), firsts,
        rows[take], starts[take], lasts[take], read,
    )  # fmt: skip
