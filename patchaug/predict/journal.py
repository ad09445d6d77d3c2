"""`BandJournal`: finished bands of a prediction as whole small files, from which a killed prediction goes on.

A band is written piece by piece, and read again by rows, so that memory does not grow with its width: writers are fed
from the journal, whether a band was predicted now or before.
"""

from __future__ import annotations

import json
import os
import shutil
import zlib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import imagecodecs
import numpy as np
import torch

from patchaug.core.arrays import Array
from patchaug.core.atomic import write_error
from patchaug.predict.accumulate import Band, Piece

_MAGIC = b"patchaug band 2\n"
_ROWS = 16  # of a piece that are packed together
_PIXELS = 2**20  # that are unpacked together, where a packed row has fewer
_BLOCK = 2**20  # bytes


class BandJournal:
    """Bands of one prediction in a folder.

    A file is complete or does not count: it is renamed when it is written, and its checksum is compared when it is
    looked for, since after a loss of power a renamed file may be empty. Probabilities are kept as float16, to 3 decimal
    digits. Several processes may write different bands.

    Args:
        folder: The folder; it is made where it does not exist.

    Examples:
        >>> from patchaug.predict.journal import BandJournal
        >>> with BandJournal("bands") as journal:
        ...     journal.add(Piece(0, 0, 0, np.ones((2, 5), np.uint8), None, None, last=True)), journal.holds(0)
        (0, True)
        >>> [band.classes.sum() for band in journal.rows(0)]
        [np.uint64(10)]
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._band: _OpenBand | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the band in progress, which does not count."""
        if self._band is not None:
            self._band.file.close()
            self._band = None

    def add(self, piece: Piece) -> int | None:
        """Store a piece; return the number of its band where the band is complete with it.

        Raises:
            WriteError: The disk is full.
        """
        try:
            if self._band is None:
                self._band = _OpenBand((self.folder / f"{piece.number:06}.part").open("wb", buffering=_BLOCK))
            self._band.add(piece)
            if not piece.last:
                return None
            return self._complete(piece.number)
        except OSError as error:
            raise write_error(self.folder.parent, error) from None

    def holds(self, number: int) -> bool:
        """Return True if a band is there, and whole."""
        try:
            with self._file(number).open("rb") as file:
                if file.read(len(_MAGIC)) != _MAGIC:
                    return False
                size, crc = os.fstat(file.fileno()).st_size, zlib.crc32(_MAGIC)
                while (left := size - 4 - file.tell()) > 0:
                    crc = zlib.crc32(file.read(min(_BLOCK, left)), crc)
                return file.read() == crc.to_bytes(4, "little")
        except FileNotFoundError:
            return False

    def rows(self, number: int) -> Iterator[Band]:
        """Yield the rows of a whole band from the top down, some at a time; probabilities are float32."""
        with self._file(number).open("rb") as file:
            file.seek(-12, os.SEEK_END)
            at = int.from_bytes(file.read(8), "little")
            file.seek(at)
            facts = json.loads(file.read()[:-12])
            packs = max(1, _PIXELS // (_ROWS * facts["width"]))
            for first in range(0, -(-facts["rows"] // _ROWS), packs):
                yield _rows(file, facts, first * _ROWS, min(facts["rows"], (first + packs) * _ROWS))

    def has(self, number: int) -> bool:
        """Return True if the file of a band is there; whether it is whole is not looked at."""
        return self._file(number).exists()

    def clear(self) -> None:
        """Remove all bands."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _complete(self, number: int) -> int:
        assert self._band is not None
        self._band.finish()
        self._band = None
        os.replace(self.folder / f"{number:06}.part", self._file(number))
        return number

    def _file(self, number: int) -> Path:
        return self.folder / f"{number:06}.band"


class _OpenBand:
    """The file of a band in progress."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self._size, self._crc = file, 0, 0
        self._facts: dict[str, Any] = {}
        self._write(_MAGIC)

    def add(self, piece: Piece) -> None:
        planes = None if piece.probabilities is None else len(piece.probabilities)
        rows, width = piece.classes.shape
        if not self._facts:
            self._facts = {"top": piece.top, "rows": rows, "dtype": piece.classes.dtype.str, "planes": planes,
                           "lefts": [], "packs": []}  # fmt: skip
        packs = []
        for top in range(0, rows, _ROWS):
            classes = _packed(piece.classes[top : top + _ROWS], "zstd", 2)
            parts = [classes]
            if piece.probabilities is not None:
                # torch converts four times as fast as NumPy
                half = torch.from_numpy(piece.probabilities[:, top : top + _ROWS]).half().numpy()
                parts.append(_packed(half, "lz4", 1))
            packs.append([self._size, *map(len, parts)])
            for part in parts:
                self._write(part)
        self._facts["lefts"].append(piece.left)
        self._facts["packs"].append(packs)
        self._facts["width"] = piece.left + width

    def finish(self) -> None:
        place = self._size
        self._write(json.dumps(self._facts, separators=(",", ":")).encode())
        self._write(place.to_bytes(8, "little"))
        self.file.write(self._crc.to_bytes(4, "little"))
        self.file.close()

    def _write(self, part: bytes) -> None:
        self.file.write(part)
        self._crc = zlib.crc32(part, self._crc)
        self._size += len(part)


def _packed(values: Array, compressor: str, shuffle: int) -> bytes:
    """Compress values: 1 shuffles their bytes, and 2 their bits."""
    return bytes(
        imagecodecs.blosc_encode(
            values.tobytes(), level=1, compressor=compressor, shuffle=shuffle,
            typesize=values.dtype.itemsize, numthreads=1,
        )
    )  # fmt: skip


def _rows(file: BinaryIO, facts: dict[str, Any], top: int, bottom: int) -> Band:
    """Return some rows of a band."""
    rows, width, planes = bottom - top, facts["width"], facts["planes"]
    classes = np.empty((rows, width), facts["dtype"])
    probabilities = None if planes is None else np.empty((planes, rows, width), np.float32)
    for (left, right), packs in zip(pairwise([*facts["lefts"], width]), facts["packs"], strict=True):
        for start in range(top, bottom, _ROWS):
            place, *lengths = packs[start // _ROWS]
            there = np.s_[..., start - top : min(start + _ROWS, bottom) - top, left:right]
            file.seek(place)
            target = classes[there]
            target[...] = np.frombuffer(_unpacked(file.read(lengths[0]), target), classes.dtype).reshape(target.shape)
            if probabilities is not None:
                into = torch.from_numpy(probabilities[there])
                half = torch.frombuffer(_unpacked(file.read(lengths[1]), into, 2), dtype=torch.float16)
                into.copy_(half.view(into.shape))
    return Band(facts["top"] + top, classes, probabilities)


def _unpacked(packed: bytes, target: Any, itemsize: int | None = None) -> bytearray:
    """Decompress the values of a target."""
    size = int(np.prod(target.shape)) * (target.dtype.itemsize if itemsize is None else itemsize)
    out = bytearray(size)
    imagecodecs.blosc_decode(packed, numthreads=1, out=out)
    return out
