"""Writes a map to a zarr array, piece by piece; it appears under its name when it is whole.

Format 2, whose chunks are files: `(classes, height, width)` or `(height, width)`, packed by blosc (zstd, shuffled).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np

from patchaug.core.arrays import Array
from patchaug.core.atomic import atomic_write
from patchaug.predict.map_frame import MapFrame

CHUNK = 256  # rows and columns of a chunk, which holds one class
_LEVEL = 1  # of compression
_OPEN = 2**25  # bytes of chunks in memory that are not complete


class ZarrMap(AbstractContextManager["ZarrMap"]):
    """An array that is written in parts; its folder is complete at the end of the block, or does not exist.

    Memory holds some chunks that are not complete; others wait in their files.

    Args:
        path: The folder, such as "p.zarr"; it must not exist.
        shape: (height, width), or (classes, height, width).
        dtype: Type of the numbers.
        frame: Place of the map on its slide, which becomes the attribute "patchaug".

    Raises:
        MissingError: The parent folder does not exist.
        WriteError: The path exists, or the disk is full.

    Examples:
        >>> from patchaug.predict.map_frame import MapFrame
        >>> from patchaug.predict.zarr_map import ZarrMap
        >>> with ZarrMap("classes.zarr", (300, 400), np.uint8, MapFrame("liver", 400, 300, ("a", "b"))) as out:
        ...     out.put(0, 0, np.zeros((300, 400), np.uint8))
        >>> open_slide("classes.zarr").dimensions
        (400, 300)
    """

    def __init__(self, path: str | os.PathLike[str], shape: tuple[int, ...], dtype: Any, frame: MapFrame) -> None:
        self.path, self.shape, self.dtype, self.frame = Path(path), shape, np.dtype(dtype), frame
        self._stack = ExitStack()
        self._open: dict[tuple[int, int], tuple[Array, int]] = {}  # chunks in progress, and their pixels so far
        self._begun: dict[tuple[int, int], int] = {}  # those that wait in their files

    def __enter__(self) -> ZarrMap:
        """Open the temporary folder."""
        with ExitStack() as stack:
            self._folder = stack.enter_context(atomic_write(self.path, "zarr array"))
            self._folder.mkdir()
            for name, content in ((".zarray", self._header()), (".zattrs", self._attributes())):
                (self._folder / name).write_text(json.dumps(content, indent=2), encoding="utf-8")
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        """Complete the folder, or remove it."""
        self._stack.__exit__(*error)

    def put(self, top: int, left: int, values: Array) -> None:
        """Write a part of the map, each pixel once.

        Args:
            top: First row.
            left: First column.
            values: (rows, columns) or (classes, rows, columns).
        """
        bottom, right = top + values.shape[-2], left + values.shape[-1]
        for row in range(top // CHUNK, -(-bottom // CHUNK)):
            for column in range(left // CHUNK, -(-right // CHUNK)):
                y, x = row * CHUNK, column * CHUNK
                chunk, filled = self._chunk(row, column)
                first, last = max(top, y), min(bottom, y + CHUNK)
                start, stop = max(left, x), min(right, x + CHUNK)
                part = values[..., first - top : last - top, start - left : stop - left]
                chunk[..., first - y : last - y, start - x : stop - x] = part
                filled += (last - first) * (stop - start)
                if filled == min(CHUNK, self.shape[-2] - y) * min(CHUNK, self.shape[-1] - x):
                    self._write_chunk(row, column, chunk)
                else:
                    self._open[row, column] = chunk, filled
        while len(self._open) * self._chunk_bytes > _OPEN:
            (row, column), (chunk, filled) = next(iter(self._open.items()))
            del self._open[row, column]
            self._write_chunk(row, column, chunk)
            self._begun[row, column] = filled

    @property
    def _planes(self) -> tuple[int, ...]:
        return self.shape[:-2]

    @property
    def _chunk_bytes(self) -> int:
        return int(CHUNK**2 * self.dtype.itemsize * (self._planes or (1,))[0])

    def _chunk(self, row: int, column: int) -> tuple[Array, int]:
        """Return the chunks of all classes at a place, and how many of their pixels are written."""
        if (row, column) in self._open:
            return self._open.pop((row, column))
        chunk = np.zeros((*self._planes, CHUNK, CHUNK), self.dtype)
        filled = self._begun.pop((row, column), 0)
        if filled:
            for key, plane in self._files(row, column, chunk):
                stored = imagecodecs.blosc_decode((self._folder / key).read_bytes(), numthreads=1)
                plane[...] = np.frombuffer(stored, self.dtype).reshape(plane.shape)
        return chunk, filled

    def _write_chunk(self, row: int, column: int, chunk: Array) -> None:
        for key, plane in self._files(row, column, chunk):
            packed = imagecodecs.blosc_encode(
                plane.tobytes(), level=_LEVEL, compressor="zstd", shuffle=1, typesize=self.dtype.itemsize, numthreads=1
            )
            (self._folder / key).write_bytes(packed)

    def _files(self, row: int, column: int, chunk: Array) -> Iterator[tuple[str, Array]]:
        """Yield the name of each file of a place, and its pixels."""
        for number, plane in enumerate(chunk if self._planes else chunk[None]):
            yield ".".join(map(str, [number, row, column] if self._planes else [row, column])), plane

    def _header(self) -> dict[str, Any]:
        return {
            "zarr_format": 2, "shape": list(self.shape), "chunks": [1] * (len(self.shape) - 2) + [CHUNK, CHUNK],
            "dtype": self.dtype.str, "order": "C", "fill_value": 0, "filters": None,
            "compressor": {"id": "blosc", "cname": "zstd", "clevel": _LEVEL, "shuffle": 1, "blocksize": 0},
        }  # fmt: skip

    def _attributes(self) -> dict[str, Any]:
        return {"_ARRAY_DIMENSIONS": ["class", "y", "x"][-len(self.shape) :], "patchaug": asdict(self.frame)}
