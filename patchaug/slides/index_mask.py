"""Index the classes of a mask: one pass over its pixels, piece by piece."""

from __future__ import annotations

import threading
from collections.abc import Iterable

import numpy as np

from patchaug.core.arrays import Array
from patchaug.errors import ForegroundError
from patchaug.slides.label_runs import BLOCK, LIMIT, STRIP, Read, RunLengthIndex

_RUN_BYTES, _BLOCK_BYTES = 3, 24  # the latter with the sums that a law keeps per block
_KEPT = 2**21  # bytes of memory that each thread keeps
_thread = threading.local()
_PIECE = 2**20  # pixels that are searched at a time: what a processor's cache holds


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
    lines = max(_PIECE // width // BLOCK, 1) * BLOCK
    for band in bands:
        for y in range(0, len(band), lines):
            piece = band[y : y + lines]
            _index_piece(piece, top + y, down, parts, limit, rest)
        top += len(band)
    if top != height:
        raise ForegroundError(f"the mask's bands hold {top} rows, its level has {height}")
    return {value: _joined(value, width, height, parts.pop(value), read) for value in sorted(parts)}


def _runs_of(piece: Array, rest: int | None) -> tuple[Array, Array, Array, Array]:
    """Return values, rows, first and last columns of all runs but those of one class, cut where a strip ends."""
    width = piece.shape[1]
    flat = piece.reshape(-1)
    at = _starts_of_runs(flat, width)
    ends, values = np.append(at[1:], len(flat)), flat[at]
    if rest is not None:
        keep = values != rest
        at, ends, values = at[keep], ends[keep], values[keep]
    rows, starts = np.divmod(at, width)
    lasts = starts + (ends - at) - 1
    first = starts // STRIP
    spans = lasts // STRIP - first + 1
    if not (spans > 1).any():
        return values, rows, starts, lasts
    of_run = np.repeat(np.arange(len(at)), spans)
    left = (first[of_run] + np.arange(len(of_run)) - np.repeat(np.cumsum(spans) - spans, spans)) * STRIP
    starts, lasts = np.maximum(starts[of_run], left), np.minimum(lasts[of_run], left + STRIP - 1)
    return values[of_run], rows[of_run], starts, lasts


def _scratch(size: int) -> Array:
    """Return memory of this thread for booleans: fresh memory is slow to touch."""
    if size > _KEPT:
        return np.empty(size, bool)
    if not hasattr(_thread, "changes"):
        _thread.changes = np.empty(_KEPT, bool)
    return np.asarray(_thread.changes[:size])


def _starts_of_runs(flat: Array, width: int) -> Array:
    """Return where a value differs from the one before, and where rows begin; rising int64."""
    changes = _scratch(-(-len(flat) // 8) * 8)
    np.not_equal(flat[1:], flat[:-1], out=changes[1 : len(flat)])
    changes[len(flat) :] = False
    changes[: len(flat) : width] = True
    groups = np.flatnonzero(changes.view(np.uint64) != 0)  # eight at a time: most hold none
    places = np.flatnonzero(changes.reshape(-1, 8)[groups].reshape(-1))
    return np.asarray(groups[places >> 3] * 8 + (places & 7))


def _index_piece(
    piece: Array, top: int, down: int, parts: dict[int, list[tuple[Array, ...]]], limit: float, rest: int | None
) -> None:
    """Add the runs of some rows to what is known of each class: block numbers, amounts, runs in blocks, runs."""
    values, rows, starts, lasts = _runs_of(piece, rest)
    if not len(values):
        return
    strips = (starts // STRIP).astype(np.uint16)
    order = np.argsort(strips, kind="stable")
    order = order[np.argsort(values[order], kind="stable")]  # by class, by strip, by row
    values, rows, starts, lasts = values[order], rows[order] + top, starts[order], lasts[order]
    numbers = strips[order].astype(np.int64) * down + rows // BLOCK
    runs_of_all = np.stack(
        [(array % side).astype(np.uint8) for array, side in ((rows, BLOCK), (starts, STRIP), (lasts, STRIP))]
    )
    edges = np.append(np.flatnonzero(np.append(True, values[1:] != values[:-1])), len(values))
    for begin, end in zip(edges[:-1], edges[1:], strict=True):
        block = numbers[begin:end]
        new = np.flatnonzero(np.append(True, block[1:] != block[:-1]))
        blocks, counts = block[new], np.diff(new, append=len(block))
        amounts = np.add.reduceat(lasts[begin:end] - starts[begin:end] + 1, new)
        kept = runs_of_all[:, begin:end]
        room = limit * piece.size - _BLOCK_BYTES * len(blocks)
        if _RUN_BYTES * len(block) > room:  # too many: those of the blocks that are richest in them are let go
            poorest = np.argsort(counts, kind="stable")
            dropped = poorest[np.cumsum(counts[poorest]) * _RUN_BYTES > room]
            keep = np.ones(len(blocks), bool)
            keep[dropped] = False
            kept = kept[:, np.repeat(keep, counts)]
            counts = np.where(keep, counts, 0)
        parts.setdefault(int(values[begin]), []).append((blocks, amounts, counts, *kept))


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
