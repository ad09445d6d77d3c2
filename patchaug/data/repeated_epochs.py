"""Notice that a process reads the windows of one epoch again: the loop around its data set has no epochs."""

from __future__ import annotations

import warnings


class RepeatedEpochs:
    """Warn once, when at least half of an epoch's indices have come a second time.

    Args:
        windows: Windows in an epoch.
    """

    def __init__(self, windows: int) -> None:
        self.windows, self._epoch, self._warned = windows, -1, False
        self._seen, self._repeated = bytearray(), 0

    def __getstate__(self) -> dict[str, object]:
        """Leave out what this process has read: another process counts for itself."""
        return {**self.__dict__, "_epoch": -1, "_seen": bytearray(), "_repeated": 0}

    def count(self, index: int) -> None:
        """Count an index that is read, and warn of a second pass."""
        if self._warned:
            return
        epoch, place = divmod(int(index), self.windows)
        if epoch != self._epoch:
            self._epoch, self._seen, self._repeated = epoch, bytearray(self.windows), 0
        self._repeated += self._seen[place]
        self._seen[place] = 1
        if 2 * self._repeated >= self.windows:
            self._warned = True
            warnings.warn(
                f"the windows of epoch {epoch} are read a second time. With shuffle=True or a DistributedSampler a "
                f"training never leaves this epoch: pass DataLoader(dataset, sampler=EpochSampler(dataset)) instead. "
                f"For a validation that repeats its windows this is right",
                stacklevel=4,
            )
