"""Memory maps of files: each process maps the file itself instead of receiving the pixels."""

from __future__ import annotations

import mmap
import os
from typing import Any

import numpy as np

from patchaug.core.arrays import Array
from patchaug.errors import ReadError


class MappedArray:
    """A part of a file as an array, mapped at first use in each process; pickles as path, offset and shape.

    Args:
        path: The file.
        offset: Bytes before the array's first element.
        array: The array in this process, a view of a `np.memmap` of the file.
    """

    def __init__(self, path: str, offset: int, array: Array) -> None:
        self.path, self.offset = path, offset
        self.shape, self.strides, self.dtype = array.shape, array.strides, array.dtype
        self.fingerprint = self._current_fingerprint()
        self._array: Array | None = array

    @classmethod
    def from_memmap(cls, array: Array) -> MappedArray | None:
        """Find the file behind a memory map; None for other arrays, and for maps whose changes stay in one process."""
        root: Any = array
        while isinstance(root.base, np.ndarray):
            root = root.base
        if not isinstance(root, np.memmap) or root.filename is None or root.mode.startswith("c"):
            return None
        at = array.__array_interface__["data"][0] - root.__array_interface__["data"][0]
        try:
            return cls(os.path.abspath(root.filename), root.offset + at, array)
        except OSError:  # the file was deleted
            return None

    def _current_fingerprint(self) -> tuple[int, int]:
        status = os.stat(self.path)
        return status.st_ino, status.st_size

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_array": None}

    def __call__(self) -> Array:
        """Return the array, and map the file if this process has not done so.

        Raises:
            ReadError: The file has been replaced or deleted.
        """
        if self._array is None:
            try:
                unchanged = self._current_fingerprint() == self.fingerprint
                with open(self.path, "rb") as file:
                    memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            except (OSError, ValueError) as error:
                raise ReadError(f"{self.path}: a memory map of it cannot be opened again ({error})") from None
            if not unchanged:
                raise ReadError(f"{self.path}: file changed since it was mapped; open the slide again")
            self._array = np.ndarray(self.shape, self.dtype, memory, self.offset, self.strides)
        return self._array
