"""Exchange values between the ranks of torch's process group."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.distributed as dist

from patchaug.core.ranks import Ranks, read_ranks

_control: dict[Any, Any] = {}  # a group over sockets for each default group, for values that are not on a GPU


def group_ranks() -> Ranks | None:
    """Return the place of this process in torch's process group; None where there is none, or it is alone in it.

    Examples:
        >>> from patchaug.data.process_group import group_ranks
        >>> group_ranks() is None
        True
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return None
    local = read_ranks()
    return Ranks(dist.get_rank(), dist.get_world_size(), local.local_rank, local.local_world_size)


def control_group() -> Any:
    """Return a group that exchanges values of the CPU; all ranks make it in the same call."""
    default = dist.distributed_c10d._get_default_group()
    if dist.get_backend() == "gloo":
        return default
    if default not in _control:
        _control.clear()
        _control[default] = dist.new_group(backend="gloo")
    return _control[default]


def gather_values(value: Any) -> list[Any]:
    """Return a picklable value of each rank, in the order of the ranks."""
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value, group=control_group())
    return values


def value_of_first(value: Any) -> Any:
    """Return the value of rank 0 on all ranks."""
    values = [value]
    dist.broadcast_object_list(values, src=0, group=control_group())
    return values[0]


def greatest(number: int) -> int:
    """Return the greatest of the ranks' numbers."""
    found = torch.tensor(number)
    dist.all_reduce(found, dist.ReduceOp.MAX, group=control_group())
    return int(found)


def sum_of_ranks(values: torch.Tensor) -> torch.Tensor:
    """Return the sum of the ranks' tensors of one shape, without gradient."""
    total = values.detach().as_subclass(torch.Tensor).clone()
    dist.all_reduce(total)
    return total


def gather_rows(rows: torch.Tensor, sizes: list[int]) -> torch.Tensor:
    """Return the rows of all ranks, in the order of the ranks, without gradient.

    Args:
        rows: Tensor of any type (n, ...), n at least this rank's size.
        sizes: Rows that count, of each rank.
    """
    most, rank = max(sizes), dist.get_rank()
    own = rows.detach().as_subclass(torch.Tensor).contiguous()
    own_bytes = own.reshape(len(own), math.prod(own.shape[1:])).view(torch.uint8)  # for any type of numbers
    sent = own_bytes.new_zeros(most, own_bytes.shape[1])
    sent[: sizes[rank]] = own_bytes[: sizes[rank]]
    received = [torch.empty_like(sent) for _ in sizes]
    dist.all_gather(received, sent)
    whole = torch.cat([part[:size] for part, size in zip(received, sizes, strict=True)])
    return whole.view(own.dtype).reshape(-1, *own.shape[1:])


def gather_parts(values: torch.Tensor) -> torch.Tensor:
    """Return the tensors of all ranks, one after the other along their first axis, whatever its length."""
    return gather_rows(values, gather_values(len(values)))


def copy_from_first(module: torch.nn.Module, *, parameters: bool) -> None:
    """Copy buffers, and parameters where asked for, from rank 0 to all ranks.

    Args:
        module: The model.
        parameters: Whether parameters are copied too.
    """
    for tensor in (*module.buffers(), *(module.parameters() if parameters else ())):
        dist.broadcast(tensor.detach(), src=0)
