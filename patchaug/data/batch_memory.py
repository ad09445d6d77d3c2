"""Batches on their way from workers, in memory that has been used before.

torch makes new shared memory for each tensor of each batch. The system hands out its pages one by one, zeroed, in the
worker and once more in the main process, which takes several times as long as copying a window out of kept tiles. So
the workers of a pass stack patches into a few slots of one nameless memory, and the main process gets tensors that lie
in there; a slot is used again when the last tensor in it is gone. Whatever does not fit travels as torch sends it.
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

EACH = 5  # slots of a worker: torch lets it be two batches ahead, and two more may be in use
_SIZE = 1 << 28  # bytes of a slot; those that are never touched take no memory
_HEAD = mmap.ALLOCATIONGRANULARITY  # one byte a slot: whether it is in use
_ALIGNED = 64
_numbers = itertools.count()
_known: weakref.WeakValueDictionary[tuple[int, int], BatchBuffers] = weakref.WeakValueDictionary()


def batch_buffers_for(workers: int) -> BatchBuffers | None:
    """Buffers for a pass; None without workers, for more than hundreds of them, and where there is too little room.

    On Linux alone: elsewhere nobody has seen yet whether copies to a device are through with a batch when it is let go.
    """
    if not workers or sys.platform != "linux" or workers * EACH > _HEAD:
        return None
    try:
        return BatchBuffers(MemoryFile(_HEAD + workers * EACH * _SIZE), workers, (os.getpid(), next(_numbers)))
    except OSError:
        return None


class BatchBuffers:
    """The slots of a pass: made by the main process, filled by its workers.

    Attributes:
        token: The same for all processes of a pass, and for no other.
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
        """Stack the tensors of some tuples into a free slot of a worker, as torch's collate would.

        Args:
            items: Tuples of tensors, each place of one shape and dtype.
            worker: Its number.

        Returns:
            Plain tensors (len(items), ...), to be wrapped with `packed`; None where torch has to do it: other things
            than tensors, more than a slot holds, or no slot that is free.
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
        with self._barrier:  # the pixels come after what the main process read
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
        """A batch for the way to the main process: what lies in the slot filled last stays there."""
        slot, self._filled = self._filled, None
        return batch if slot is None else _SharedBatch(self, slot, tuple(batch))

    def opened(self, slot: int, parts: tuple[Any, ...]) -> tuple[Any, ...]:
        """The batch that a worker packed."""
        held = np.frombuffer(self._memory, np.uint8, _SIZE, _HEAD + slot * _SIZE)
        weakref.finalize(held, self._free, slot, os.getpid()).atexit = False
        return tuple(part.tensor(held) if isinstance(part, _TensorSpec) else part for part in parts)

    def _free(self, slot: int, process: int) -> None:
        if process == os.getpid():  # the garbage of a forked child says nothing about its parent
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
    """Where in a slot a tensor lies, and what it was beside its numbers."""

    def __init__(self, tensor: torch.Tensor, place: int) -> None:
        self.place, self.dtype, self.shape = place, tensor.dtype, tuple(tensor.shape)
        self.kind, self.more = type(tensor), tensor.__dict__

    def tensor(self, held: np.ndarray[Any, np.dtype[np.uint8]]) -> torch.Tensor:
        """The tensor; it keeps `held` alive."""
        flat = torch.from_numpy(held[self.place : self.place + math.prod(self.shape) * self.dtype.itemsize])
        found = flat.view(self.dtype).view(self.shape).as_subclass(self.kind)
        found.__dict__.update(self.more)
        return found


class _SharedBatch:
    """A batch in a slot; its pickle holds no pixels, and is the batch where it is opened."""

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
