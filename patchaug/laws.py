"""What a sampler means on one slide: how many windows an epoch has, and which one a draw is.

    law.count                                 # windows of this slide in an epoch
    law.draw(number, random)                  # (Window, its exact probability)

`random(number)` hands out the generator of a draw; no law owns one. A grid with a random offset asks for number 0 at
each draw, so that all windows of an epoch share their offset.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate
from typing import Protocol

import numpy as np

from patchaug.foreground import ClassLaw
from patchaug.geometry import Window, covering, fixed_position, shifted_covering, shifted_position

Random = Callable[[int], np.random.Generator]


class Law(Protocol):
    """The windows of one slide."""

    @property
    def count(self) -> int:
        """Windows in an epoch."""

    def draw(self, number: int, random: Random) -> tuple[Window, float]:
        """Window `number` of an epoch, and its probability under the law (1 for grids)."""


@dataclass(frozen=True)
class Frame:
    """Windows of width x height px on a level of length_x x length_y px, which they fit into."""

    level: int
    width: int
    height: int
    length_x: int
    length_y: int

    @property
    def windows(self) -> int:
        """Number of windows that lie inside the level."""
        return (self.length_x - self.width + 1) * (self.length_y - self.height + 1)

    def at(self, x: int, y: int) -> Window:
        """The window with that origin."""
        return Window(x, y, self.width, self.height, self.level)


@dataclass(frozen=True)
class UniformLaw:
    """Each window inside the frame is equally likely."""

    frame: Frame
    count: int

    def draw(self, number: int, random: Random) -> tuple[Window, float]:
        """A window and its probability."""
        windows = self.frame.windows
        # One integer for both axes: it may have up to 63 bits, so no slide is too large.
        y, x = divmod(int(random(number).integers(windows)), self.frame.length_x - self.frame.width + 1)
        return self.frame.at(x, y), 1 / windows


@dataclass(frozen=True)
class GridLaw:
    """A grid over the frame, fixed or shifted by an offset of the epoch."""

    frame: Frame
    overlap: int
    shifted: bool

    @property
    def _axes(self) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
        return (
            (self.frame.length_x, self.frame.width, self.frame.width - self.overlap),
            (self.frame.length_y, self.frame.height, self.frame.height - self.overlap),
        )

    @property
    def count(self) -> int:
        """Windows in an epoch: the same in every epoch, also when the offset moves."""
        number = shifted_covering if self.shifted else covering
        across, down = (number(*axis) for axis in self._axes)
        return across * down

    def draw(self, number: int, random: Random) -> tuple[Window, float]:
        """A window; its probability is 1, since every epoch holds it."""
        across, down = self._axes
        if self.shifted:
            row, column = divmod(number, shifted_covering(*across))
            phase_x, phase_y = random(0).random(2)
            x, y = shifted_position(column, phase_x, *across), shifted_position(row, phase_y, *down)
        else:
            row, column = divmod(number, covering(*across))
            x, y = fixed_position(column, *across), fixed_position(row, *down)
        return self.frame.at(x, y), 1.0


@dataclass(frozen=True)
class ForegroundLaw:
    """`Foreground` on one slide: a mixture of the uniform law and one law for each class."""

    uniform: UniformLaw
    share: float
    weights: tuple[float, ...]
    laws: tuple[ClassLaw, ...]

    @property
    def count(self) -> int:
        """Windows in an epoch."""
        return self.uniform.count

    def draw(self, number: int, random: Random) -> tuple[Window, float]:
        """A window and its exact probability under the mixture, whichever part drew it."""
        generator = random(number)
        at = generator.random() if self.share else 1.0
        if at >= self.share:
            window, _ = self.uniform.draw(number, lambda _: generator)
        else:
            # The last class takes what rounding may leave of the weights' sum.
            number = bisect_right(list(accumulate(self.weights[:-1])), at / self.share)
            law = self.laws[number]
            x, y = law.draw(int(generator.integers(law.total)))
            window = self.uniform.frame.at(x, y)
        foreground = sum(
            weight * law.probability(window.x, window.y) for weight, law in zip(self.weights, self.laws, strict=True)
        )
        return window, (1 - self.share) / self.uniform.frame.windows + self.share * foreground
