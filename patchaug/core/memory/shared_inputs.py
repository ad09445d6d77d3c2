"""Arrays that processes are lent rather than each being given a copy.

A forked worker has its parent's arrays anyway. While a process is being started by spawn or forkserver, an array is
moved, once, into memory without a name (see `nameless`), and the child gets a handle; a memory map of a file is mapped
again.
"""

from __future__ import annotations

import math
import mmap
import os
from multiprocessing import reduction
from typing import Any

import numpy as np

from patchaug.core.arrays import Array
from patchaug.core.memory.anonymous import SHARES, memory_file
from patchaug.core.memory.shared_arrays import SharedArray
from patchaug.errors import ReadError

LEAST = 4 << 20  # bytes; what is smaller is copied sooner than lent


class SharedInput:
    """An array in memory without a name; pickles as a handle, while a process is being started.

    Args:
        shape, dtype: Of the array.
        fd: The memory, where it is there already.
    """

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any], fd: int | None = None) -> None:
        self.shape, self.dtype = shape, dtype
        size = max(math.prod(shape) * dtype.itemsize, 1)
        self.fd = memory_file(size) if fd is None else fd
        self.memory = mmap.mmap(self.fd, size)

    @classmethod
    def of(cls, array: Array) -> SharedInput | SharedArray:
        """A copy of an array."""
        if not SHARES:  # Windows
            return SharedArray(array)
        new = cls(array.shape, array.dtype)
        new._view()[...] = array
        return new

    def _view(self) -> Array:
        return np.frombuffer(self.memory, self.dtype, math.prod(self.shape)).reshape(self.shape)

    def array(self) -> Array:
        """The array in the memory itself; nobody writes to it."""
        view = self._view()
        view.flags.writeable = False
        return view

    def __reduce__(self) -> tuple[Any, ...]:
        return _adopted, (reduction.DupFd(self.fd), self.shape, self.dtype)

    def __del__(self) -> None:
        if hasattr(self, "fd"):
            os.close(self.fd)  # the map has a number of its own


def _adopted(fd: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> SharedInput:
    return SharedInput(shape, dtype, fd.detach())


class MappedInput:
    """A part of a file as an array, mapped when first asked for in a process."""

    def __init__(self, path: str, offset: int, array: Array) -> None:
        self.path, self.offset = path, offset
        self.shape, self.strides, self.dtype = array.shape, array.strides, array.dtype
        self.file = self._now()
        self._array: Array | None = array

    @classmethod
    def of(cls, array: Array) -> MappedInput | None:
        """Where a memory map comes from; None for arrays, and for maps whose changes stay in this process."""
        root: Any = array
        while isinstance(root.base, np.ndarray):
            root = root.base
        if not isinstance(root, np.memmap) or root.filename is None or root.mode.startswith("c"):
            return None
        at = array.__array_interface__["data"][0] - root.__array_interface__["data"][0]
        try:
            return cls(os.path.abspath(root.filename), root.offset + at, array)
        except OSError:  # deleted since
            return None

    def _now(self) -> tuple[int, int]:
        found = os.stat(self.path)
        return found.st_ino, found.st_size

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_array": None}

    def __call__(self) -> Array:
        """The array.

        Raises:
            ReadError: The file is another one by now, or gone.
        """
        if self._array is None:
            try:
                same = self._now() == self.file
                with open(self.path, "rb") as file:
                    memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            except (OSError, ValueError) as error:
                raise ReadError(f"{self.path}: a memory map of it cannot be opened again ({error})") from None
            if not same:
                raise ReadError(f"{self.path}: file changed since it was mapped; open the slide again")
            self._array = np.ndarray(self.shape, self.dtype, memory, self.offset, self.strides)
        return self._array
