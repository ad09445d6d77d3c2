"""The losses that an `Adaptive` plan draws its windows by: recorded in one epoch, used from the next one on.

Sums are integers (loss in units of 2^-20), so they do not depend on the order of windows, on the number of workers or
on that of processes: the same losses give the same windows. A plan is pure given this state, which is a few integers
for each block or class of a slide.
"""

from __future__ import annotations

import json
import math
import os
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from patchaug.core.arrays import Array
from patchaug.core.atomic import write_text
from patchaug.core.validation import checked_integer
from patchaug.errors import MissingError, OptionError, ReadError
from patchaug.sampling.adaptive import SCORES, Adaptive, BlockComponent
from patchaug.sampling.distributions import MixtureDistribution, WindowDistribution
from patchaug.sampling.draw import Draw
from patchaug.sampling.plan_arguments import AdaptedPlan

ONE = 2**20  # what stands for a loss of 1, and for a window
_MOST = 2.0**20  # greater losses count as this one
_KEYS = ("version", "epoch", "adapt", "slides", "cells")


class Adaptation:
    """Losses by block or class, and the distributions that follow from them; `plan.adaptation` of an `Adaptive` plan.

    Args:
        plan: The plan.

    Attributes:
        epoch: Epoch whose windows follow from the losses that are known. Those of epoch 0 follow from none.

    Raises:
        OptionError: Windows that cannot be read are replaced by others, whose losses would count for the wrong block.

    Examples:
        >>> import numpy as np
        >>> from patchaug import Adaptive, Plan, open_slide
        >>> plan = Plan([open_slide(np.zeros((100, 200, 3), np.uint8), name="a")], Adaptive(64, per_slide=4, blocks=2))
        >>> plan.adaptation.record([plan[0]], [2.0])
        >>> plan.adaptation.advance(1)
        >>> plan.adaptation.epoch, plan[4].epoch
        (1, 1)
    """

    def __init__(self, plan: AdaptedPlan) -> None:
        sampler = getattr(plan, "sampler", None)
        if not isinstance(sampler, Adaptive):
            raise OptionError(
                f"plan must be a plan of Adaptive windows, got {plan!r:.60}; take `plan.adaptation` of one"
            )
        self._plan, self.adapt, self.floor = plan, sampler.adapt, sampler.floor
        self.epoch = 0
        # For each slide: losses and windows of the last epochs, then those of this one, by block or class.
        self._cells = [np.zeros((4, _cells_of(one)), np.int64) for one in plan.distributions]
        self._laws: dict[int, MixtureDistribution] = {}
        if plan.on_error == "resample":
            raise OptionError(
                'adaptive windows follow from the losses of the windows that were drawn, and on_error="resample" reads '
                'others in place of unreadable ones; set on_error="raise"'
            )

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_laws": {}}

    def at(self, epoch: int, slide: int) -> MixtureDistribution:
        """Return the distribution of windows on a slide in an epoch: the first, or the one that is known.

        Args:
            epoch: Number of the epoch.
            slide: Number of the slide in the plan.

        Raises:
            OptionError: The epoch's windows follow from losses that are not known, or no more.
        """
        first = self._plan.distributions[slide]
        assert isinstance(first, MixtureDistribution)
        if epoch == 0:
            return first
        if epoch != self.epoch:
            raise OptionError(
                f"the windows of epoch {epoch} follow from the losses of the epochs before it, and the losses that are "
                f"known give the windows of epoch {self.epoch}; load its state, or call plan.adaptation.advance("
                f"{epoch}) when the epoch before it ends (workers that outlive an epoch do not see it: leave "
                f"persistent_workers out)"
            )
        law = self._laws.get(slide)
        if law is None:
            law = self._laws[slide] = self._adapted(first, self._cells[slide])
        return law

    def record(self, draws: Iterable[Draw], losses: Iterable[float]) -> None:
        """Add the losses of windows of this epoch; what is not finite is left out.

        Args:
            draws: Draws of the plan.
            losses: The loss of each window.

        Raises:
            OptionError: There are not as many losses as draws.
        """
        some, found = list(draws), list(losses)
        if len(some) != len(found):
            raise OptionError(f"{len(some)} draws have {len(found)} losses; give one for each")
        for draw, loss in zip(some, found, strict=True):
            if math.isfinite(loss):
                cells, value = self._cells[draw.slide], min(max(float(loss), 0.0), _MOST)
                for cell, amount in self._shares(draw):
                    cells[2, cell] += round(value * amount * ONE)
                    cells[3, cell] += round(amount * ONE)

    def advance(self, epoch: int) -> None:
        """Move on to an epoch, whose windows follow from the losses so far; nothing changes within an epoch.

        Args:
            epoch: Number of the epoch.

        Raises:
            OptionError: It lies before the one that is known.
        """
        epoch = checked_integer("epoch", epoch, 0)
        if epoch == self.epoch:
            return
        if epoch < self.epoch:
            raise OptionError(
                f"the losses of {self.epoch} epochs are known, and epoch {epoch} lies before them; load the state of "
                f"that epoch, or make the plan anew"
            )
        if not any(cells[3].any() for cells in self._cells):
            warnings.warn(
                f"no loss was recorded in epoch {self.epoch}, so that the windows of epoch {epoch} follow from older "
                f"ones; a loop of your own calls plan.adaptation.record(draws, losses)",
                stacklevel=2,
            )
        for cells in self._cells:
            cells[:2] = cells[:2] // 2 + cells[2:]
            cells[2:] = 0
        self.epoch, self._laws = epoch, {}

    def state_dict(self) -> dict[str, Any]:
        """Return a copy of the state: integers, texts, lists, and an int64 array for each slide."""
        cells = [cells.copy() for cells in self._cells]
        ids = list(self._plan.slide_ids)
        return {"version": 1, "epoch": self.epoch, "adapt": self.adapt, "slides": ids, "cells": cells}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state, with the same windows.

        Args:
            state: A state from `state_dict`, or what JSON makes of it.

        Raises:
            OptionError: It belongs to other slides or another sampler, or is none.
        """
        if not isinstance(state, Mapping) or set(state) != set(_KEYS) or state["version"] != 1:
            raise OptionError(f"a state of adaptive windows holds {', '.join(_KEYS)}, of version 1; got {state!r:.80}")
        try:
            cells = [np.asarray(one, np.int64).copy() for one in state["cells"]]
        except (TypeError, ValueError, OverflowError):
            cells = []
        same = [one.shape for one in cells] == [one.shape for one in self._cells]
        if not same or state["adapt"] != self.adapt or list(state["slides"]) != list(self._plan.slide_ids):
            raise OptionError(
                f"the state of adaptive windows belongs to {len(state['slides'])} slides and adapt={state['adapt']!r}, "
                f"and this plan has other slides, blocks or classes: make it as in the saved run"
            )
        if any((one < 0).any() for one in cells):
            raise OptionError("a state of adaptive windows has negative sums; load one that was saved")
        self.epoch = checked_integer("epoch of the state", state["epoch"], 0)
        self._cells, self._laws = cells, {}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the state as JSON, with the names of the slides and the probability of each block or class.

        Args:
            path: The file, written whole or not at all.

        Raises:
            WriteError: It cannot be written.
        """
        state = {**self.state_dict(), "cells": [cells.tolist() for cells in self._cells]}
        shown = [
            {"name": slide.name, "probabilities": self.probabilities(number).tolist()}
            for number, slide in enumerate(self._plan.slides)
        ]
        write_text(Path(path), json.dumps({**state, "shown": shown}) + "\n", "state of adaptive windows")

    def load(self, path: str | os.PathLike[str]) -> None:
        """Go on from a file that `save` has written.

        Args:
            path: The file.

        Raises:
            MissingError: There is no such file.
            ReadError: It is no such file.
            OptionError: It belongs to other slides or another sampler.
        """
        try:
            found = json.loads(Path(path).read_text())
        except FileNotFoundError:
            raise MissingError(f"there is no file {path}") from None
        except (OSError, ValueError) as error:
            raise ReadError(f"{path}: the state of adaptive windows cannot be read: {error}") from error
        if isinstance(found, dict):
            found = {key: found[key] for key in _KEYS if key in found}
        self.load_state_dict(found)

    def snapshot(self) -> Any:
        """Return what `restore` takes: a copy of the state in this process."""
        return self.epoch, [cells.copy() for cells in self._cells]

    def restore(self, snapshot: Any) -> None:
        """Go back to a snapshot."""
        self.epoch, self._cells = snapshot
        self._laws = {}

    def probabilities(self, slide: int) -> Array:
        """Return the probability of each part of a slide in the epoch that is known.

        Args:
            slide: Number of the slide in the plan.

        Returns:
            float64: (rows, columns) of blocks, with the floor; (classes,) of an adaptive draw; empty for slides without
            any of the classes.
        """
        law = self.at(self.epoch, slide)
        if law.classes and isinstance(law.classes[0], BlockComponent):
            component = law.classes[0]
            uniform = component.scored(np.ones(component.scores.size, np.int64))
            mixed = self.floor * uniform.block_probabilities()
            return np.asarray(mixed + (1 - self.floor) * component.block_probabilities())
        return np.array(law.weights)

    def _shares(self, draw: Draw) -> list[tuple[int, float]]:
        """Return how much a window counts for the blocks or classes of its slide."""
        law = self._plan.distributions[draw.slide]
        assert isinstance(law, MixtureDistribution)
        x, y = draw.window.x, draw.window.y
        if law.classes and isinstance(law.classes[0], BlockComponent):
            return [(law.classes[0].number(x, y), 1.0)]
        # By its pixels of each class, weighed so that the means are those over uniform windows.
        area, weight = draw.window.width * draw.window.height, law.uniform.probability(x, y) / draw.probability
        return [(n, one.probability(x, y) * one.total / area * weight) for n, one in enumerate(law.classes)]

    def _adapted(self, first: MixtureDistribution, cells: Array) -> MixtureDistribution:
        """Return the distribution of a slide whose blocks or classes count by their mean losses."""
        losses, counts = (int(one) for one in cells[:2].sum(axis=1))
        if not counts or not losses:
            return first
        # One window of the slide's mean loss is added to each: parts that were not seen are average.
        mean = (cells[0] + losses / counts * ONE) / (cells[1] + float(ONE))
        if isinstance(first.classes[0], BlockComponent):
            scores = np.maximum(np.rint(mean * (SCORES / mean.max())), 1).astype(np.int64)
            return replace(first, classes=(first.classes[0].scored(scores),))
        weights = [loss * weight for loss, weight in zip(mean.tolist(), first.weights, strict=True)]
        return replace(first, weights=tuple(weight / sum(weights) for weight in weights))


def adaptation_of(plan: AdaptedPlan) -> Adaptation | None:
    """Return the adaptation of an `Adaptive` plan, None for every other one."""
    return Adaptation(plan) if isinstance(plan.sampler, Adaptive) else None


def _cells_of(law: WindowDistribution) -> int:
    """Return the number of blocks or classes of a slide's distribution."""
    if not isinstance(law, MixtureDistribution) or not law.classes:
        return 0
    first = law.classes[0]
    return int(first.scores.size) if isinstance(first, BlockComponent) else len(law.classes)
