"""`EventLog`: what a run records, as files for TensorBoard."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from patchaug.errors import MissingError, OptionError
from patchaug.fastai2.history import History
from patchaug.fastai2.plain_errors import PlainErrors

EVENTS = "events.out.tfevents.*"  # names of the files


def require_tensorboard() -> Any:
    """Import the writer of TensorBoard's files.

    Raises:
        OptionError: TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise OptionError(
            "log tensorboard needs tensorboard, which is not installed: pip install 'patchaug[tensorboard]'"
        ) from None
    return SummaryWriter


class EventLog(PlainErrors):
    """Write loss and learning rate of each batch, and the row of each epoch, for TensorBoard.

    A resumed run writes a further file, which replaces what the broken one wrote beyond its checkpoint.

    Args:
        folder: Folder of the files.
        history: Record of the epochs.

    Raises:
        OptionError: TensorBoard is not installed.
    """

    order = 56  # after the history

    def __init__(self, folder: str | os.PathLike[str], history: History) -> None:
        self.folder, self.history = Path(folder), history
        self._make = require_tensorboard()
        self._writer: Any = None

    def after_batch(self) -> None:
        """Write the loss and the learning rate."""
        if self.learn.training:
            step = int(self.learn.train_iter)
            self._scalar("batch/train_loss", float(self.learn.smooth_loss), step)
            self._scalar("batch/lr", float(self.learn.opt.hypers[-1]["lr"]), step)

    def after_epoch(self) -> None:
        """Write the row of the epoch, at the number of batches trained so far."""
        row = self.history.rows[-1]
        for name, value in row.items():
            if isinstance(value, (int, float)) and name != "epoch":
                self._scalar(f"epoch/{name}", float(value), int(self.learn.train_iter))
        if self._writer is not None:
            self._writer.flush()

    def after_fit(self) -> None:
        """Close the file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _scalar(self, name: str, value: float, step: int) -> None:
        if self._writer is None:
            if not self.folder.parent.is_dir():
                raise MissingError(f"{self.folder.parent} was removed while the run was going")
            self._writer = self._make(str(self.folder), purge_step=step if step > 1 else None)
        self._writer.add_scalar(name, value, step)
