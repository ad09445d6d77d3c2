"""`EpochSampler`: the indices of one epoch after the other, for any loop around torch's `DataLoader`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch.utils.data import Sampler

from patchaug.core.arguments import names_arguments_of_init
from patchaug.core.validation import checked_integer
from patchaug.data.dataset import PatchDataset
from patchaug.errors import OptionError

_KEYS = ("seed", "epoch", "done", "windows")


@names_arguments_of_init
class EpochSampler(Sampler[int]):
    """Yield the indices of an epoch of a `PatchDataset`, other ones in each pass.

    Pass it as `DataLoader(dataset, batch_size=8, sampler=EpochSampler(dataset))`, and leave `shuffle` out: the data set
    shuffles by its seed. Each pass is the next epoch, also after a pass that ended early. `set_epoch` chooses the epoch
    of the next pass; Lightning and accelerate call it.

    With several processes, step b trains on windows b * B to (b + 1) * B of the epoch, whatever their number; B is the
    batch size of all together. An epoch ends with the last window that all ranks have: up to `world_size` - 1 windows
    are left out. For validation, `even=False` leaves none out. Where accelerate splits the batches, keep the defaults.

    Args:
        dataset: The data set.
        rank: Number of this process, 0 to `world_size` - 1.
        world_size: Number of processes.
        even: All ranks have the same number of windows.

    Attributes:
        epoch: Epoch of the last pass that began; before the first, and after `set_epoch`, that of the next pass.

    Raises:
        OptionError: The rank is not one of the world, or an epoch has no window for it.

    Examples:
        >>> from patchaug import EpochSampler, PatchDataset, Uniform
        >>> dataset = PatchDataset(slides, Uniform(64, per_slide=4))
        >>> sampler = EpochSampler(dataset)
        >>> list(sampler)[:3], list(sampler)[:3]
        ([0, 1, 2], [12, 13, 14])
    """

    def __init__(self, dataset: PatchDataset, *, rank: int = 0, world_size: int = 1, even: bool = True) -> None:
        self.windows, self.seed = len(dataset), dataset.plan.seed
        self.world_size = checked_integer("world_size", world_size, 1)
        self.rank, self.even = checked_integer("rank", rank, 0, self.world_size - 1), even
        self.epoch = 0
        self._done = 0  # windows of the epoch that all ranks together have yielded
        self._first = 0  # of them, before the next pass
        self._restored = False  # until the next pass begins
        self._pass: object | None = None  # the pass in progress
        if even and self.windows < self.world_size:
            raise OptionError(
                f"an epoch has {self.windows} windows, fewer than {self.world_size} processes; raise per_slide"
            )

    def __len__(self) -> int:
        """Count the indices of the next pass."""
        return len(self._places(0 if self._done > self._first else self._first))

    def _places(self, first: int) -> range:
        end = self.windows - self.windows % self.world_size if self.even else self.windows
        return range(first + self.rank, end, self.world_size)

    def __iter__(self) -> Iterator[int]:
        """Yield the indices of the next pass."""
        if self._done > self._first:  # a pass was made, or begun
            self.epoch, self._first, self._done = self.epoch + 1, 0, 0
        self._pass = current = object()
        self._restored = False
        epoch, first = self.epoch, self._first
        for number, place in enumerate(self._places(first), 1):
            if current is self._pass:
                self._done = min(first + number * self.world_size, self.windows)
            yield epoch * self.windows + place
        # The epoch moves on with the next pass: a loader with workers reads ahead, and is still within this one.
        if current is self._pass:
            self._done = self.windows

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next pass; a state within this epoch stays.

        Args:
            epoch: Number of the epoch, from 0 on.

        Raises:
            OptionError: A state of another epoch was loaded, and no pass has been made since.
        """
        epoch = checked_integer("epoch", epoch, 0)
        if self._restored:
            if epoch != self.epoch:
                raise OptionError(
                    f"set_epoch({epoch}), but the state that was loaded continues epoch {self.epoch}; start the loop "
                    f"with that epoch"
                )
            return
        self.epoch, self._first, self._done, self._pass = epoch, 0, 0, None

    def state_dict(self, done: int | None = None) -> dict[str, int]:
        """Describe where the run is: seed, epoch, windows done in it by all processes, and windows in an epoch.

        Args:
            done: Windows of the epoch that were trained on: steps by the batch size of all processes. Default: those
                that were yielded. A loader with workers reads ahead, so pass it within an epoch.
        """
        done = self._done if done is None else checked_integer("done", done, 0, self.windows)
        return {"seed": self.seed, "epoch": self.epoch, "done": done, "windows": self.windows}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Continue a run with the next window, also with another number of processes.

        Args:
            state: A state from `state_dict`.

        Raises:
            OptionError: The state belongs to another seed or another number of windows.
        """
        if set(state) != set(_KEYS):
            raise OptionError(f"a state holds {', '.join(_KEYS)}; got {', '.join(map(str, state)) or 'no keys'}")
        for name, value in (("seed", self.seed), ("windows", self.windows)):
            if state[name] != value:
                raise OptionError(
                    f"the state was saved with {name}={state[name]}, and this data set has {value}, so its windows "
                    f"differ: make it as in the saved run"
                )
        epoch = checked_integer("epoch of the state", state["epoch"], 0)
        done = checked_integer("done of the state", state["done"], 0, self.windows)
        ended = self.windows - done < (self.world_size if self.even else 1)
        self.epoch, self._first = (epoch + 1, 0) if ended else (epoch, done)
        self._done, self._pass, self._restored = self._first, None, True
