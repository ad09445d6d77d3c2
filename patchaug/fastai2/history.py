"""`History`: losses, scores of each class, and seconds of each epoch, in a CSV file while the run goes on."""

from __future__ import annotations

import csv
import io
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from patchaug.core.atomic import write_text
from patchaug.core.messages import print_message
from patchaug.core.ranks import read_ranks
from patchaug.errors import MissingError, WriteError
from patchaug.fastai2.plain_errors import PlainErrors
from patchaug.fastai2.rank_training import batch_windows


class History(PlainErrors):
    """Record each epoch: losses, metrics, Dice and IoU of each class, learning rate, and where the seconds went.

    Args:
        path: CSV file; it is written anew, atomically, after each epoch.
        codes: Names of the classes.
        ignore_index: Number of pixels that no score counts, or None.
        on_epoch: Function that is called with each row.

    Attributes:
        rows: One dictionary for each epoch.
        batches: Batches that were trained.
        patches: Patches in them.
    """

    order = 55  # after fastai's Recorder, before callbacks that may end the run after an epoch

    def __init__(
        self, path: str | os.PathLike[str], codes: Sequence[str], ignore_index: int | None = None,
        on_epoch: Callable[[dict[str, Any]], object] | None = None,
    ) -> None:  # fmt: skip
        self.file, self.codes, self.ignore_index, self.on_epoch = Path(path), list(codes), ignore_index, on_epoch
        self.rows: list[dict[str, Any]] = []
        self.batches = self.patches = 0
        self.seconds = {"reading": 0.0, "model": 0.0, "validation": 0.0}
        self._since = time.monotonic()
        self._counts = torch.zeros(2, len(self.codes), dtype=torch.int64)

    def state_dict(self) -> dict[str, Any]:
        """Return the rows and counters, for a checkpoint."""
        return {"rows": self.rows, "batches": self.batches, "patches": self.patches, "seconds": dict(self.seconds)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the rows and counters."""
        self.rows, self.batches, self.patches = state["rows"], state["batches"], state["patches"]
        self.seconds = dict(state["seconds"])

    def before_train(self) -> None:
        """Start the clock."""
        self._since = time.monotonic()

    def before_batch(self) -> None:
        """Count the seconds since the last batch as reading."""
        if self.learn.training:
            self._add("reading")

    def after_batch(self) -> None:
        """Count the batch, or its pixels in validation."""
        if self.learn.training:
            self._add("model")
            self.batches, self.patches = self.batches + 1, self.patches + batch_windows(self.learn)
        elif len(self.learn.yb):
            self._count(self.learn.pred, self.learn.yb[0])

    def before_validate(self) -> None:
        """Reset the counts of pixels."""
        self._since = time.monotonic()
        self._counts = torch.zeros(2, len(self.codes), dtype=torch.int64)

    def after_validate(self) -> None:
        """Count the seconds of validation."""
        self._add("validation")

    def after_epoch(self) -> None:
        """Add the row of the epoch, and write the file."""
        recorder = self.learn.recorder
        row: dict[str, Any] = {"epoch": self.learn.epoch + 1}
        row |= {
            name: _number(value) for name, value in zip(recorder.metric_names[1:], recorder.values[-1], strict=False)
        }
        both, either = self._counts.tolist()
        for code, hits, total in zip(self.codes, both, either, strict=True):
            row[f"dice {code}"] = 2 * hits / total if total else None
            row[f"iou {code}"] = hits / (total - hits) if total else None
        row["lr"] = _number(self.learn.opt.hypers[-1]["lr"])
        row |= {f"seconds {name}": round(value, 3) for name, value in self.seconds.items()}
        self.seconds = dict.fromkeys(self.seconds, 0.0)
        row |= {"windows": self.patches}
        self.rows.append(row)
        try:
            if read_ranks().is_first:
                write_history(self.file, self.rows)
        except WriteError as error:
            print_message(f"history not written: {error}; training goes on", "warning")
        except MissingError:  # the checkpoint reports it
            pass
        if self.on_epoch is not None:
            self.on_epoch(row)

    def _add(self, name: str) -> None:
        now = time.monotonic()
        self.seconds[name] += now - self._since
        self._since = now

    def _count(self, predicted: torch.Tensor, truth: torch.Tensor) -> None:
        guess = predicted.detach().as_subclass(torch.Tensor).argmax(1).flatten()
        label = truth.as_subclass(torch.Tensor).flatten()
        if self.ignore_index is not None:
            guess, label = guess[label != self.ignore_index], label[label != self.ignore_index]
        number = len(self.codes)
        both, of_guess, of_label = (
            torch.bincount(values, minlength=number)[:number].cpu() for values in (label[guess == label], guess, label)
        )
        self._counts += torch.stack([both, of_guess + of_label])


def _number(value: Any) -> Any:
    return value if value is None else float(value)


def write_history(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write the rows as CSV; an empty cell is a class without pixels."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: "" if value is None else value for key, value in row.items()} for row in rows)
    write_text(path, text.getvalue(), "history", replace=lambda file: file.read_bytes().startswith(b"epoch,"))
