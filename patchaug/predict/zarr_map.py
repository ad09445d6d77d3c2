"""Writes a map to a zarr array, band by band; it appears under its name when it is whole.

Format 2, whose chunks are files: `(classes, height, width)` or `(height, width)`, packed by blosc (zstd, shuffled).
"""

from __future__ import annotations

import json
import os
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


class ZarrMap(AbstractContextManager["ZarrMap"]):
    """An array that is written from the top down; its folder is complete at the end of the block, or does not exist.

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
        ...     out.write(np.zeros((300, 400), np.uint8))
        >>> open_slide("classes.zarr").dimensions
        (400, 300)
    """

    def __init__(self, path: str | os.PathLike[str], shape: tuple[int, ...], dtype: Any, frame: MapFrame) -> None:
        self.path, self.shape, self.dtype, self.frame = Path(path), shape, np.dtype(dtype), frame
        self._stack = ExitStack()
        self._rows: list[Array] = []  # of the row of chunks in progress
        self._done = 0  # rows of chunks

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

    def write(self, rows: Array) -> None:
        """Write the next rows, (rows, width) or (classes, rows, width)."""
        height, done = self.shape[-2], self._done * CHUNK
        self._rows.append(np.asarray(rows, self.dtype))
        while self._done * CHUNK < height:
            needed = min(CHUNK, height - self._done * CHUNK)
            if sum(part.shape[-2] for part in self._rows) < needed:
                break
            whole = self._rows[0] if len(self._rows) == 1 else np.concatenate(self._rows, axis=-2)
            self._write_chunks(whole[..., :needed, :])
            rest = whole[..., needed:, :]
            self._rows = [rest] if rest.shape[-2] else []
            self._done += 1
        if self._done * CHUNK > done and self._rows:
            self._rows = [self._rows[0].copy()]  # the band that it is a view of may go

    def _write_chunks(self, rows: Array) -> None:
        planes = rows if rows.ndim == 3 else rows[None]
        for number, plane in enumerate(planes):
            for column in range(-(-plane.shape[1] // CHUNK)):
                chunk = np.zeros((CHUNK, CHUNK), self.dtype)
                part = plane[:, column * CHUNK : (column + 1) * CHUNK]
                chunk[: part.shape[0], : part.shape[1]] = part
                packed = imagecodecs.blosc_encode(
                    chunk.tobytes(), level=_LEVEL, compressor="zstd", shuffle=1, typesize=self.dtype.itemsize,
                    numthreads=1,
                )  # fmt: skip
                key = [self._done, column] if rows.ndim == 2 else [number, self._done, column]
                (self._folder / ".".join(map(str, key))).write_bytes(packed)

    def _header(self) -> dict[str, Any]:
        return {
            "zarr_format": 2, "shape": list(self.shape), "chunks": [1] * (len(self.shape) - 2) + [CHUNK, CHUNK],
            "dtype": self.dtype.str, "order": "C", "fill_value": 0, "filters": None,
            "compressor": {"id": "blosc", "cname": "zstd", "clevel": _LEVEL, "shuffle": 1, "blocksize": 0},
        }  # fmt: skip

    def _attributes(self) -> dict[str, Any]:
        return {"_ARRAY_DIMENSIONS": ["class", "y", "x"][-len(self.shape) :], "patchaug": asdict(self.frame)}
