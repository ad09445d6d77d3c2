"""Divide a batch of all processes into one part for each rank."""

from __future__ import annotations


def part_of(count: int, rank: int, world_size: int) -> range:
    """Return a rank's part of a batch: the parts are contiguous, in order, and differ by one window at most.

    Args:
        count: Windows in the batch of all ranks.
        rank: Number of the process.
        world_size: Number of processes.

    Examples:
        >>> from patchaug.core.rank_parts import part_of
        >>> [list(part_of(5, rank, 3)) for rank in range(3)]
        [[0, 1], [2, 3], [4]]
    """
    return range(-(-count * rank // world_size), -(-count * (rank + 1) // world_size))


def part_sizes(count: int, world_size: int) -> list[int]:
    """Return the number of windows of each rank in a batch; rank 0 has the most.

    Args:
        count: Windows in the batch of all ranks.
        world_size: Number of processes.

    Examples:
        >>> from patchaug.core.rank_parts import part_sizes
        >>> part_sizes(5, 3), part_sizes(1, 3)
        ([2, 2, 1], [1, 0, 0])
    """
    return [len(part_of(count, rank, world_size)) for rank in range(world_size)]
