"""`PatchLoader`: torch's DataLoader, whose errors about workers name the slide and the window that was read."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Timer
from typing import Any

from torch.utils.data import DataLoader

from patchaug.data.batch_memory import batch_buffers_for
from patchaug.data.buffered_collate import BufferedCollate, unpack_of
from patchaug.data.worker_notes import WorkerNotes, explain_signals, out_of_room, worker_notes_for
from patchaug.sampling.plan import Plan

_GRACE = 2.0  # seconds after which torch's own timeout is late


class PatchLoader(DataLoader[Any]):  # type: ignore[misc, unused-ignore]
    """Load patches as torch's DataLoader does; takes its arguments, and a `PatchDataset`.

    With torch's own `default_collate`, batches come from workers in memory that is used again once a batch is deleted,
    on Linux. torch allocates new shared memory for each, which takes several times as long; so it does for a
    `collate_fn` of yours.

    A worker that is killed, or does not answer within `timeout` seconds, ends in one ReadError that names slide, level,
    window and index. torch's own loader names the number of the process.

    Raises:
        ReadError: While it is iterated: a worker ended or stopped, or the system has no room for its batches.

    Examples:
        >>> from patchaug.data.patch_loader import PatchLoader
        >>> patches = PatchDataset([slide], Uniform(64, per_slide=8))
        >>> [tuple(batch.image.shape) for batch in PatchLoader(patches, batch_size=4, timeout=60, num_workers=1)]
        [(4, 64, 64, 3), (4, 64, 64, 3)]
    """

    _notes: WorkerNotes | None = None

    def _get_iterator(self) -> Any:
        """Start the workers of a pass, or of all passes with `persistent_workers`."""
        plan = plan_of(self.dataset)
        self._notes = notes = worker_notes_for(self.num_workers)
        if plan is None:
            return super()._get_iterator()
        collate: Any = self.collate_fn  # type: ignore[has-type, unused-ignore]
        unpack = unpack_of(collate)
        buffers = None if unpack is None else batch_buffers_for(self.num_workers)
        plan.notes = notes  # the workers inherit it
        try:
            if unpack is not None and buffers is not None:
                self.collate_fn = BufferedCollate(collate, unpack, buffers)
            started = super()._get_iterator()
        finally:
            plan.notes, self.collate_fn = None, collate
        started.buffers = buffers  # they live as long as the pass
        if notes is not None:
            explain_signals(notes)
        return started

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override, unused-ignore]
        """Yield the batches of a pass."""
        notes, ended = self._notes, Event()
        try:
            batches = super().__iter__()
            notes = self._notes
            while True:
                with _watch(notes, self.timeout, ended):
                    try:
                        batch = next(batches)
                    except StopIteration:
                        return
                yield batch
        except Exception as error:
            said = f"DataLoader timed out after {self.timeout:g} seconds" if ended.is_set() else ""
            notes = self._notes
            explained = out_of_room(error) if notes is None else notes.explained(error, timed_out=said)
            if explained is None:
                raise
            raise explained from error


@contextmanager
def _watch(notes: WorkerNotes | None, timeout: float, ended: Event) -> Iterator[None]:
    """End all workers where the next batch takes longer than the timeout and some seconds.

    torch's own timeout does not cover a worker that stops in the middle of a message.
    """
    if notes is None or timeout <= 0:
        yield
        return

    def end() -> None:
        ended.set()
        notes.signal_workers(getattr(signal, "SIGKILL", signal.SIGTERM))

    timer = Timer(timeout + _GRACE, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def plan_of(dataset: Any) -> Plan | None:
    """Return the plan of a dataset: a `PatchDataset`, or fastai 1's pair of slides and labels."""
    plan = getattr(dataset, "plan", None) or getattr(getattr(dataset, "x", None), "plan", None)
    return plan if isinstance(plan, Plan) else None
