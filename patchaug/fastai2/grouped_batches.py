"""Batches of stated windows, in place of those of one size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from patchaug.sampling.plan import Plan
from patchaug.sampling.read_ahead import BATCHES, ReadAhead


class GroupedBatches:
    """Mixin of a loader: where `groups` is set, batch k holds the windows with the numbers of group k.

    Attributes:
        groups: Numbers of the windows in each batch; None for batches of `bs` windows.
        num_workers: Processes that share the batches.
        offs: Number of this process among them.
        plan: What a number stands for.
        bs: Windows in a batch.
    """

    groups: list[list[int]] | None = None
    num_workers: int
    offs: int
    plan: Plan | None
    bs: int | None

    def __len__(self) -> int:
        return super().__len__() if self.groups is None else len(self.groups)  # type: ignore[misc]

    def sample(self) -> Iterable[int]:
        """Yield the numbers of this process's windows; slides in stores fetch those of the next batches meanwhile."""
        if self.groups is None:
            numbers: Iterable[int] = super().sample()  # type: ignore[misc]
        else:
            numbers = (number for group in self.groups[self.offs :: self.num_workers] for number in group)
        return numbers if self.plan is None else ReadAhead(self.plan).stream(numbers, BATCHES * (self.bs or 1))

    def chunkify(self, items: Iterable[Any]) -> Iterable[list[Any]]:
        """Yield the items of this process batch by batch."""
        if self.groups is None:
            return super().chunkify(items)  # type: ignore[misc, no-any-return]
        return self._grouped(iter(items), self.groups[self.offs :: self.num_workers])

    @staticmethod
    def _grouped(items: Iterator[Any], groups: list[list[int]]) -> Iterator[list[Any]]:
        for group in groups:
            yield list(islice(items, len(group)))
