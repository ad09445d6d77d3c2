"""Progress of a training run on stderr: a bar on terminals, and a line for each epoch."""

from __future__ import annotations

from fastai.callback.core import Callback

from patchaug.core.messages import print_message, shows
from patchaug.core.progress import bars
from patchaug.fastai2.history import History


class Pace(Callback):
    """Show the patches that were trained, and print losses and metrics of each epoch.

    Args:
        history: Counters of the run, also of a resumed one.
        epochs: Number of epochs.
        show: Show a progress bar.
    """

    order = 60  # after fastai's Recorder, whose values it prints
    run_valid = False

    def __init__(self, history: History, epochs: int, show: bool) -> None:
        self.history, self.epochs, self.show, self._bars = history, epochs, show and shows("info"), bars(False)

    def before_fit(self) -> None:
        """Show the bar."""
        self._bars = bars(self.show)
        self._bars.start()
        self._task = self._bars.add_task("training, patches", total=self.epochs * self.learn.dls.train.n)

    def after_batch(self) -> None:
        """Move the bar."""
        self._bars.update(self._task, completed=self.history.patches)

    def after_epoch(self) -> None:
        """Print the losses and metrics of the epoch."""
        names, values = self.learn.recorder.metric_names[1:-1], self.learn.recorder.values[-1]
        scores = ", ".join(f"{name} {value:.4f}" for name, value in zip(names, values, strict=True))
        print_message(f"epoch {self.learn.epoch + 1} of {self.epochs}: {scores}")

    def after_fit(self) -> None:
        """Remove the bar."""
        self._bars.stop()
