"""`BandJournal`: finished bands of a prediction as whole small files, from which a killed prediction goes on."""

from __future__ import annotations

import json
import os
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from patchaug.core.arrays import Array
from patchaug.core.atomic import write_error
from patchaug.predict.accumulate import Band

_MAGIC = b"patchaug band 1\n"
_ROWS = 64  # of probabilities that are converted at once


def round_probabilities(band: Band) -> None:
    """Round the probabilities of a band, in place, to float16, as the journal keeps them: to 3 decimal digits.

    Writers see the same numbers whether a band comes from the model or from the journal.
    """
    if band.probabilities is not None:
        for top in range(0, band.probabilities.shape[1], _ROWS):
            part = band.probabilities[:, top : top + _ROWS]
            part[...] = part.astype(np.float16)


class BandJournal:
    """Bands of one prediction in a folder.

    A file is complete or does not count: it is renamed when it is written, and its checksum is compared when it is
    read, since after a loss of power a renamed file may be empty.

    Args:
        folder: The folder; it is made where it does not exist.

    Examples:
        >>> from patchaug.predict.journal import BandJournal
        >>> journal = BandJournal("bands")
        >>> journal.write(0, Band(0, np.ones((2, 5), np.uint8)))
        >>> journal.read(0).classes.sum(), journal.read(1)
        (np.uint64(10), None)
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)

    def write(self, number: int, band: Band) -> None:
        """Store a band whose probabilities are rounded, see `round_probabilities`.

        Raises:
            WriteError: The disk is full.
        """
        classes = zlib.compress(band.classes.tobytes(), 1)
        facts = {"top": band.top, "shape": band.classes.shape, "dtype": band.classes.dtype.str, "bytes": len(classes),
                 "planes": None if band.probabilities is None else len(band.probabilities)}  # fmt: skip
        temporary = self.folder / f"{number:06}.part"
        try:
            with temporary.open("wb") as file:
                crc = 0
                for piece in (_MAGIC, json.dumps(facts).encode() + b"\n", classes, *_pieces(band.probabilities)):
                    file.write(piece)
                    crc = zlib.crc32(piece, crc)
                file.write(crc.to_bytes(4, "little"))
            os.replace(temporary, self._file(number))
        except OSError as error:
            raise write_error(self.folder.parent, error) from None

    def read(self, number: int) -> Band | None:
        """Return a band; None if it is not there, or not whole."""
        try:
            content = self._file(number).read_bytes()
        except FileNotFoundError:
            return None
        body = memoryview(content)[:-4]
        if not content.startswith(_MAGIC) or zlib.crc32(body) != int.from_bytes(content[-4:], "little"):
            return None
        start = content.index(b"\n", len(_MAGIC)) + 1
        facts = json.loads(content[len(_MAGIC) : start])
        (rows, width), end = facts["shape"], start + facts["bytes"]
        classes = np.frombuffer(zlib.decompress(body[start:end]), facts["dtype"]).reshape(rows, width)
        if facts["planes"] is None:
            return Band(facts["top"], classes)
        probabilities = np.empty((facts["planes"], rows, width), np.float32)
        stored, planes = np.frombuffer(body[end:], np.float16), facts["planes"]
        for top in range(0, rows, _ROWS):
            part = probabilities[:, top : top + _ROWS]
            part[...] = stored[planes * top * width :][: part.size].reshape(part.shape)
        return Band(facts["top"], classes, probabilities)

    def clear(self) -> None:
        """Remove all bands."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _file(self, number: int) -> Path:
        return self.folder / f"{number:06}.band"


def _pieces(probabilities: Array | None) -> Iterator[bytes]:
    """Yield the probabilities by some rows, float16."""
    if probabilities is not None:
        for top in range(0, probabilities.shape[1], _ROWS):
            yield probabilities[:, top : top + _ROWS].astype(np.float16).tobytes()
