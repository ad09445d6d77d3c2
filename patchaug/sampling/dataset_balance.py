"""The law over all slides of `balance="dataset"`: class first, then a slide by its pixels of the class, then a window.

With probability 1 - foreground: a slide by its share of the epoch's windows, then one of its windows, all equally
likely. With probability foreground: a class by its weight, then a window of all slides with probability proportional to
the number of that class's pixels in it.

The sum of that number over the windows of a slide is the `total` of its `ClassComponent`: each labelled pixel counts
once for every valid window that contains it. So the slide is drawn with weight `total`, by one integer below the sum
over all slides, and the window within it by another. Where slides are read at several levels (`mpp=`), a window of
A pixels counts total / A^2: pixels and windows per area then are those of the patches, whichever level a file has.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

import numpy as np

from patchaug.core.windows import Window
from patchaug.errors import ForegroundError
from patchaug.sampling.base import Sampler
from patchaug.sampling.distributions import MixtureComponent, MixtureDistribution, WindowDistribution
from patchaug.sampling.foreground import Foreground


def integer_below(generator: np.random.Generator, limit: int) -> int:
    """Draw an integer of 0 to limit - 1, each equally likely, for a limit of any size."""
    if limit < 2**63:
        return int(generator.integers(limit))
    bits = limit.bit_length()
    while True:  # each round succeeds with probability 1/2 at least
        value = int.from_bytes(generator.bytes(-(-bits // 8)), "little") >> (-bits % 8)
        if value < limit:
            return value


@dataclass(frozen=True, eq=False)
class _ClassSlides:
    """The slides that hold a class: their numbers, components, and weights summed from the first."""

    slides: list[int]
    components: list[MixtureComponent]
    below: list[int]


@dataclass(frozen=True, eq=False)
class DatasetDistribution:
    """Windows of all slides; see the module.

    Attributes:
        laws: For each slide, the distribution of its windows, given that the slide was drawn.
        of_slides: Probability of each slide; they sum to 1.
        foreground: Probability of a foreground draw.
        weights: Weights of the classes; they sum to 1.
        classes: The slides of each class.
        counts_below: Windows of an epoch up to each slide, which are the shares of the uniform draws.
    """

    laws: list[WindowDistribution]
    of_slides: list[float]
    foreground: float
    weights: tuple[float, ...]
    classes: tuple[_ClassSlides, ...]
    counts_below: list[int]

    def draw(self, generator: np.random.Generator) -> tuple[int, Window, float]:
        """Draw a slide and one of its windows; return them with the exact probability of both."""
        at = generator.random()
        if at < self.foreground:
            # The last class takes what rounding may leave of the weights' sum.
            one = self.classes[bisect_right(list(accumulate(self.weights[:-1])), at / self.foreground)]
            number = bisect_right(one.below, integer_below(generator, one.below[-1]))
            slide, component = one.slides[number], one.components[number]
        else:
            slide = bisect_right(self.counts_below, integer_below(generator, self.counts_below[-1]))
            component = _mixture(self.laws[slide]).uniform
        x, y = component.draw(int(generator.integers(component.total)))
        return slide, self.laws[slide].domain.at(x, y), self.probability(slide, x, y)

    def probability(self, slide: int, x: int, y: int) -> float:
        """Return the exact probability of a slide and its window with that origin, which must be in its domain."""
        return self.of_slides[slide] * _mixture(self.laws[slide]).probability(x, y)


def dataset_distribution(sampler: Sampler, laws: Sequence[WindowDistribution]) -> DatasetDistribution | None:
    """Return the law over all slides of a sampler with `balance="dataset"`; None for every other sampler.

    Args:
        sampler: The sampler.
        laws: Its distribution on each slide, with the number of windows that the slide gets.

    Raises:
        ForegroundError: No slide has any of the classes, and `empty` is "raise".
    """
    if not isinstance(sampler, Foreground) or sampler.balance != "dataset":
        return None
    mixtures = [_mixture(one) for one in laws]
    weights: dict[int | str, float] = {}
    for one in mixtures:
        if one.count:
            weights.update(one.class_weights)
    if not weights and sampler.empty == "raise":
        asked = "any class but 0" if sampler.classes is None else f"any of the classes {list(sampler.classes)}"
        raise ForegroundError(
            f'none of the {len(laws)} slides has {asked}; ask for other classes, or set empty to "uniform"'
        )
    foreground = float(sampler.foreground) if weights else 0.0
    areas = {one.domain.width * one.domain.height for one in mixtures}
    common = math.lcm(*areas)
    keys = [[key for key, _ in one.class_weights] if one.count else [] for one in mixtures]
    classes, of_slide = {}, [dict[int | str, float]() for _ in mixtures]
    whole = sum(weights.values())
    for key, weight in weights.items():
        holders = [k for k, one in enumerate(keys) if key in one]
        components = [mixtures[k].classes[keys[k].index(key)] for k in holders]
        factors = [(common // (mixtures[k].domain.width * mixtures[k].domain.height)) ** 2 for k in holders]
        amounts = [one.total * factor for one, factor in zip(components, factors, strict=True)]
        below = list(accumulate(amounts))
        classes[key] = _ClassSlides(holders, components, below)
        for k, amount in zip(holders, amounts, strict=True):
            of_slide[k][key] = foreground * weight / whole * (amount / below[-1])
    counts = [one.count for one in mixtures]
    shares = [(1 - foreground) * count / max(sum(counts), 1) for count in counts]
    given: list[WindowDistribution] = []
    of_slides = []
    for one, uniform, of_classes in zip(mixtures, shares, of_slide, strict=True):
        by_class = sum(of_classes.values())
        of_slides.append(uniform + by_class)
        given.append(
            replace(
                one, foreground=by_class / (uniform + by_class),
                weights=tuple(of_classes[key] / by_class for key, _ in one.class_weights),
            )
            if by_class
            else replace(one, foreground=0.0, weights=(), classes=(), class_weights=())
        )  # fmt: skip
    return DatasetDistribution(
        given, of_slides, foreground, tuple(weight / whole for weight in weights.values()), tuple(classes.values()),
        list(accumulate(counts)),
    )  # fmt: skip


def _mixture(law: WindowDistribution) -> MixtureDistribution:
    assert isinstance(law, MixtureDistribution)  # each sampler with `foreground` makes one
    return law
