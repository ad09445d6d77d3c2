"""Position of a training run in its stream of batches: saved as a few integers, restored in another process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from patchaug.core.validation import checked_integer
from patchaug.errors import OptionError


@dataclass
class RunPosition:
    """Epoch and batch of a run.

    Attributes:
        epoch: Epoch of the next pass.
        first_batch: Batch that the next pass begins with; above 0 only for a run that was restored.
        batch: Batches of this epoch that were yielded.
    """

    epoch: int = 0
    first_batch: int = 0
    batch: int = 0

    def begin_pass(self) -> None:
        """Count batches from the first one of the pass."""
        self.batch = self.first_batch

    def end_pass(self, *, next_epoch: bool) -> None:
        """Move to the first batch of an epoch: the next one, or the same again."""
        self.first_batch = self.batch = 0
        self.epoch += next_epoch

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
        self.epoch, self.first_batch, self.batch = epoch, batch, batch
