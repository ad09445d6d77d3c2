"""Write the items of a batch to where the batch will lie, one by one: nothing is left to stack."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from patchaug.core.arrays import Array
from patchaug.data.channel_planes import copy_pixels

_ALIGNED = 64
Item = Any
Claim = Callable[[int], Array | None]


class BatchFilling:
    """Batches in memory that is claimed with the first item of each.

    Each item is copied right after it was read, while its pixels are in the processor's cache. The memory that it was
    read into is free for the next one.

    Args:
        capacity: Items in a batch at most.
        claim: Returns an array uint8 of at least some number of bytes; None without room.

    Examples:
        >>> import numpy as np
        >>> import torch
        >>> from patchaug.data.batch_filling import BatchFilling
        >>> filling = BatchFilling(8, lambda size: np.empty(size, np.uint8))
        >>> items = [filling.place((torch.full((2,), number),)) for number in range(3)]
        >>> filling.batch(items)
        (tensor([[0, 0],
                [1, 1],
                [2, 2]]),)
    """

    def __init__(self, capacity: int, claim: Claim) -> None:
        self._capacity, self._claim = capacity, claim
        self.clear()

    def clear(self) -> None:
        """Begin a new batch."""
        self._memory: Array | None = None
        self._places: list[int] = []
        self._columns: list[torch.Tensor] = []
        self._placed: list[Item] = []
        self._seen = 0

    def place(self, item: Item) -> Item:
        """Copy the next item of the batch to its place.

        Args:
            item: A tuple of tensors.

        Returns:
            The same tensors there. The item itself if it is no tuple of tensors on the CPU, if its shapes and dtypes
            are not those of the first one, or without memory.
        """
        number, self._seen = self._seen, self._seen + 1
        if type(item) is not tuple:
            return item
        with torch._C.DisableTorchFunctionSubclass():  # fastai's tensors spend more time on it than on a small copy
            if not all(_copyable(tensor) for tensor in item):
                return item
            if not number:
                self._begin(item)
            columns = self._columns
            if number >= self._capacity or not _alike(item, columns):
                return item
            tensors = []
            for tensor, column in zip(item, columns, strict=True):
                place = column[number]
                copy_pixels(tensor.as_subclass(torch.Tensor), place)
                placed = place.as_subclass(type(tensor))
                placed.__dict__.update(tensor.__dict__)
                tensors.append(placed)
        self._placed.append(tuple(tensors))
        return self._placed[-1]

    def batch(self, items: Sequence[Item]) -> tuple[torch.Tensor, ...] | None:
        """Return the batch of all items since the last one, and begin a new one.

        Args:
            items: What `place` returned.

        Returns:
            Plain tensors (len(items), ...), as torch's collate makes them; None if items are not in their places.
        """
        placed, columns, places, memory = self._placed, self._columns, self._places, self._memory
        self.clear()
        if memory is None or len(items) != len(placed) or any(a is not b for a, b in zip(items, placed, strict=True)):
            return None
        return tuple(
            view_of(memory, place, column.dtype, (len(items), *column.shape[1:]))
            for place, column in zip(places, columns, strict=True)
        )

    def _begin(self, item: tuple[torch.Tensor, ...]) -> None:
        """Claim memory for a batch of items like this one."""
        sizes = [self._capacity * tensor.numel() * tensor.element_size() for tensor in item]
        places = list(itertools.accumulate((-(-size // _ALIGNED) * _ALIGNED for size in sizes), initial=0))
        if not sizes or not all(sizes):
            return
        memory = self._claim(places[-1])
        if memory is None:
            return
        self._memory, self._places = memory, places[:-1]
        self._columns = [
            view_of(memory, place, tensor.dtype, (self._capacity, *tensor.shape))
            for place, tensor in zip(places, item, strict=False)
        ]


def view_of(memory: Array, place: int, dtype: torch.dtype, shape: tuple[int, ...]) -> torch.Tensor:
    """View a part of memory as a tensor, whose storage is that part."""
    flat = torch.from_numpy(memory[place : place + math.prod(shape) * dtype.itemsize])
    return flat.view(dtype).view(shape)


def _copyable(tensor: Any) -> bool:
    return (
        isinstance(tensor, torch.Tensor)
        and tensor.layout == torch.strided
        and tensor.device.type == "cpu"
        and not tensor.requires_grad
        and not tensor.is_quantized
    )


def _alike(item: tuple[torch.Tensor, ...], columns: list[torch.Tensor]) -> bool:
    """Decide whether the tensors of an item have the shapes and dtypes of the columns."""
    return len(item) == len(columns) > 0 and all(
        tensor.dtype == column.dtype and tensor.shape == column.shape[1:]
        for tensor, column in zip(item, columns, strict=True)
    )
