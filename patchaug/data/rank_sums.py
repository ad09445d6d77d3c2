"""Sums over the batch of all ranks, within a loss that is no mean of values."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

Sum = Callable[[torch.Tensor], torch.Tensor]
_sum: list[Sum | None] = [None]


@contextmanager
def summing(function: Sum | None) -> Iterator[None]:
    """Let `over_ranks` call a function within the context.

    Args:
        function: Returns the sum of the ranks' tensors, with the gradient of this rank's; None sums nothing.
    """
    before, _sum[0] = _sum[0], function
    try:
        yield
    finally:
        _sum[0] = before


def over_ranks(values: torch.Tensor) -> torch.Tensor:
    """Return the sum of the ranks' tensors; the tensor itself in a single process.

    Args:
        values: Sums over the pixels of this rank's windows.

    Examples:
        >>> from patchaug.data.rank_sums import over_ranks, summing
        >>> over_ranks(torch.tensor(2.0))
        tensor(2.)
        >>> with summing(lambda values: values + 1):
        ...     over_ranks(torch.tensor(2.0))
        tensor(3.)
    """
    function = _sum[0]
    return values if function is None else function(values)
