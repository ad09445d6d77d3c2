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
from functools import cached_property
from itertools import accumulate
from typing import Protocol

import numpy as np

from patchaug.core.windows import Window, covering, fixed_position, shifted_covering, shifted_position

Random = Callable[[int], "np.random.Generator"]


@dataclass(frozen=True)
class WindowDomain:
    """Windows of width x height px on a level of length_x x length_y px, none nearer to its border than the margins.

    Where `bounds` (left, top, right, bottom) are set, they are that border.
    """

    level: int
    width: int
    height: int
    length_x: int
    length_y: int
    margin_x: int = 0
    margin_y: int = 0
    bounds: tuple[int, int, int, int] | None = None

    @cached_property
    def left(self) -> int:
        """First column that a window may hold."""
        return (0 if self.bounds is None else self.bounds[0]) + self.margin_x

    @cached_property
    def top(self) -> int:
        """First row that a window may hold."""
        return (0 if self.bounds is None else self.bounds[1]) + self.margin_y

    @cached_property
    def right(self) -> int:
        """First column to the right that no window holds."""
        return (self.length_x if self.bounds is None else self.bounds[2]) - self.margin_x

    @cached_property
    def bottom(self) -> int:
        """First row below that no window holds."""
        return (self.length_y if self.bounds is None else self.bounds[3]) - self.margin_y

    @property
    def windows(self) -> int:
        """Number of windows that lie inside the margins."""
        return self.columns * self.rows

    @cached_property
    def columns(self) -> int:
        """Number of windows in a row of them."""
        return self.right - self.left - self.width + 1

    @cached_property
    def rows(self) -> int:
        """Number of windows in a column of them."""
        return self.bottom - self.top - self.height + 1

    def at(self, x: int, y: int) -> Window:
        """Return the window with that origin."""
        return Window(x, y, self.width, self.height, self.level)


class WindowDistribution(Protocol):
    """The windows of one slide."""

    @property
    def domain(self) -> WindowDomain:
        """Size of the windows, and of the level that they lie in."""

    @property
    def count(self) -> int:
        """Windows in an epoch."""

    def draw(self, number: int, random: Random) -> tuple[Window, float]:
        """Window `number` of an epoch, and its exact probability under the law (1 for grids)."""

    def redraw(self, generator: np.random.Generator, random: Random) -> Window:
        """Draw a window in place of an unreadable one: at random, or another one of the epoch's grid."""


class MixtureComponent(Protocol):
    """One part of a mixture: windows, each worth a number of ranks."""

    @property
    def total(self) -> int:
        """Number of ranks."""

    def draw(self, rank: int) -> tuple[int, int]:
        """Return the origin (x, y) of the window of a rank in 0..total-1."""

    def probability(self, x: int, y: int) -> float:
        """Return the probability of the window with that origin, whichever component drew it."""


@dataclass(frozen=True)
class UniformComponent:
    """Each window inside the domain, equally likely."""

    domain: WindowDomain

    @property
    def total(self) -> int:
        """Number of windows."""
        return self.domain.windows

    def draw(self, rank: int) -> tuple[int, int]:
        """Return the origin (x, y) of window number `rank`, in reading order."""
        # One integer for both axes: it may have up to 63 bits, so no slide is too large.
        y, x = divmod(rank, self.domain.columns)
        return x + self.domain.left, y + self.domain.top

    def probability(self, x: int, y: int) -> float:
        """Return the probability, which is the same for all windows."""
        return 1 / self.total


@dataclass(frozen=True)
class GridDistribution:
    """A grid over the domain, fixed or shifted by an offset of the epoch."""

    domain: WindowDomain
    overlap_x: int
    overlap_y: int
    shifted: bool
    chosen: tuple[int, ...] | None = None  # numbers of a fixed grid's windows that lie in a region; None for all

    @property
    def _axes(self) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
        return (
            (self.domain.right - self.domain.left, self.domain.width, self.domain.width - self.overlap_x),
            (self.domain.bottom - self.domain.top, self.domain.height, self.domain.height - self.overlap_y),
        )

    @property
    def count(self) -> int:
        """Windows in an epoch: the same in every epoch, also when the offset moves."""
        return self.every if self.chosen is None else len(self.chosen)

    @property
    def every(self) -> int:
        """Windows of the grid, in the region or not."""
        number = shifted_covering if self.shifted else covering
        across, down = (number(*axis) for axis in self._axes)
        return across * down

    def draw(self, number: int, random: Random) -> tuple[Window, float]:
        """Return window `number`; its probability is 1, since every epoch holds it."""
        number = number if self.chosen is None else self.chosen[number]
        across, down = self._axes
        if self.shifted:
            row, column = divmod(number, shifted_covering(*across))
            phase_x, phase_y = random(0).random(2)
            x, y = shifted_position(column, phase_x, *across), shifted_position(row, phase_y, *down)
        else:
            row, column = divmod(number, covering(*across))
            x, y = fixed_position(column, *across), fixed_position(row, *down)
        return self.domain.at(x + self.domain.left, y + self.domain.top), 1.0

    def redraw(self, generator: np.random.Generator, random: Random) -> Window:
        """Draw another window of the same grid."""
        return self.draw(int(generator.integers(self.count)), random)[0]


@dataclass(frozen=True)
class MixtureDistribution:
    """Windows drawn at random: `uniform` with probability 1 - foreground, else one of `classes` by its weight.

    Attributes:
        domain: Size of the windows and of the level.
        count: Windows in an epoch.
        uniform: What is drawn with probability 1 - foreground.
        foreground: Probability of a foreground draw; 0 where there are no classes.
        weights: Weights of the classes; they sum to 1.
        classes: One part for each class.
        class_weights: Number and requested weight of each of them, for a balance over several slides.
    """

    domain: WindowDomain
    count: int
    uniform: MixtureComponent
    foreground: float = 0.0
    weights: tuple[float, ...] = ()
    classes: tuple[MixtureComponent, ...] = ()
    class_weights: tuple[tuple[int | str, float], ...] = ()

    def draw(self, number: int, random: Random) -> tuple[Window, float]:
        """Draw a window; return it with its exact probability in the mixture, whichever component drew it."""
        generator = random(number)
        part = self.uniform
        if self.foreground:
            at = generator.random()
            if at < self.foreground:
                # The last class takes what rounding may leave of the weights' sum.
                part = self.classes[bisect_right(list(accumulate(self.weights[:-1])), at / self.foreground)]
        x, y = part.draw(int(generator.integers(part.total)))
        return self.domain.at(x, y), self.probability(x, y)

    def probability(self, x: int, y: int) -> float:
        """Return the exact probability of the window with that origin, which must be in the domain."""
        probability = 0.0 if self.foreground == 1 else (1 - self.foreground) * self.uniform.probability(x, y)
        for weight, one in zip(self.weights, self.classes, strict=True):
            probability += self.foreground * weight * one.probability(x, y)
        return probability

    def redraw(self, generator: np.random.Generator, random: Random) -> Window:
        """Draw a window from the same distribution."""
        return self.draw(0, lambda _: generator)[0]
