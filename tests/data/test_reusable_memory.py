"""Memory that is used again: what is held never changes, and a block comes back when its last view is gone."""

from __future__ import annotations

import gc
import os
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from patchaug.data.reusable_memory import ReusableMemory

BIG = 1 << 20
linux = pytest.mark.skipif(sys.platform != "linux", reason="memory is used again on Linux alone")


@given(
    actions=st.lists(
        st.tuples(st.integers(1, 3 * BIG), st.integers(0, 5), st.sampled_from(["whole", "view", "tensor"])), max_size=30
    )
)
def test_arrays_that_are_held_never_change(actions):
    memory, held = ReusableMemory(), {}
    with memory.kept():
        for number, (size, drop, kind) in enumerate(actions):
            array = memory.take(size)
            assert array.shape == (size,) and array.dtype == np.uint8
            array[:] = number
            if kind == "view":
                array = array[size // 3 :][::2]
            elif kind == "tensor":
                array = torch.from_numpy(array)[size // 2 :].numpy()
            held[number] = array
            del array
            held.pop(number - drop, None)
            assert all((kept == owner).all() for owner, kept in held.items())


@linux
@pytest.mark.parametrize("view", [lambda a: a, lambda a: a[5:], lambda a: torch.from_numpy(a).view(torch.int32)[1:]])
def test_a_block_comes_back_with_its_last_view(view):
    memory = ReusableMemory()
    with memory.kept():
        array = memory.take(BIG)
        address, last = array.ctypes.data, view(array)
        del array
        other = memory.take(BIG)
        assert other.ctypes.data != address
        del last
        assert memory.take(BIG).ctypes.data == address


@linux
def test_blocks_of_other_sizes_are_not_used():
    memory = ReusableMemory()
    with memory.kept():
        small, large = memory.take(BIG), memory.take(8 * BIG)
        addresses = {small.ctypes.data, large.ctypes.data}
        del small, large
        assert memory.take(3 * BIG).ctypes.data not in addresses  # too large for one, a waste of the other


@linux
def test_nothing_is_kept_after_the_last_pass():
    memory = ReusableMemory()
    array = memory.take(BIG)
    del array
    assert not memory._free
    with memory.kept():
        arrays = [memory.take(BIG) for _ in range(12)]
        late = arrays.pop()
        arrays.clear()
        assert 0 < len(memory._free) <= 4
        with memory.kept():
            assert not memory._free
    assert not memory._free
    del late
    assert not memory._free


@linux
def test_a_forked_child_gives_nothing_back():
    memory = ReusableMemory()
    with memory.kept():
        array = memory.take(BIG)
        array[:] = 7
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            seen = (array == 7).all()
            del array
            gc.collect()
            os.write(write, bytes([bool(seen), len(memory._free)]))
            os._exit(0)
        os.waitpid(pid, 0)
        assert os.read(read, 2) == bytes([1, 0])
        assert (array == 7).all()


def test_arrays_like_others():
    memory = ReusableMemory()
    for shape in [(3, 5), (4, 300, 300), (0, 2)]:
        found = memory.like(np.zeros(shape, np.uint8), np.int64)
        assert (found.shape, found.dtype, found.flags.c_contiguous) == (shape, np.dtype(np.int64), True)
