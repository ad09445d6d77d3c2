"""`Checkpoint`: save a learner while it trains, and go on with the very next batch."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from fastai.learner import CancelEpochException, CancelFitException, CancelTrainException
from fastai.torch_core import get_model

from patchaug.core.arguments import names_arguments_of_init
from patchaug.core.messages import print_message
from patchaug.core.ranks import read_ranks
from patchaug.data.random_state import random_state, restore_random_state
from patchaug.errors import MissingError, OptionError, PatchaugError, WriteError
from patchaug.fastai2.checkpoint_files import VERSION, load_checkpoint, write_checkpoint
from patchaug.fastai2.plain_errors import PlainErrors
from patchaug.fastai2.rank_training import agreed
from patchaug.fastai2.run_snapshot import learner_state, plain, restore_learner

CHECKPOINT, BEST = "checkpoint.pt", "best.pt"


@names_arguments_of_init
class Checkpoint(PlainErrors):
    """Save the state of `fit` after each epoch and every few minutes, whole or absent.

    A checkpoint holds weights, optimizer, schedule, random generators, records, and the place in the epoch. A run that
    goes on from it ends with the same weights as an unbroken run (on the CPU bit for bit, with any number of workers).
    The weights of the best epoch are in a file of their own. Files hold tensors and plain values, no pickled objects.

    Args:
        folder: Folder of `checkpoint.pt` and `best.pt`; of several processes rank 0 writes, and any number goes on.
        minutes: Minutes between two checkpoints within an epoch.
        monitor: Value of the recorder that decides which epoch is the best; default: the first metric, or valid_loss.
            Of a loss or error the least is best, of other values the greatest.
        resume: Go on from the folder's checkpoint; `fit` then has the same arguments as before.
        extra: Plain values to save with the state, such as the options of the run.

    Attributes:
        stopped: Name of what asked the run to stop, or None.
        best: Monitored value, epoch and value of the best epoch, or None.
        extra: The saved values.

    Raises:
        MissingError, ReadError: `resume` is set, and there is no checkpoint, or it is damaged.
        OptionError: The loaders are not those of the saved run.
        WriteError: The last state cannot be written; the text names the checkpoint that is left.

    Examples:
        >>> with learn.no_bar(), learn.no_logging():
        ...     learn.fit_one_cycle(1, 1e-3, cbs=Checkpoint("."))
        >>> sorted(path.name for path in Path().glob("*.pt"))
        ['best.pt', 'checkpoint.pt']
    """

    order = 100  # after the callbacks whose state it saves and restores
    remove_on_fetch = True

    def __init__(
        self, folder: str | os.PathLike[str], *, minutes: float = 10, monitor: str | None = None, resume: bool = False,
        extra: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        if not minutes > 0:
            raise OptionError(f"minutes between checkpoints must be above 0, got {minutes}")
        self.folder, self.minutes, self.monitor = Path(folder), minutes, monitor
        self.extra = dict(extra or {})
        self.stopped: str | None = None
        self.best: dict[str, Any] | None = None
        self._fits = 0  # calls of `fit` that are done
        self._state = load_checkpoint(self.folder / CHECKPOINT) if resume else None
        if self._state is not None:
            self.best, self.extra = self._state["best"], self._state["extra"]
        self._place: dict[str, Any] | None = None
        self._dirty = False  # within a batch and at the end of an epoch, weights and records do not fit together
        self._epoch_ends = False  # between validation and `after_epoch`
        self._first = 0  # batch that the resumed epoch begins with
        self._trained = False  # the batches of the resumed epoch were all trained before
        self._written: str | None = None  # place of the checkpoint on the disk

    @property
    def path(self) -> Path:
        """Path of the checkpoint."""
        return self.folder / CHECKPOINT

    @property
    def clean(self) -> bool:
        """Whether weights and records are those after a whole batch or epoch."""
        return self._place is not None and not self._dirty

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; the learner that gets a callback with a state begins with the saved epoch."""
        if name == "learn" and getattr(self, "_state", None) is not None:
            if value is not None:
                vars(value)["_do_fit"] = lambda: self._fit_from_saved_epoch(value)
            elif self.learn is not None:
                self.learn.__dict__.pop("_do_fit", None)
        object.__setattr__(self, name, value)

    def stop(self, reason: str = "stop") -> None:
        """Ask the run to save and end after the batch in progress."""
        self.stopped = reason

    def before_fit(self) -> None:
        """Restore the saved state, if this is the call of `fit` that it belongs to."""
        self.run = not hasattr(self.learn, "lr_finder") and not hasattr(self.learn, "gather_preds")
        if not self.run:
            return
        self._saved_at, self._dirty, self._epoch_ends = time.monotonic(), False, False
        names = list(self.learn.recorder.metric_names[1:])
        if self.monitor is None:
            self.monitor = names[2] if len(names) > 2 and names[2] != "time" else "valid_loss"
        if self.monitor not in names:
            raise OptionError(f"monitor={self.monitor!r} is not recorded; there are {', '.join(map(str, names))}")
        if not hasattr(type(self.learn.dls.train), "state_dict"):
            raise OptionError("Checkpoint needs a training loader of slides, which knows its place in the epoch")
        if self._state is None or self._fits > self._state["place"]["fit"]:
            self._place = self._here(0, 0)
            return
        place = self._state["place"]
        if self._fits < place["fit"]:
            return
        if place["epochs"] != self.learn.n_epoch or place["batches"] != self._batches():
            raise OptionError(
                f"the checkpoint belongs to {place['epochs']} epochs of {place['batches']} batches, and this run has "
                f"{self.learn.n_epoch} of {self._batches()}; resume with the same options"
            )
        self.learn.dls.train.load_state_dict(place["loader"])
        restore_learner(self.learn, self._state["learner"])
        self._first, self._place = place["batch"], place
        self.learn.train_iter, self.learn.pct_train = place["train_iter"], place["pct_train"]
        restore_random_state(place["random"])

    def before_train(self) -> None:
        """Restore what the start of an epoch has reset, in an epoch that goes on."""
        if not self._first:
            return
        assert self._place is not None
        self.learn.pct_train = self._place["pct_train"]
        restore_random_state(self._place["random"])
        if self._first == self._place["batches"]:
            self._first, self._trained = 0, True
            raise CancelTrainException
        # The pass draws a seed for its workers when it begins, which it did before the state was saved.
        self.learn.dls.train.fake_l.generator = torch.Generator()

    def after_cancel_train(self) -> None:
        """Keep the training loss of an epoch whose batches were all trained before."""
        if self._trained:
            self.learn.recorder.cancel_train = self._trained = False

    def before_batch(self) -> None:
        """Count batches from the first one of the epoch."""
        if not self.learn.training:
            return
        self._dirty = True
        if self._first:
            vars(self.learn.dls.train.fake_l).pop("generator", None)
            self.learn.n_iter = self._batches()
            self.learn.iter += self._first

    def after_batch(self) -> None:
        """Save if it is time; end the run if it was asked to."""
        if self.learn.training:
            self._place, self._dirty = self._here(self.learn.epoch, self.learn.iter + 1), False
        self.stopped = agreed(self.learn, self.stopped)
        if self.stopped is not None:
            self.save()
            raise CancelFitException
        if self.learn.training and time.monotonic() - self._saved_at >= 60 * self.minutes:
            self.save_or_warn()

    def after_train(self) -> None:
        """End the part of the epoch that was resumed."""
        self._first = 0

    def after_validate(self) -> None:
        """Begin the end of an epoch, where callbacks add its records one by one."""
        self._dirty = self._epoch_ends = True

    def after_epoch(self) -> None:
        """Save the state, and the weights of the best epoch; end the run if it was asked to."""
        self._end_epoch(self.learn.epoch + 1)
        self.stopped = agreed(self.learn, self.stopped)
        if self.stopped is not None:
            self.save()
            raise CancelFitException
        self.save_or_warn()

    def after_cancel_fit(self) -> None:
        """Save the state of a run that another callback ends after an epoch: it has no epochs left."""
        if self._epoch_ends:
            self._end_epoch(self.learn.n_epoch)
            self.save_or_warn()

    def after_fit(self) -> None:
        """Count the call of `fit`."""
        self._fits += 1

    def save(self) -> None:
        """Write the state after the last whole batch.

        Raises:
            WriteError: It cannot be written; the text names the checkpoint that is left.
        """
        if not self.clean or self._place is None:
            raise WriteError(f"the run ended within a batch, so its state cannot be saved; {self.left()}")
        self._saved_at = time.monotonic()
        if not read_ranks().is_first:
            return
        state = {
            "patchaug_checkpoint": VERSION, "place": self._place, "learner": learner_state(self.learn),
            "best": plain(self.best), "extra": plain(self.extra),
        }  # fmt: skip
        try:
            write_checkpoint(self.path, state)
        except (WriteError, MissingError) as error:
            raise WriteError(f"{error}; {self.left()}") from None
        self._written = self.place()
        print_message(f"checkpoint saved: {self._written}", "debug")

    def save_or_warn(self) -> None:
        """Write the state; where only the disk is full, report it in a line and let the training go on.

        Raises:
            WriteError: The folder is gone or cannot be written to.
        """
        try:
            self.save()
        except WriteError as error:
            if not self.folder.is_dir():
                raise WriteError(
                    f"{self.folder} was removed while the run was going, and its results with it; training ends "
                    f"({self.place()})"
                ) from None
            print_message(f"checkpoint not written: {error}; training goes on", "warning")
            self._saved_at = time.monotonic()

    def place(self) -> str:
        """Describe the place that the run has reached."""
        place = self._place or {"epoch": 0, "batch": 0, "epochs": 0}
        if place["epoch"] == place["epochs"] > 0:
            return f"all {place['epochs']} epochs"
        return f"epoch {place['epoch'] + 1} of {place['epochs']}, batch {place['batch']}"

    def left(self) -> str:
        """Describe the checkpoint on the disk."""
        if not self.path.is_file():
            return "there is no checkpoint yet"
        where = f" ({self._written})" if self._written else ""
        return f"the last checkpoint is {self.path}{where}"

    def _end_epoch(self, following: int) -> None:
        self._place = self._here(following, 0)
        self._dirty = self._epoch_ends = False
        value = dict(zip(self.learn.recorder.metric_names[1:], self.learn.recorder.values[-1], strict=False))
        self._keep_best(value.get(self.monitor))

    def _keep_best(self, value: float | None) -> None:
        if value is None or self.monitor is None or value != value:
            return
        less = "loss" in self.monitor or "error" in self.monitor
        if self.best is not None and not (value < self.best["value"] if less else value > self.best["value"]):
            return
        best = {"monitor": self.monitor, "epoch": self.learn.epoch + 1, "value": float(value)}
        try:
            if read_ranks().is_first:
                model = dict(get_model(self.learn.model).state_dict())
                write_checkpoint(self.folder / BEST, {"patchaug_best": best, "model": model})
        except PatchaugError as error:
            print_message(f"best epoch not written: {error}; training goes on", "warning")
        else:
            self.best = best

    def _batches(self) -> int:
        return int(self.learn.dls.train._batches_of_epoch())

    def _here(self, epoch: int, batch: int) -> dict[str, Any]:
        loader = self.learn.dls.train
        return {
            "fit": self._fits, "epochs": self.learn.n_epoch, "batches": self._batches(), "epoch": epoch, "batch": batch,
            "train_iter": self.learn.train_iter, "pct_train": float(self.learn.pct_train), "random": random_state(),
            "loader": plain(loader.state_dict()),
        }  # fmt: skip

    def _fit_from_saved_epoch(self, learn: Any) -> None:
        """Run the epochs of `fit`: none in a call that was done before, the rest in the one that was saved."""
        assert self._state is not None
        place = self._state["place"]
        if self._fits > place["fit"]:
            type(learn)._do_fit(learn)
        if self._fits != place["fit"]:
            return
        for epoch in range(place["epoch"], learn.n_epoch):
            learn.epoch = epoch
            learn._with_events(learn._do_epoch, "epoch", CancelEpochException)
