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


def unpack_of(collate: Collate) -> Unpack | None:
    """Return the entry of a collate function; None for one of the user's, whose batches are left to torch."""
    return next((unpack for known, unpack in UNPACK.items() if known is collate), None)


class BufferedCollate:
    """Stack the tensors of a batch in shared memory, in a worker, where a known collate function only stacks them.

    torch allocates such memory for each tensor, and the system zeroes it page by page.

    Args:
        collate: The function of the loader.
        unpack: Its entry in `UNPACK`.
        buffers: Memory of the pass.
    """

    def __init__(self, collate: Collate, unpack: Unpack, buffers: BatchBuffers) -> None:
        self.collate, self.unpack, self.buffers = collate, unpack, buffers

    def __call__(self, items: Sequence[Any]) -> Any:
        """Return the batch of some items, to be sent to the main process."""
        worker = get_worker_info()
        if worker is None or self.buffers is None:
            return self.collate(items)
        make, tensors = self.unpack(items)
        stacked = self.buffers.stacked(tensors, worker.id) if tensors else None
        return self.collate(items) if stacked is None else self.buffers.packed(make(stacked))
