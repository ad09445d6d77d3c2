"""Reusable shared-memory buffers for batches sent from workers.

torch allocates new shared memory for each tensor of each batch. The system zeroes its pages one by one, in the worker
and again in the main process. That takes several times as long as copying a window out of cached tiles. So the workers
of a pass stack patches into a few slots of one anonymous memory file. The main process receives tensors that lie in a
slot, which is free again when its last tensor is deleted. Batches that do not fit are sent by torch.
"""

from __future__ import annotations

import itertools
import mmap
import os
import sys
import threading
import weakref
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from patchaug.core.arrays import Array
from patchaug.core.memory.anonymous import MemoryFile, is_starting_process
from patchaug.data.batch_filling import BatchFilling, view_of

EACH = 5  # slots of a worker: torch prefetches two batches, and two more may be in use
_SIZE = 1 << 28  # bytes of a slot; pages that are never written take no memory
_HEAD = mmap.ALLOCATIONGRANULARITY  # bytes before the slots; one byte for each slot: whether it is in use
_numbers = itertools.count()
_known: weakref.WeakValueDictionary[tuple[int, int], BatchBuffers] = weakref.WeakValueDictionary()


def batch_buffers_for(workers: int) -> BatchBuffers | None:
    """Create buffers for a pass; None without workers, with hundreds of workers, or without room.

    Linux only: on other systems it is untested whether copies to a device end before a batch is deleted.
    """
    if not workers or sys.platform != "linux" or workers * EACH > _HEAD:
        return None
    try:
        return BatchBuffers(MemoryFile(_HEAD + workers * EACH * _SIZE), workers, (os.getpid(), next(_numbers)))
    except OSError:
        return None


class BatchBuffers:
    """The slots of one pass: created by the main process, filled by its workers.

    Args:
        file: Memory for all slots.
        workers: Number of worker processes.
        token: Identifies the pass in all its processes.
    """

    def __init__(self, file: MemoryFile, workers: int, token: tuple[int, int]) -> None:
        self.file, self.workers, self.token = file, workers, token
        self._memory = file.map
        self._barrier = threading.Lock()
        self._forks = 0  # of this process, since these buffers were made
        self._unsent: dict[int, weakref.finalize[..., Array]] = {}  # what frees the slots that are being filled
        _known[token] = self

    def __reduce__(self) -> tuple[Any, ...]:
        if not is_starting_process():  # any other copy belongs to no pass
            return type(None), ()
        return BatchBuffers, (self.file, self.workers, self.token)

    def claim(self, size: int, worker: int) -> Array | None:
        """Return the memory of a free slot of a worker, uint8; None for more bytes than a slot has, or without one.

        The slot is free again when nothing in this process refers to the array, unless `packed` has sent it.
        """
        slot = next((k for k in range(worker * EACH, (worker + 1) * EACH) if not self._memory[k]), None)
        if size > _SIZE or slot is None:
            return None
        with self._barrier:  # orders the writes: the main process reads the old batch before new pixels are written
            self._memory[slot] = 1
        memory, self._unsent[slot] = self._slot(slot)
        return memory

    def stacked(self, items: Sequence[Any], worker: int) -> tuple[torch.Tensor, ...] | None:
        """Stack the tensors of some tuples into a free slot of a worker, as torch's collate does.

        Args:
            items: Tuples of tensors; all tuples have the same shapes and dtypes.
            worker: Number of the worker.

        Returns:
            Plain tensors (len(items), ...), to be wrapped with `packed`. None if torch must collate: for items other
            than tensors, a batch larger than a slot, or without a free slot.
        """
        filling = BatchFilling(len(items), partial(self.claim, worker=worker))
        return filling.batch([filling.place(item) for item in items])

    def packed(self, batch: Any) -> Any:
        """Wrap a batch for the main process, so that tensors that lie in one slot are not copied."""
        if not isinstance(batch, (tuple, list)):
            return batch
        with torch._C.DisableTorchFunctionSubclass():  # fastai's tensors spend more time on it than on all else here
            start, size = np.frombuffer(self._memory, np.uint8).ctypes.data + _HEAD, self.workers * EACH * _SIZE
            places = [element.data_ptr() - start for element in batch if isinstance(element, torch.Tensor)]
            slots = {place // _SIZE for place in places if 0 <= place < size}
            slot = slots.pop() if len(slots) == 1 else -1
            filled = self._unsent.pop(slot, None)
            if filled is None or filled.detach() is None:  # has been sent, or no memory of this pass
                return batch
            return _SharedBatch(self, slot, batch)

    def opened(self, slot: int, parts: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return the batch that a worker packed."""
        memory, _ = self._slot(slot)
        return tuple(part.tensor(memory) if isinstance(part, _TensorSpec) else part for part in parts)

    def _slot(self, slot: int) -> tuple[Array, weakref.finalize[..., Array]]:
        """Return the memory of a slot, which is free when nothing refers to the array, and what frees it."""
        memory: Array = np.frombuffer(self._memory, np.uint8, _SIZE, _HEAD + slot * _SIZE)
        last = weakref.finalize(memory, self._free, slot, os.getpid(), self._forks)
        last.atexit = False
        return memory, last

    def retire(self) -> None:
        """Fill no slot again that is in use now: a child that is about to be forked sees its batch, too."""
        self._forks += 1

    def _free(self, slot: int, process: int, forks: int) -> None:
        if process == os.getpid() and forks == self._forks:  # a forked child deletes only its own copies
            with self._barrier:
                self._memory[slot] = 0


def _retire_all() -> None:
    for buffers in list(_known.values()):
        buffers.retire()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_retire_all)


class _TensorSpec:
    """Offset of a tensor in a slot, with its dtype, shape, class and attributes."""

    def __init__(self, tensor: torch.Tensor, place: int) -> None:
        self.place, self.dtype, self.shape = place, tensor.dtype, tuple(tensor.shape)
        self.kind, self.attributes = type(tensor), tensor.__dict__

    def tensor(self, memory: Array) -> torch.Tensor:
        """View the tensor in the slot `memory`, which stays alive as long as the tensor."""
        tensor = view_of(memory, self.place, self.dtype, self.shape).as_subclass(self.kind)
        tensor.__dict__.update(self.attributes)
        return tensor


class _SharedBatch:
    """A batch in a slot; its pickle contains no pixels, and unpickles to the batch itself."""

    def __init__(self, slots: BatchBuffers, slot: int, batch: Sequence[Any]) -> None:
        self.token, self.slot, self.kind = slots.token, slot, type(batch)
        start = np.frombuffer(slots._memory, np.uint8).ctypes.data + _HEAD + slot * _SIZE
        self.parts = tuple(
            _TensorSpec(element, element.data_ptr() - start)
            if isinstance(element, torch.Tensor)
            and start <= element.data_ptr() < start + _SIZE
            and element.is_contiguous()
            else element
            for element in batch
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return _opened, (self.token, self.slot, self.parts, self.kind)


def _opened(token: tuple[int, int], slot: int, parts: tuple[Any, ...], kind: Any) -> Any:
    batch = _known[token].opened(slot, parts)
    if kind is tuple:
        return batch
    return kind(*batch) if hasattr(kind, "_fields") else kind(batch)
