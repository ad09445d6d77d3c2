"""Evaluations of slides in a hidden folder, from which a report is made when the last slide is there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from patchaug.core.arrays import Array
from patchaug.core.atomic import write_text
from patchaug.core.file_lock import lock_file, unlock_file
from patchaug.core.shards import Shard
from patchaug.core.windows import Window
from patchaug.errors import WriteError
from patchaug.predict.evaluation import WorstWindow
from patchaug.predict.scores import ScoreCounts
from patchaug.predict.shard_state import ShardState, read_json

HIDDEN = ".patchaug-evaluate"  # inside the folder of the results
_CONTENT, _LOCK = "part of an evaluation", "lock"
_TURN = "report.lock"


class EvaluationParts:
    """What is known of each slide of an evaluation, whichever process has evaluated it.

    Args:
        folder: The folder of the results, which exists.
        shard: The part of this process.
        job: What the results depend on, as JSON stores it; parts of another job do not count.
        total: Number of slides.

    Attributes:
        complete: Whether this shard has evaluated all of its slides.

    Raises:
        WriteError: Another process evaluates into the folder, and is no other shard of this evaluation.
    """

    def __init__(self, folder: Path, shard: Shard, job: Mapping[str, Any], total: int) -> None:
        self.folder, self.shard, self.total = folder / HIDDEN, shard, total
        self._job = job
        self._digest = sha256(json.dumps(dict(job), sort_keys=True).encode()).hexdigest()
        self._ended = False
        self.complete = False

    def __enter__(self) -> Self:
        """Lock the folder against other evaluations."""
        self.folder.mkdir(exist_ok=True)
        several = self.shard.count > 1
        lock = lock_file(self.folder / _LOCK, shared=several, required=several)
        if lock is None:
            raise WriteError(f"{self.folder.parent}: another process evaluates into it; wait for it, or choose another")
        self._lock: int = lock
        self._shards: ShardState | None = None
        try:
            if several:
                self._shards = ShardState(self.folder, self.shard)
                self._shards.agree(self._job)
        except BaseException:
            if self._shards is not None:
                self._shards.end(done=False)
            unlock_file(lock)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Unlock the folder; without other shards and after the end, remove the hidden one."""
        if self._shards is not None:
            self._shards.end(done=self.complete)
        elif self._ended:
            shutil.rmtree(self.folder, ignore_errors=True)
        unlock_file(self._lock)

    def write(self, number: int, facts: Mapping[str, Any]) -> None:
        """Store what is known of a slide."""
        text = json.dumps({"job": self._digest, **facts})
        write_text(self._file(number), text, _CONTENT, replace=lambda file: True)

    def read(self, number: int) -> dict[str, Any] | None:
        """Return what is known of a slide; None for one that was not evaluated in this job."""
        found = read_json(self._file(number))
        return found if found.pop("job", None) == self._digest else None

    def missing(self) -> int:
        """Return the number of slides that were not evaluated yet."""
        return sum(self.read(number) is None for number in range(self.total))

    @contextmanager
    def turn(self) -> Iterator[bool]:
        """Tell whether this process is to write the report, and keep others from it; the parts go with the report."""
        if self.missing():
            yield False
            return
        lock = lock_file(self.folder / _TURN)
        try:
            mine = lock is not None and not self.missing()  # another one may have written it meanwhile
            yield mine
            if mine:
                self._ended = True
                for number in range(self.total):
                    self._file(number).unlink(missing_ok=True)
        finally:
            if lock is not None:
                unlock_file(lock)

    def _file(self, number: int) -> Path:
        return self.folder / f"{number:06}.json"


def pack_counts(counts: ScoreCounts) -> dict[str, Any]:
    """Return counts as JSON stores them, without loss.

    Examples:
        >>> from patchaug.predict.evaluation_parts import pack_counts, unpack_counts
        >>> from patchaug.predict.scores import ScoreCounts
        >>> unpack_counts(pack_counts(ScoreCounts(np.eye(2)))).confusion.tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """
    return {
        name: None if values is None else [values.dtype.str, values.tolist()]
        for name, values in (
            ("confusion", counts.confusion),
            ("boundary", counts.boundary),
            ("objects", counts.objects),
        )
    }


def unpack_counts(packed: Mapping[str, Any]) -> ScoreCounts:
    """Return the counts of `pack_counts`."""

    def array(value: Any) -> Array | None:
        return None if value is None else np.array(value[1], value[0])

    confusion = array(packed["confusion"])
    assert confusion is not None
    return ScoreCounts(confusion, array(packed["boundary"]), array(packed["objects"]))


def pack_windows(windows: Sequence[WorstWindow]) -> list[list[int]]:
    """Return windows as JSON stores them."""
    return [
        [one.window.x, one.window.y, one.window.width, one.window.height, one.window.level, one.wrong, one.labelled]
        for one in windows
    ]


def unpack_windows(packed: Sequence[Sequence[int]]) -> tuple[WorstWindow, ...]:
    """Return the windows of `pack_windows`."""
    return tuple(WorstWindow(Window(*place), wrong, labelled) for *place, wrong, labelled in packed)
