"""Reusable shared-memory buffers for batches sent from workers.

torch allocates new shared memory for each tensor of each batch. The system zeroes its pages one by one, in the worker
and again in the main process. That takes several times as long as copying a window out of cached tiles. So the workers
of a pass stack patches into a few slots of one anonymous memory file. The main process receives tensors that lie in a
slot, which is free again when its last tensor is deleted. Batches that do not fit are sent by torch.
"""

from __future__ import annotations

import itertools
import math
import mmap
import os
import sys
import threading
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from patchaug.core.memory.anonymous import MemoryFile, is_starting_process

EACH = 5  # slots of a worker: torch prefetches two batches, and two more may be in use
_SIZE = 1 << 28  # bytes of a slot; pages that are never written take no memory
_HEAD = mmap.ALLOCATIONGRANULARITY  # bytes before the slots; one byte for each slot: whether it is in use
_ALIGNED = 64
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
        self._filled: int | None = None
        _known[token] = self

    def __reduce__(self) -> tuple[Any, ...]:
        if not is_starting_process():  # any other copy belongs to no pass
            return type(None), ()
        return BatchBuffers, (self.file, self.workers, self.token)

    def stacked(self, items: Sequence[Any], worker: int) -> tuple[torch.Tensor, ...] | None:
        """Stack the tensors of some tuples into a free slot of a worker, as torch's collate does.

        Args:
            items: Tuples of tensors; all tuples have the same shapes and dtypes.
            worker: Number of the worker.

        Returns:
            Plain tensors (len(items), ...), to be wrapped with `packed`. None if torch must collate: for items other
            than tensors, a batch larger than a slot, or without a free slot.
        """
        if any(type(item) is not tuple or not item for item in items):
            return None
        columns = list(zip(*items, strict=False))
        if not all(_alike(column) for column in columns):
            return None
        sizes = [len(items) * column[0].numel() * column[0].element_size() for column in columns]
        places = list(itertools.accumulate((-(-size // _ALIGNED) * _ALIGNED for size in sizes), initial=0))
        if places[-1] > _SIZE or not all(sizes):
            return None
        slot = next((k for k in range(worker * EACH, (worker + 1) * EACH) if not self._memory[k]), None)
        if slot is None:
            return None
        with self._barrier:  # orders the writes: the main process reads the old batch before new pixels are written
            self._memory[slot] = 1
        self._filled = slot
        stacks = []
        for column, place in zip(columns, places, strict=False):
            shape, at = (len(items), *column[0].shape), _HEAD + slot * _SIZE + place
            flat = torch.frombuffer(self._memory, dtype=column[0].dtype, count=math.prod(shape), offset=at)
            torch.stack([tensor.as_subclass(torch.Tensor) for tensor in column], out=flat.view(shape))
            stacks.append(flat.view(shape))
        return tuple(stacks)

    def packed(self, batch: Any) -> Any:
        """Wrap a batch for the main process, so that tensors in the slot filled last are not copied."""
        slot, self._filled = self._filled, None
        return batch if slot is None else _SharedBatch(self, slot, tuple(batch))

    def opened(self, slot: int, parts: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return the batch that a worker packed."""
        memory = np.frombuffer(self._memory, np.uint8, _SIZE, _HEAD + slot * _SIZE)
        weakref.finalize(memory, self._free, slot, os.getpid()).atexit = False
        return tuple(part.tensor(memory) if isinstance(part, _TensorSpec) else part for part in parts)

    def _free(self, slot: int, process: int) -> None:
        if process == os.getpid():  # a forked child deletes only its own copies
            with self._barrier:
                self._memory[slot] = 0


def _alike(column: tuple[Any, ...]) -> bool:
    first = column[0]
    return all(
        isinstance(tensor, torch.Tensor)
        and tensor.layout == torch.strided
        and tensor.device.type == "cpu"
        and not tensor.requires_grad
        and (tensor.shape, tensor.dtype) == (first.shape, first.dtype)
        for tensor in column
    )


class _TensorSpec:
    """Offset of a tensor in a slot, with its dtype, shape, class and attributes."""

    def __init__(self, tensor: torch.Tensor, place: int) -> None:
        self.place, self.dtype, self.shape = place, tensor.dtype, tuple(tensor.shape)
        self.kind, self.attributes = type(tensor), tensor.__dict__

    def tensor(self, memory: np.ndarray[Any, np.dtype[np.uint8]]) -> torch.Tensor:
        """View the tensor in the slot `memory`, which stays alive as long as the tensor."""
        flat = torch.from_numpy(memory[self.place : self.place + math.prod(self.shape) * self.dtype.itemsize])
        tensor = flat.view(self.dtype).view(self.shape).as_subclass(self.kind)
        tensor.__dict__.update(self.attributes)
        return tensor


class _SharedBatch:
    """A batch in a slot; its pickle contains no pixels, and unpickles to the batch itself."""

    def __init__(self, slots: BatchBuffers, slot: int, batch: tuple[Any, ...]) -> None:
        self.token, self.slot = slots.token, slot
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
        return _opened, (self.token, self.slot, self.parts)


def _opened(token: tuple[int, int], slot: int, parts: tuple[Any, ...]) -> tuple[Any, ...]:
    return _known[token].opened(slot, parts)
