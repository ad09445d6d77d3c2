"""Epoch and batch of a loader of slides: what moves them, what leaves them, and their state."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch

from patchaug.data.run_position import RunPosition
from patchaug.errors import OptionError
from patchaug.sampling.adaptation import Adaptation
from patchaug.sampling.plan import Plan
from patchaug.slides.slide import Slide


class RunState:
    """Mixin of a loader: its position in the run.

    Attributes:
        plan: Its plan, or None.
        split: "train", "valid" or "test".
        bs: Patches in a batch.
        n: Windows in an epoch.
    """

    plan: Plan | None
    split: str
    bs: int | None
    n: int
    _position: RunPosition

    @property
    def slides(self) -> list[Slide]:
        """The slides of this loader."""
        return [] if self.plan is None else self.plan.slides

    @property
    def epoch(self) -> int:
        """Epoch of the next pass."""
        return self._position.epoch

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        self._position.move_to(epoch)

    @property
    def _moves(self) -> bool:
        """Whether passes move on to new windows; those of a validation loader are the same in each pass."""
        return self.split == "train"

    def leave_pass(self) -> None:
        """End the pass in progress; if it has yielded a batch, the next pass is the next epoch."""
        self._position.leave_pass(next_epoch=self._moves)

    @contextmanager
    def peeking(self) -> Iterator[None]:
        """Leave the run where it is, whatever passes are made within the context."""
        before, known = self._position, self.adaptation
        losses = None if known is None else known.snapshot()
        self._position = replace(before)
        try:
            yield
        finally:
            self._position = before
            if known is not None:
                known.restore(losses)

    def start_at(self, epoch: int) -> None:
        """Move to an epoch that a learner starts with.

        Raises:
            OptionError: A state of another epoch was loaded, and the rest of that epoch would be left out.
        """
        if self._position.first_batch and epoch != self.epoch:
            raise OptionError(
                f"start_epoch={epoch}, but the state that was loaded continues epoch {self.epoch} after batch "
                f"{self._position.first_batch}; start with epoch {self.epoch}"
            )
        self.epoch = epoch

    @property
    def adaptation(self) -> Adaptation | None:
        """Losses that the windows of an adaptive plan follow, or None."""
        return None if self.plan is None else self.plan.adaptation

    def state_dict(self) -> dict[str, Any]:
        """Describe where the run is: seed, epoch, batches of this epoch, batch size, and windows in an epoch.

        While a batch is trained on, it counts as done. The state of adaptive windows has their losses, too.
        """
        place: dict[str, Any] = self._place()
        if self.adaptation is not None:
            losses = self.adaptation.state_dict()
            place["adaptation"] = {**losses, "cells": [torch.from_numpy(cells) for cells in losses["cells"]]}
        return place

    def described(self) -> dict[str, Any]:
        """Return the state as plain values, which can be compared."""
        losses = {} if self.adaptation is None else self.adaptation.state_dict()
        return {**self._place(), **losses, "cells": [cells.tolist() for cells in losses.get("cells", ())]}

    def _place(self) -> dict[str, int]:
        seed = 0 if self.plan is None else self.plan.seed
        return self._position.state_dict(seed=seed, bs=self.bs or 1, windows=self.n)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue a run: the next pass is the rest of its epoch.

        Args:
            state: A state from `state_dict`.

        Raises:
            OptionError: The state belongs to a loader with another seed, batch size or number of windows, or
                this loader has no slides.
        """
        if self.plan is None:
            raise OptionError("a loader without slides has no state to load; make it from slides first")
        place = dict(state)
        if self.adaptation is not None:
            if "adaptation" not in place:
                raise OptionError("the state has no losses, and this loader draws its windows by them; leave mode out")
            self.adaptation.load_state_dict(place.pop("adaptation"))
        self._position.load_state_dict(place, self._place(), self._batches_of_epoch())

    def _batches_of_epoch(self) -> int:
        raise NotImplementedError
