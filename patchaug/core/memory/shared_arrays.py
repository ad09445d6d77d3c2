"""Share large arrays with worker processes instead of copying them."""

from __future__ import annotations

from multiprocessing.heap import BufferWrapper
from typing import Any

import numpy as np

from patchaug.core.arrays import Array
from patchaug.core.memory.anonymous import HAS_FILE_LOCKS, MemoryFile, is_starting_process

LARGE = 4 << 20  # bytes; a smaller user's array is copied faster than shared


class SharedArray:
    """A copy of an array in anonymous shared memory; pickles as a handle while a process is being started.

    Small arrays share pages, and thus file descriptors, in the standard library's heap. A large array has a memory file
    of its own, which is freed with the last view of the array.

    Args:
        array: Any shape and dtype without Python objects.
    """

    def __init__(self, array: Array) -> None:
        self.dtype, self.shape = array.dtype, array.shape
        # Not RawArray: each length is a type of its own, and a running pickler accepts no new types.
        large = HAS_FILE_LOCKS and array.nbytes >= LARGE  # Windows has no anonymous files
        self.memory = MemoryFile(array.nbytes) if large else BufferWrapper(max(array.nbytes, 1))
        self.array(writeable=True)[...] = array

    def array(self, *, writeable: bool = False) -> Array:
        """View the shared memory as an array of the same shape and dtype."""
        memory = self.memory.map if isinstance(self.memory, MemoryFile) else self.memory.create_memoryview()
        count = int(np.prod(self.shape, dtype=np.int64))
        view = np.frombuffer(memory, self.dtype, count).reshape(self.shape)
        view.flags.writeable = writeable
        return view


class SharedArraysMixin:
    """Base of objects whose array attributes are read-only and may be large.

    A forked worker has the arrays of its parent. While a process is being started by spawn or forkserver, they move
    once into anonymous shared memory, and the child receives a handle. Every other pickle contains the arrays by value.
    """

    def __getstate__(self) -> dict[str, Any]:
        state = {k: v for k, v in self.__dict__.items() if k != "_shared" and not isinstance(v, memoryview)}
        if not is_starting_process():
            return state
        shared: dict[str, Any] = self.__dict__.setdefault("_shared", {})
        for key, value in state.items():
            if isinstance(value, np.ndarray):
                if key not in shared:
                    shared[key] = SharedArray(value)
                    self.__dict__[key] = shared[key].array()  # frees the private copy
                state[key] = shared[key]
        for key in [key for key, value in self.__dict__.items() if isinstance(value, memoryview)]:
            del self.__dict__[key]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        shared = {key: value for key, value in state.items() if isinstance(value, SharedArray)}
        self.__dict__.update(state | {key: moved.array() for key, moved in shared.items()})
        if shared:
            self.__dict__["_shared"] = shared  # a child of the child shares the same memory

    def view(self, name: str) -> memoryview:
        """View an array attribute as a memoryview, where `bisect` and single elements are several times as fast."""
        key = f"_view_{name}"
        view = self.__dict__.get(key)
        if view is None:
            view = self.__dict__[key] = memoryview(self.__dict__[name])
        return view
