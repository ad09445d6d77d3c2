"""`CarriedRows`: what overlapping windows leave for the next row of them, in bounded memory."""

from __future__ import annotations

import tempfile
import weakref
from pathlib import Path
from typing import IO

import numpy as np

from patchaug.core.arrays import Array
from patchaug.core.atomic import write_error

_HELD = 2**24  # bytes in memory


class CarriedRows:
    """float32 arrays by number; those beyond 16 MiB wait in a temporary file, which no name leads to.

    Examples:
        >>> from patchaug.predict.carried_rows import CarriedRows
        >>> carried = CarriedRows()
        >>> carried.put(3, np.ones((2, 4, 4), np.float32))
        >>> carried.pop(3).shape, carried.pop(3)
        ((2, 4, 4), None)
    """

    def __init__(self) -> None:
        self._here: dict[int, Array] = {}
        self._there: dict[int, tuple[int, ...]] = {}  # shapes
        self._places: dict[int, tuple[int, int]] = {}  # in the file, and their bytes
        self._bytes = self._end = 0
        self._file: IO[bytes] | None = None

    def put(self, number: int, values: Array) -> None:
        """Keep a copy of an array.

        Raises:
            WriteError: The disk of temporary files is full.
        """
        if self._bytes + values.nbytes <= _HELD:
            self._here[number] = values.copy()
            self._bytes += values.nbytes
            return
        place, room = self._places.get(number, (0, -1))
        if room < values.nbytes:
            place, self._end = self._end, self._end + values.nbytes
            self._places[number] = place, values.nbytes
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - closed by the next line
                weakref.finalize(self, self._file.close)
            self._file.seek(place)
            left = memoryview(np.ascontiguousarray(values).data).cast("B")
            while left:
                left = left[self._file.write(left) :]
        except OSError as error:
            raise write_error(Path(tempfile.gettempdir()), error) from None
        self._there[number] = values.shape

    def pop(self, number: int) -> Array | None:
        """Return and forget an array; None if there is none."""
        if number in self._here:
            found = self._here.pop(number)
            self._bytes -= found.nbytes
            return found
        shape = self._there.pop(number, None)
        if shape is None or self._file is None:
            return None
        self._file.seek(self._places[number][0])
        values = np.empty(shape, np.float32)
        left = memoryview(values.data).cast("B")
        while left:
            left = left[self._file.readinto(left) :]  # type: ignore[attr-defined]
        return values
