"""Importance weights: what makes means over windows that were not drawn uniformly means over the slide.

The weight of a window is its probability under the uniform law, divided by its own. So the expected weight of a draw
is 1 on each slide, and the mean of weight times loss is, in expectation, the mean loss over all windows of the slide.
Slides keep the shares that `per_slide` gives them, also where `balance="dataset"` draws the slide, too.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from patchaug.core.arguments import names_arguments_of_init
from patchaug.core.validation import checked_positive
from patchaug.errors import OptionError
from patchaug.sampling.distributions import GridDistribution, MixtureDistribution, WindowDistribution
from patchaug.sampling.draw import Draw
from patchaug.sampling.plan import Plan


class Clipping(NamedTuple):
    """What a limit does to weights.

    Attributes:
        windows: Number of windows.
        clipped: Number of those whose weight is above the limit.
        share: Share of the sum of all weights that is cut off, 0 to 1.
        largest: Largest weight before the limit.
    """

    windows: int
    clipped: int
    share: float
    largest: float

    @classmethod
    def of(cls, weights: Iterable[float], limit: float | None) -> Clipping:
        """Measure what a limit cuts off some weights."""
        whole = list(weights)
        above = [] if limit is None else [weight - limit for weight in whole if weight > limit]
        return cls(len(whole), len(above), sum(above) / (sum(whole) or 1.0), max(whole, default=0.0))


@names_arguments_of_init
class ImportanceWeights:
    """Weights of the windows of a plan, with which their means are means over all windows of each slide.

    The weight of a draw is the probability of its window under `Uniform`, with the same `min_fraction` and `min_valid`,
    divided by its own. With `foreground=0.9` no weight is above 1 / (1 - 0.9) = 10. Windows of a grid weigh 1.

    Args:
        plan: The plan.
        max_weight: Clip weights at this number, at least 1: less variance for some bias; see `clipping`.

    Raises:
        OptionError: Some windows of a slide are never drawn (foreground=1), unreadable ones are replaced by others, or
            the limit is below 1.

    Examples:
        >>> import numpy as np
        >>> from patchaug import Foreground, ImportanceWeights, Plan, open_slide
        >>> mask = np.zeros((100, 200), np.uint8)
        >>> mask[40, 50] = 1
        >>> plan = Plan([open_slide(np.zeros((100, 200, 3), np.uint8), mask)], Foreground(64, per_slide=500))
        >>> weights = ImportanceWeights(plan)
        >>> mean = sum(weights(draw) for draw in plan) / len(plan)
        >>> 0.9 < mean < 1.1
        True
    """

    def __init__(self, plan: Plan, *, max_weight: float | None = None) -> None:
        self.plan, self.max_weight = plan, checked_limit(max_weight)
        if plan.on_error == "resample":
            raise OptionError(
                'weights=True needs the windows that were drawn, and on_error="resample" reads others in place of '
                'unreadable ones; set on_error="raise"'
            )
        for slide, one in zip(plan.slides, plan.distributions, strict=True):
            _require_all_windows(slide.name, one)

    def __call__(self, draw: Draw) -> float:
        """Return the weight of a draw of the plan.

        Args:
            draw: The draw, such as `plan[index]`.
        """
        weight = self.unclipped(draw)
        return weight if self.max_weight is None else min(weight, self.max_weight)

    def unclipped(self, draw: Draw) -> float:
        """Return the weight of a draw of the plan, without the limit."""
        law = self.plan.distributions[draw.slide]
        if not isinstance(law, MixtureDistribution):
            return 1.0
        uniform = law.uniform.probability(draw.window.x, draw.window.y)
        if self.plan.draws_slides:  # the probability is that of slide and window
            uniform *= self.plan.counts[draw.slide] / len(self.plan)
        return uniform / draw.probability

    def clipping(self, epoch: int = 0) -> Clipping:
        """Measure what the limit cuts off the weights of an epoch; no window is read."""
        n = len(self.plan)
        indices = range(epoch * n, (epoch + 1) * n)
        return Clipping.of((self.unclipped(self.plan[index]) for index in indices), self.max_weight)


def checked_limit(max_weight: float | None) -> float | None:
    """Return the limit of weights.

    Raises:
        OptionError: It is below 1, which would cut the average weight.
    """
    if max_weight is None:
        return None
    limit = checked_positive("max_weight", max_weight, "a weight")
    if limit < 1:
        raise OptionError(f"max_weight must be at least 1, the mean of all weights, got {max_weight}")
    return limit


def _require_all_windows(name: str, law: WindowDistribution) -> None:
    """Raise OptionError unless each window of a slide can be drawn, by a law that is known."""
    if isinstance(law, GridDistribution) or not law.count:
        return
    if not isinstance(law, MixtureDistribution):
        raise OptionError(
            f"{name}: weights=True needs the uniform law beside that of {type(law).__name__}; derive the distribution "
            f"from MixtureDistribution, or leave weights out"
        )
    if law.foreground == 1:
        raise OptionError(
            f"{name}: foreground=1 never draws windows without foreground, so that no weights give means over the "
            f"slide; set foreground to 0.9, or leave weights out"
        )
