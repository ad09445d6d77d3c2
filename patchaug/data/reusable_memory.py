"""Memory of batches that have been deleted, for the batches that follow.

The system zeroes the pages of new memory one by one, when they are first written. That can take longer than all other
work on a batch: on a virtual machine under memory pressure, fifteen times as long.
"""

from __future__ import annotations

import mmap
import os
import sys
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import numpy as np

from patchaug.core.arrays import Array

_SMALLEST = 1 << 20  # bytes; less comes from the allocator, which uses its memory again
_KEPT = 4  # blocks without a batch


class ReusableMemory:
    """Blocks of memory that are used again once the last array or tensor in them is deleted, while a pass lasts.

    Linux only: on other systems it is untested whether copies to a device end before a batch is deleted.

    Examples:
        >>> from patchaug.data.reusable_memory import ReusableMemory
        >>> memory = ReusableMemory()
        >>> with memory.kept():
        ...     array = memory.take(5_000_000)
        ...     address = array.ctypes.data
        ...     del array
        ...     memory.take(5_000_000).ctypes.data == address  # on Linux
        True
    """

    def __init__(self) -> None:
        self._free: list[mmap.mmap] = []
        self._passes = 0

    def take(self, size: int) -> Array:
        """Return an array uint8 (size,), not initialized; its memory is used again when nothing refers to it."""
        if size < _SMALLEST or sys.platform != "linux":
            return np.empty(size, np.uint8)
        block = self._block(size)
        # The base of an array is the map, no other array, so that views of the array refer to the array itself.
        array = np.frombuffer(block, np.uint8, size)
        weakref.finalize(array, self._give_back, block, os.getpid()).atexit = False
        return array

    def like(self, array: Array, dtype: type[np.generic]) -> Array:
        """Return an array of the shape of another one, not initialized."""
        kind = np.dtype(dtype)
        return self.take(array.size * kind.itemsize).view(kind).reshape(array.shape)

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Keep blocks within the context; at its end, those that are not in use return to the system."""
        self._free = []  # processes that the context starts would get copies of them
        self._passes += 1
        try:
            yield
        finally:
            self._passes -= 1
            self._free = []

    def _block(self, size: int) -> mmap.mmap:
        free = self._free
        for _ in range(len(free)):
            try:
                block = free.pop(0)
            except IndexError:  # another thread was faster
                break
            if size <= len(block) <= 2 * size:
                return block
            free.append(block)
        block = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        with suppress(OSError):  # a kernel without huge pages
            block.madvise(mmap.MADV_HUGEPAGE)
        return block

    def _give_back(self, block: mmap.mmap, process: int) -> None:
        if self._passes and process == os.getpid():  # pages of a forked child would be copied one by one
            self._free.append(block)
            del self._free[:-_KEPT]


reusable_memory = ReusableMemory()  # of this process
