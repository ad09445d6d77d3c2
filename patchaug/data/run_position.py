"""Position of a training run in its stream of batches: saved as a few integers, restored in another process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from patchaug.core.validation import checked_integer
from patchaug.errors import OptionError


@dataclass
class RunPosition:
    """Epoch and batch of a run.

    A pass counts as soon as a batch of it was yielded. A pass that ends early ends its epoch: the next pass is the
    next epoch, so that no window is repeated.

    Attributes:
        epoch: Epoch of the next pass.
        first_batch: Batch that the next pass begins with; above 0 only for a run that was restored.
        batch: Batches of this epoch that were yielded.
        current: Identifies the pass in progress; None between passes.
    """

    epoch: int = 0
    first_batch: int = 0
    batch: int = 0
    current: object | None = field(default=None, repr=False, compare=False)

    def begin_pass(self, *, next_epoch: bool) -> object:
        """Begin a pass, after the end of one that was left open, and return its identity.

        Args:
            next_epoch: Whether the end of a pass moves to the next epoch.
        """
        self.leave_pass(next_epoch=next_epoch)
        self.batch = self.first_batch
        self.current = object()
        return self.current

    def count_batch(self, current: object) -> None:
        """Count a batch of the pass `current`; batches of older passes do not count."""
        self.batch += current is self.current

    def end_pass(self, *, next_epoch: bool) -> None:
        """Move to the first batch of an epoch: the next one, or the same again."""
        self.first_batch = self.batch = 0
        self.current = None
        self.epoch += next_epoch

    def leave_pass(self, current: object | None = None, *, next_epoch: bool) -> None:
        """End the pass in progress, which moves on if it has yielded a batch.

        Args:
            current: The pass to end; nothing happens if another one is in progress. Default: any pass.
            next_epoch: Whether the end of a pass moves to the next epoch.
        """
        if self.current is None or current not in (None, self.current):
            return
        if self.batch > self.first_batch:
            self.end_pass(next_epoch=next_epoch)
        self.current = None

    def move_to(self, epoch: int) -> None:
        """Move to the start of an epoch; a position within this epoch stays as it is."""
        if epoch != self.epoch:
            self.epoch, self.first_batch, self.batch, self.current = epoch, 0, 0, None

    def state_dict(self, *, seed: int, bs: int, windows: int) -> dict[str, int]:
        """Describe the position, with the properties of the loader that it is valid for.

        Args:
            seed: Seed of the plan.
            bs: Patches in a batch.
            windows: Windows in an epoch.
        """
        return {"seed": seed, "epoch": self.epoch, "batch": self.batch, "bs": bs, "windows": windows}

    def load_state_dict(self, state: Mapping[str, int], current: Mapping[str, int], batches: int) -> None:
        """Move to a saved position.

        Args:
            state: The saved description.
            current: The description of this loader.
            batches: Batches in an epoch of this loader.

        Raises:
            OptionError: The state belongs to a loader with another seed, batch size or number of windows, or its keys
                or values are invalid.
        """
        if set(state) != set(current):
            raise OptionError(f"a state holds {', '.join(current)}; got {', '.join(map(str, state)) or 'no keys'}")
        for name in ("seed", "bs", "windows"):
            if state[name] != current[name]:
                raise OptionError(
                    f"the state was saved with {name}={state[name]}, and this loader has {current[name]}, so its "
                    f"batches differ: make the loader as in the saved run"
                )
        epoch = checked_integer("epoch of the state", state["epoch"], 0)
        batch = checked_integer("batch of the state", state["batch"], 0, batches)
        if batch == batches:  # saved between the last batch and the end of its epoch
            epoch, batch = epoch + 1, 0
        self.epoch, self.first_batch, self.batch, self.current = epoch, batch, batch, None
