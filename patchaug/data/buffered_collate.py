"""Collate batches in workers into memory that the main process shares, and that batches have lain in before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import default_collate, get_worker_info

from patchaug.data.batch_memory import BatchBuffers
from patchaug.slides.patch import Patch

Unpack = Callable[[Sequence[Any]], tuple[Any, list[Any]]]
Collate = Callable[[Sequence[Any]], Any]


def patches_as_tensors(items: Sequence[Any]) -> tuple[Any, list[Any]]:
    """Return what makes a batch of the stacked tensors of patches, and the tensors of each patch.

    They are not stacked where torch's `default_collate` has to: for other items, and patches without mask.
    """
    if any(type(item) is not Patch or item.mask is None for item in items):
        return None, []
    return Patch._make, [tuple(torch.as_tensor(np.ascontiguousarray(array)) for array in item) for item in items]


# Collate functions that only stack tensors: how they make tensors of items, and a batch of the stacked ones.
UNPACK: dict[Collate, Unpack] = {default_collate: patches_as_tensors}


class BufferedCollate:
    """Call a collate function in a worker, and put the tensors of its batch into shared memory.

    torch allocates such memory for each tensor, and the system zeroes it page by page.

    Args:
        collate: The function of the loader.
        buffers: Memory of the pass.
    """

    def __init__(self, collate: Collate, buffers: BatchBuffers) -> None:
        self.collate, self.buffers = collate, buffers

    def __call__(self, items: Sequence[Any]) -> Any:
        """Return the batch of some items, to be sent to the main process."""
        worker = get_worker_info()
        if worker is None or self.buffers is None:
            return self.collate(items)
        unpack = UNPACK.get(self.collate)
        if unpack is not None:
            make, tensors = unpack(items)
            stacked = self.buffers.stacked(tensors, worker.id) if tensors else None
            if stacked is not None:
                return self.buffers.packed(make(stacked))
        return self.buffers.packed(self._moved(self.collate(items), worker.id))

    def _moved(self, batch: Any, worker: int) -> Any:
        """Return a batch whose tensors lie in shared memory, if it is a sequence of tensors and there is room."""
        if not isinstance(batch, (tuple, list)):
            return batch
        moved = self.buffers.stacked([tuple(batch)], worker)
        if moved is None:
            return batch
        parts = [new[0].as_subclass(type(old)) for new, old in zip(moved, batch, strict=True)]
        for new, old in zip(parts, batch, strict=True):
            new.__dict__.update(old.__dict__)
        return type(batch)(*parts) if hasattr(batch, "_fields") else type(batch)(parts)
