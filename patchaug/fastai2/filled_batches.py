"""Make batches of items where they will lie: in memory of earlier batches, that workers share with the main process."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice
from typing import Any

from fastai.data.load import DataLoader
from fasttransform import Pipeline
from torch.utils.data import get_worker_info

from patchaug.data.batch_filling import BatchFilling
from patchaug.data.batch_memory import BatchBuffers
from patchaug.data.reusable_memory import reusable_memory
from patchaug.data.worker_notes import WorkerNotes

_starting = threading.RLock()  # held while a pass starts its workers


class FilledBatches:
    """Mixin of a loader: each item is copied to its place in the batch as soon as it was read.

    Nobody else sees the items then. Where a transform or a method of the user's does, such as `before_batch`, items
    keep memory of their own, and are stacked once all of them are there.

    Attributes:
        bs: Items in a batch.
        groups: Numbers of the windows in each batch, or None, see `GroupedBatches`.
        before_batch: Transforms of the items of a batch.
        prebatched: Whether each item is a batch.
    """

    bs: int | None
    groups: list[list[int]] | None
    before_batch: Any
    prebatched: bool
    retain: Any
    _buffers: BatchBuffers | None = None  # shared memory for the batches of the pass that is beginning
    _notes: WorkerNotes | None = None  # what the workers of that pass read
    _filling: BatchFilling | None = None  # of the batch that is being made

    def started(self, batches: Iterator[Any], buffers: BatchBuffers | None, notes: WorkerNotes | None) -> Iterator[Any]:
        """Yield batches whose workers, which start with the first one, inherit memory and notes of this pass alone."""
        with _starting:  # another thread may begin a pass of the same loader
            self._buffers, self._notes = buffers, notes
            try:
                first = list(islice(batches, 1))
            finally:
                self._buffers = self._notes = None
        while first:
            yield first.pop()  # and is not held while the next ones are made
        yield from batches

    def chunkify(self, items: Iterable[Any]) -> Iterable[list[Any]]:
        """Yield the items of this process batch by batch."""
        filling = self._new_filling()
        return super().chunkify(items) if filling is None else self._filled(items, filling)  # type: ignore[misc]

    def _filled(self, items: Iterable[Any], filling: BatchFilling) -> Iterator[list[Any]]:
        # `map` does not keep an item while the next one is read, into the same memory.
        for chunk in super().chunkify(map(filling.place, items)):  # type: ignore[misc]
            self._filling = filling
            yield chunk
            del chunk
            self._filling = None
            filling.clear()

    def _new_filling(self) -> BatchFilling | None:
        """Return where the items of a pass are written to; None if others see them, or torch sends the batches."""
        worker = get_worker_info()
        shown = not isinstance(self.before_batch, Pipeline) or bool(self.before_batch.fs) or self.has_own_methods()
        if self.prebatched or shown or (worker is not None and self._buffers is None):
            return None
        sizes = [self.bs or 1] if self.groups is None else [len(group) for group in self.groups]
        shared = None if worker is None or self._buffers is None else partial(self._buffers.claim, worker=worker.id)
        return BatchFilling(max(sizes, default=1), shared or reusable_memory.take)

    def has_own_methods(self) -> bool:
        """Return whether code of the user's makes batches or sees their items, and might keep either."""
        own, kind = FilledBatches, type(self)
        return not (
            kind.chunkify is own.chunkify and kind.create_batch is own.create_batch and kind.do_batch is own.do_batch
            and kind.retain is DataLoader.retain and not {"create_batch", "do_batch", "retain"} & vars(self).keys()
        )  # fmt: skip

    def create_batch(self, b: list[Any]) -> Any:
        """Make a batch of items, in shared memory where a worker has some."""
        made = None if self._filling is None else self._filling.batch(b)
        worker = get_worker_info()
        if made is None and self._buffers is not None and worker is not None:
            made = self._buffers.stacked(b, worker.id)
        return super().create_batch(b) if made is None else made  # type: ignore[misc]

    def do_batch(self, b: list[Any]) -> Any:
        """Make a batch of items, packed for the main process."""
        batch = super().do_batch(b)  # type: ignore[misc]
        return batch if self._buffers is None else self._buffers.packed(batch)
