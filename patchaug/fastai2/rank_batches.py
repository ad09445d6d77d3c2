"""Batches of one rank: its part of each batch of all ranks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import torch
from fastai.torch_core import apply, to_detach
from fastai.vision.augment import RandTransform
from fasttransform import Pipeline

from patchaug.core.rank_parts import part_of, part_sizes
from patchaug.core.ranks import Ranks
from patchaug.data.process_group import gather_parts, gather_rows, sum_of_ranks
from patchaug.errors import OptionError


class RankBatches:
    """Mixin of a loader: within `divided`, a batch holds this rank's part of the batch of all ranks.

    `bs` is the size of the batch of all ranks together, so their number changes neither the windows of a step nor the
    number of steps. A rank without a part, in a batch with fewer windows than ranks, reads the last window of the
    batch, and `part` says that it does not count.

    Attributes:
        ranks: Place of this process while the loader is divided, or None.
        whole: Whether the tensors in progress are those of all ranks.
    """

    ranks: Ranks | None = None
    whole: bool = True
    bs: int | None
    n: int
    drop_last: bool
    num_workers: int
    offs: int
    groups: Any
    after_batch: Any
    batch_weights: Any
    _step: int = 0
    _DataLoader__idxs: list[int]  # fastai's: indices of the pass

    @contextmanager
    def divided(self, ranks: Ranks) -> Iterator[None]:
        """Load this rank's part of each batch within the context."""
        if self.bs is None:
            raise OptionError("a loader with bs=None has no batches to divide between processes; set bs")
        transforms, self.ranks = self.after_batch, ranks
        if isinstance(transforms, Pipeline) and any(isinstance(one, RandTransform) for one in transforms.fs):
            self.after_batch = WholeBatch(transforms, self)
        try:
            yield
        finally:
            self.after_batch, self.ranks, self.whole = transforms, None, True

    @property
    def batch_windows(self) -> int:
        """Windows in the batch in progress, of all ranks; the loader is divided."""
        bs = self.bs or 1
        return min(bs, len(self._DataLoader__idxs) - self._step * bs)

    @property
    def part(self) -> range:
        """Places of this rank's windows in the batch in progress; empty where its window does not count."""
        assert self.ranks is not None
        return part_of(self.batch_windows, self.ranks.rank, self.ranks.world_size)

    @property
    def parts(self) -> list[int]:
        """Windows of each rank in the batch in progress."""
        assert self.ranks is not None
        return part_sizes(self.batch_windows, self.ranks.world_size)

    def stepwise(self, batches: Iterator[Any]) -> Iterator[Any]:
        """Yield the batches, and count them before the next one is prepared."""
        self._step = 0
        for batch in batches:
            self.whole = self.ranks is None
            yield batch
            self._step += 1

    def sample(self) -> Iterable[int]:
        """Yield the indices of this process's windows."""
        if self.ranks is None or self.groups is not None:
            return super().sample()  # type: ignore[misc, no-any-return]
        indices = self._DataLoader__idxs
        return (indices[place] for places in self._own_steps() for place in places)

    def chunkify(self, items: Iterable[Any]) -> Iterable[list[Any]]:
        """Yield the items of this process batch by batch."""
        if self.ranks is None or self.groups is not None:
            return super().chunkify(items)  # type: ignore[misc, no-any-return]
        items = iter(items)
        return (list(islice(items, len(places))) for places in self._own_steps())

    def _own_steps(self) -> Iterator[range]:
        """Yield the places in the pass of this rank's windows, for each batch of this process."""
        assert self.ranks is not None
        bs, count = self.bs or 1, len(self._DataLoader__idxs)
        steps = count // bs if self.drop_last else -(-count // bs)
        for step in range(self.offs, steps, self.num_workers):
            first, size = step * bs, min(bs, count - step * bs)
            part = part_of(size, self.ranks.rank, self.ranks.world_size) or range(size - 1, size)
            yield range(first + part.start, first + part.stop)

    def to_detach(self, b: Any, cpu: bool = True, gather: bool = True) -> Any:
        """Detach tensors, and gather those of all ranks where they are a part; fastai calls this for metrics.

        Args:
            b: Nested tensors.
            cpu: Move them to the CPU.
            gather: Gather the rows of all ranks, or the mean of a value over all windows.
        """
        if gather and not self.whole:
            b = apply(lambda x: self._gathered(x) if isinstance(x, torch.Tensor) else x, b)
        return to_detach(b, cpu=cpu, gather=False)

    def _gathered(self, x: torch.Tensor) -> torch.Tensor:
        if x.ndim:
            return gather_parts(x).as_subclass(type(x))
        return (sum_of_ranks(x * len(self.part)) / self.batch_windows).as_subclass(type(x))

    def gathered(self, b: Any) -> Any:
        """Return nested tensors of a batch with the rows of all ranks, in the order of the windows."""
        rows = max(len(self.part), 1)

        def whole(x: Any) -> Any:
            if not isinstance(x, torch.Tensor) or not x.ndim or len(x) != rows:
                return x
            return gather_rows(x, self.parts).as_subclass(type(x))

        return apply(whole, b)


class WholeBatch(Pipeline):
    """Random transforms of a batch, drawn as for the batch of all ranks.

    They draw once for a whole batch of B windows, so a rank makes a batch of B rows, its own ones at their places, and
    keeps those. The draws are those of one process, since the ranks' generators have one state.

    Args:
        transforms: The pipeline.
        loader: The divided loader.
    """

    def __init__(self, transforms: Pipeline, loader: RankBatches) -> None:
        self.__dict__.update(vars(transforms))
        self.loader = loader

    def __call__(self, batch: Any) -> Any:
        """Transform a batch of this rank."""
        loader = self.loader
        if self.split_idx == 1:  # validation: nothing is drawn
            return super().__call__(batch)
        part = loader.part or range(1)
        rows = torch.zeros(loader.batch_windows, dtype=torch.long)
        rows[part.start : part.stop] = torch.arange(len(part))
        made = super().__call__(_rows_of(batch, rows))
        return _rows_of(made, torch.arange(part.start, part.stop))


def _rows_of(batch: Any, rows: torch.Tensor) -> Any:
    return apply(lambda x: x[rows.to(x.device)] if isinstance(x, torch.Tensor) and x.ndim else x, batch)
