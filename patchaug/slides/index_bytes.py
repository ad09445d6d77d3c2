r"""An index of labels as bytes: a line, a JSON header, the arrays, and a digest of all that.

Nothing in it is code, and nothing is unpickled. `decode_index` verifies the digest and every array, so that damaged or
hostile bytes are refused before a window is drawn by them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from hashlib import blake2b
from typing import Any

import numpy as np

from patchaug.core.arrays import Array
from patchaug.slides.class_runs import REST, ClassRuns
from patchaug.slides.label_runs import BLOCK, STRIP, Read, RunLengthIndex
from patchaug.slides.labels import Labels

MAGIC = b"patchaug index of labels 1\n"
_DIGEST = 32  # bytes at the end
_ALIGN = 8  # each array starts at a multiple of it
_ARRAYS = (("blocks", "<i4"), ("amounts", "<i4"), ("firsts", "<i8"), ("rows", "u1"), ("starts", "u1"), ("lasts", "u1"))


class _BadBytesError(Exception):
    """Raised inside this file for bytes that are no index."""


def encode_index(key: str, labels: Labels, facts: Mapping[str, Any]) -> bytes:
    """Return an index as bytes.

    Args:
        key: Its name, see `key_of`; the bytes are refused under another one.
        labels: The index.
        facts: What `IndexTask.facts` returns.
    """
    stored, edges = labels.runs, (labels.columns, labels.lines)
    if not isinstance(stored, ClassRuns):
        raise TypeError("an index of all pixels is needed")
    header = {
        "key": key, "size": [int(labels.width), int(labels.height)], "facts": dict(facts),
        "sides": [stored.width, stored.height], "edges": [None if one is None else len(one) for one in edges],
        "classes": [[int(value), len(runs.blocks), len(runs.rows)]
                    for value, runs in stored.stored.items()],
    }  # fmt: skip
    text = json.dumps(header).encode()
    parts = [MAGIC, len(text).to_bytes(8, "little"), text]
    arrays = [one.astype("<i8", copy=False) for one in edges if one is not None]
    for runs in stored.stored.values():
        arrays += [np.asarray(getattr(runs, name)).astype(kind, copy=False) for name, kind in _ARRAYS]
    at = sum(map(len, parts))
    for array in arrays:
        gap = -at % _ALIGN
        parts += [bytes(gap), np.ascontiguousarray(array).tobytes()]
        at += gap + array.nbytes
    digest = blake2b(digest_size=_DIGEST)
    for part in parts:
        digest.update(part)
    return b"".join([*parts, digest.digest()])


def decode_index(data: bytes, key: str, reader_of: Callable[[dict[str, Any]], Read]) -> Labels | None:
    """Return the index that bytes hold; None for bytes that are damaged, or another index.

    Args:
        data: The bytes; the arrays are views into them.
        key: Its name.
        reader_of: Given the facts, returns what reads the indexed integers again.

    Examples:
        >>> from patchaug.slides.index_bytes import decode_index
        >>> decode_index(b"something else", "0" * 32, lambda facts: None) is None
        True
    """
    try:
        header, at = _header(data, key)
        _require(isinstance(header["facts"], dict))
        body = memoryview(data)[: len(data) - _DIGEST]
        labels = _labels(body, header, at, _read_later)
    except (_BadBytesError, KeyError, TypeError, ValueError, OverflowError):
        return None
    read = reader_of(header["facts"])
    assert isinstance(labels.runs, ClassRuns)
    return replace(labels, runs=labels.runs.with_read(read))


def _read_later(x: int, y: int, width: int, height: int) -> Array:
    raise AssertionError("the reader follows when the bytes are verified")


def _header(data: bytes, key: str) -> tuple[dict[str, Any], int]:
    """Return the header, and where the arrays begin."""
    start = len(MAGIC) + 8
    _require(len(data) >= start + _DIGEST and data.startswith(MAGIC))
    body = memoryview(data)[:-_DIGEST]
    _require(blake2b(body, digest_size=_DIGEST).digest() == data[-_DIGEST:])
    length = int.from_bytes(data[len(MAGIC) : start], "little")
    _require(length <= len(body) - start)
    try:
        header = json.loads(bytes(body[start : start + length]))
    except (ValueError, RecursionError):
        raise _BadBytesError from None
    _require(isinstance(header, dict) and header.get("key") == key)
    return header, start + length


def _labels(body: memoryview, header: dict[str, Any], at: int, read: Read) -> Labels:
    """Return the index of a header and arrays that begin at an offset."""
    arrays = _Arrays(body, at)
    width, height = header["size"]
    _require(all(type(side) is int and 1 <= side < 2**31 for side in (width, height)))
    columns, lines = (None if length is None else arrays.take(length, "<i8") for length in header["edges"])
    for edges, side in ((columns, width), (lines, height)):
        _require(edges is None or (len(edges) >= 2 and edges[-1] == side and _is_rising(edges) and edges[0] == 0))
    sides = (width if columns is None else len(columns) - 1, height if lines is None else len(lines) - 1)
    _require(header["sides"] == list(sides))
    runs: dict[int, RunLengthIndex] = {}
    across, down = sides
    for value, blocks, stored in header["classes"]:
        _require(type(value) is int and value != REST and value not in runs)
        lengths = (blocks, blocks, blocks + 1, stored, stored, stored)
        parts = [arrays.take(length, kind) for length, (_, kind) in zip(lengths, _ARRAYS, strict=True)]
        named = dict(zip((name for name, _ in _ARRAYS), parts, strict=True))
        _require_runs(named, across, down)
        runs[value] = RunLengthIndex(value, across, down, **named, read=read)
    _require(arrays.at == len(body) and list(runs) == sorted(runs))
    return Labels(width, height, columns, lines, ClassRuns(across, down, runs, read))


class _Arrays:
    """Arrays in bytes, one after the other."""

    def __init__(self, body: memoryview, at: int) -> None:
        self.body, self.at = body, at

    def take(self, length: object, kind: str) -> Array:
        """Return the next array."""
        dtype = np.dtype(kind)
        _require(type(length) is int and 0 <= length <= len(self.body))
        assert isinstance(length, int)
        start = self.at + -self.at % _ALIGN
        self.at = start + length * dtype.itemsize
        _require(self.at <= len(self.body))
        array = np.frombuffer(self.body, dtype, length, start) if length else np.empty(0, dtype)
        array.flags.writeable = False
        return array if dtype.isnative else array.astype(dtype.newbyteorder("="))


def _require_runs(arrays: Mapping[str, Array], width: int, height: int) -> None:
    """Verify that the arrays of a class are those of a mask of that size."""
    blocks, amounts, firsts, rows, starts, lasts = (arrays[name] for name, _ in _ARRAYS)
    down = -(-height // BLOCK)
    _require(len(blocks) > 0 and blocks[0] >= 0 and blocks[-1] < down * -(-width // STRIP) and _is_rising(blocks))
    _require(firsts[0] == 0 and firsts[-1] == len(rows))
    counts = np.diff(firsts)
    _require(bool((counts >= 0).all()))
    strips, tops = np.divmod(blocks.astype(np.int64), down)
    across, deep = np.minimum(width - strips * STRIP, STRIP), np.minimum(height - tops * BLOCK, BLOCK)
    _require(bool(((amounts >= 1) & (amounts <= across * deep)).all()))
    _require(bool((starts <= lasts).all()))
    kept = np.flatnonzero(counts)
    at = firsts[kept]  # the first run of each block that has some; they rise, so that each takes those up to the next
    _require(bool((np.maximum.reduceat(rows, at) < deep[kept]).all()))
    _require(bool((np.maximum.reduceat(lasts, at) < across[kept]).all()))
    # In reading order within each block, none touching the next.
    after = (rows[1:] > rows[:-1]) | ((rows[1:] == rows[:-1]) & (starts[1:] > lasts[:-1]))
    after[at[1:] - 1] = True
    _require(bool(after.all()))
    _require(bool((np.add.reduceat(lasts - starts, at, dtype=np.int64) + counts[kept] == amounts[kept]).all()))


def _is_rising(array: Array) -> bool:
    return bool((array[1:] > array[:-1]).all())


def _require(holds: bool) -> None:
    if not holds:
        raise _BadBytesError
