"""Arrays that spawned processes share with their parent rather than each getting a copy."""

from __future__ import annotations

from multiprocessing.context import get_spawning_popen
from multiprocessing.heap import BufferWrapper
from typing import Any

import numpy as np


class SharedArraysMixin:
    """Base of objects whose numpy attributes are read only, and may be large.

    A forked worker has them anyway. While a process is being started by spawn or forkserver they move, once, into
    anonymous shared memory of the standard library (what `RawArray` lies in: mapped, unlinked at birth, so a killed
    process leaves nothing behind), and the child gets a handle. Anywhere else an object pickles with its arrays by
    value.
    """

    def __getstate__(self) -> dict[str, Any]:
        state = {k: v for k, v in self.__dict__.items() if k != "_shared" and not isinstance(v, memoryview)}
        if get_spawning_popen() is None:
            return state
        shared: dict[str, Any] = self.__dict__.setdefault("_shared", {})
        for key, value in state.items():
            if isinstance(value, np.ndarray):
                if key not in shared:
                    shared[key] = SharedArray(value)
                    self.__dict__[key] = shared[key].array()  # the private copy goes
                state[key] = shared[key]
        for key in [key for key, value in self.__dict__.items() if isinstance(value, memoryview)]:
            del self.__dict__[key]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        shared = {key: value for key, value in state.items() if isinstance(value, SharedArray)}
        self.__dict__.update(state | {key: moved.array() for key, moved in shared.items()})
        if shared:
            self.__dict__["_shared"] = shared  # a child of the child gets the same memory

    def view(self, name: str) -> memoryview:
        """An array as a memoryview: `bisect` and single elements are several times as fast there as in numpy."""
        key = f"_view_{name}"
        found = self.__dict__.get(key)
        if found is None:
            found = self.__dict__[key] = memoryview(self.__dict__[name])
        return found


class SharedArray:
    """An array in shared memory; pickles as a handle, while a process is being started."""

    def __init__(self, array: np.ndarray[Any, np.dtype[Any]]) -> None:
        self.dtype, self.shape = array.dtype, array.shape
        # Not RawArray itself: each length is a type of its own, and a pickler that is at work learns no new types.
        self.memory = BufferWrapper(max(array.nbytes, 1))
        self.array(writeable=True)[...] = array

    def array(self, *, writeable: bool = False) -> np.ndarray[Any, np.dtype[Any]]:
        """The array in the memory itself."""
        count = int(np.prod(self.shape, dtype=np.int64))
        view = np.frombuffer(self.memory.create_memoryview(), self.dtype, count).reshape(self.shape)
        view.flags.writeable = writeable
        return view
