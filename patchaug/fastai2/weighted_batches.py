"""Carry the number and the importance weight of each window with its batch, from a worker to the main process.

They are no elements of the batch: a third element would be a target, and attributes of tensors are lost where fastai
casts them. The worker adds them after all transforms of items, and the first batch transform takes them off again.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from fastcore.foundation import L
from fasttransform import ItemTransform, Pipeline

from patchaug.core.arrays import Array
from patchaug.errors import OptionError
from patchaug.fastai2.random_patch import random_patch
from patchaug.sampling.importance import Clipping, ImportanceWeights
from patchaug.sampling.plan import Draw, Plan


class WindowNumbers:
    """Numbers of the windows of a batch, int64 (n,), and their weights before clipping, float64 (n,) or None."""

    def __init__(self, indices: list[int], weights: list[float] | None) -> None:
        self.indices: Array = np.array(indices, np.int64)
        self.weights: Array | None = None if weights is None else np.array(weights, np.float64)


class BatchWeights(NamedTuple):
    """What is known of the windows of the batch that a loader has yielded last.

    Attributes:
        indices: Numbers of the windows in the plan, int64 (n,).
        weights: Importance weights, clipped, float32 (n,), on the device of the loader; None where none are asked for.
    """

    indices: Array
    weights: torch.Tensor | None


class TakeNumbers(ItemTransform):
    """Take the numbers of the windows off a batch, before all other batch transforms."""

    order = -10_000

    def __init__(self) -> None:
        super().__init__()
        self.taken: WindowNumbers | None = None

    def encodes(self, batch: Any) -> Any:
        """Return the batch without the numbers."""
        if isinstance(batch, (tuple, list)) and batch and isinstance(batch[-1], WindowNumbers):
            self.taken = batch[-1]
            return tuple(batch[:-1])
        return batch


class WeightedBatches:
    """Mixin of a loader: the weights of its windows, if `RandomPatch` asks for them.

    Attributes:
        plan: Its plan, or None.
        split: "train", "valid" or "test".
        epoch: Epoch of the next pass.
        importance: Weights of the plan's draws, or None.
        batch_weights: Those of the batch that was yielded last, or None.
        clipping: What `max_weight` has cut off in the last complete pass, or None.
    """

    plan: Plan | None
    split: str
    epoch: int
    device: Any
    importance: ImportanceWeights | None = None
    batch_weights: BatchWeights | None = None
    clipping: Clipping | None = None
    _told = False
    _recorded: list[Draw] | None = None  # draws of the items, while `show_batch` makes a batch

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        transforms = kwargs.get("after_batch")
        kept = transforms.fs if isinstance(transforms, Pipeline) else L(transforms)
        if self.plan is not None and self.split != "test":
            samplers = random_patch(kwargs.get("after_item")).samplers
            self.importance = samplers.importance(self.split, self.plan)
        self._numbered = self.importance is not None or self.adapts
        self._taken = TakeNumbers()
        if any(isinstance(one, TakeNumbers) for one in kept) or self._numbered:
            own = [self._taken] if self._numbered else []
            kwargs["after_batch"] = [*own, *(one for one in kept if not isinstance(one, TakeNumbers))]
        self._drawn: list[Draw] = []  # of items that are in no batch yet
        self._weights: list[float] = []  # of this pass, before clipping
        super().__init__(*args, **kwargs)
        if self._numbered and getattr(self.before_batch, "fs", None):  # type: ignore[attr-defined]
            raise OptionError(
                "weights=True and adaptive windows need batches of the windows as they were drawn, and before_batch "
                "transforms may reorder them; make them item or batch transforms"
            )

    @property
    def adapts(self) -> bool:
        """Whether the losses of the batches decide which windows come next."""
        return self.split == "train" and self.plan is not None and self.plan.adaptation is not None

    def before_iter(self) -> None:
        """Begin a pass; windows of an adaptive plan follow from the losses so far."""
        super().before_iter()  # type: ignore[misc]
        self._drawn, self._weights, self.batch_weights = [], [], None
        if self.adapts:
            assert self.plan is not None
            assert self.plan.adaptation is not None
            self.plan.adaptation.advance(self.epoch)

    def note_draw(self, draw: Draw) -> None:
        """Note the draw of an item that was read."""
        if self._recorded is not None:
            self._recorded.append(draw)
        if self._numbered:
            self._drawn.append(draw)

    def do_batch(self, b: list[Any]) -> Any:
        """Make a batch of items, with the numbers of its windows."""
        batch = super().do_batch(b)  # type: ignore[misc]
        if not self._numbered:
            return batch
        size = 1 if self.prebatched else len(b)  # type: ignore[attr-defined]
        draws, self._drawn = self._drawn[:size], self._drawn[size:]
        weights = None if self.importance is None else [self.importance.unclipped(draw) for draw in draws]
        return (*batch, WindowNumbers([draw.index for draw in draws], weights))

    def __iter__(self) -> Iterator[Any]:
        """Yield batches, and keep the weights of the last one."""
        for batch in super().__iter__():  # type: ignore[misc]
            if self._taken.taken is not None:
                self.batch_weights = self._known(self._taken.taken)
            yield batch

    def _known(self, taken: WindowNumbers) -> BatchWeights:
        """Return numbers and clipped weights of a batch."""
        if taken.weights is None:
            return BatchWeights(taken.indices, None)
        self._weights += taken.weights.tolist()
        limit = None if self.importance is None else self.importance.max_weight
        clipped = taken.weights if limit is None else np.minimum(taken.weights, limit)
        return BatchWeights(taken.indices, torch.as_tensor(clipped, dtype=torch.float32, device=self.device))

    def after_iter(self) -> None:
        """Measure what was clipped in a complete pass; warn of it once."""
        super().after_iter()  # type: ignore[misc]
        if self.importance is None or self.importance.max_weight is None:
            return
        self.clipping = found = Clipping.of(self._weights, self.importance.max_weight)
        if found.clipped and not self._told:
            self._told = True
            warnings.warn(
                f"{found.clipped} of {found.windows} windows had importance weights above max_weight="
                f"{self.importance.max_weight:g}, up to {found.largest:.4g}, and were clipped: {found.share:.2%} of "
                f"the weight was cut, which biases means",
                stacklevel=2,
            )
