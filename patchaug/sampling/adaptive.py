"""`Adaptive`: more windows where the losses of the last epochs were high, and a floor for every window.

The law of an epoch is that of its plan's `adaptation`, which holds the losses. This file has the sampler, and the law
of blocks: the origins of the windows are cut into a grid of blocks, and each window of a block is worth the same number
of ranks, an integer. So a draw is one integer below the sum of all ranks, and its probability is exact.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from patchaug.core.arguments import names_arguments_of_init
from patchaug.core.arrays import Array
from patchaug.core.validation import Classes, Size, checked_fraction, checked_integer, checked_weights
from patchaug.errors import OptionError
from patchaug.sampling.base import NO_HALO, Halo, check_place, domain_of, put
from patchaug.sampling.distributions import MixtureDistribution, UniformComponent, WindowDomain
from patchaug.sampling.foreground import Foreground
from patchaug.sampling.min_valid import region_limit
from patchaug.sampling.option_table import Adapt, PerSlide, check_choice
from patchaug.sampling.uniform import check_count, count_alone
from patchaug.slides.slide import Slide

MOST_BLOCKS = 256  # on a side
SCORES = 65535  # largest number of ranks of a window


@names_arguments_of_init
@dataclass(frozen=True)
class Adaptive:
    """Windows where the last epochs had high losses, mixed with uniform ones.

    With probability `floor` every valid window is equally likely. Otherwise a window is drawn with probability
    proportional to the mean loss of its block of the slide (adapt="blocks"), or in proportion to its pixels of a class
    that is drawn by the mean loss of the classes (adapt="classes"). An epoch counts half as much as the one after it.
    In epoch 0 no loss is known: blocks are alike, and classes have their weights in `classes`.

    `PatchDL` records the losses of each batch. In a loop of your own, call `record` and `advance` of
    `plan.adaptation`.

    Args:
        size: Side of the window in pixels of `level`, or (height, width).
        per_slide: Windows drawn from each slide in an epoch; or "area" or "tissue", see `Uniform`.
        windows: Windows of all slides in an epoch, with per_slide "area" or "tissue".
        adapt: What has weights that follow the losses: "blocks" of each slide, or "classes".
        blocks: Blocks on each side of a slide; fewer where it has fewer windows.
        floor: Probability of a uniform draw, above 0 up to 1.
        classes: Classes, or their weights in epoch 0, see `Foreground`; for adapt="classes". Slides that have none of
            them are drawn from uniformly.
        level: Pyramid level to read.
        mpp: Micrometres per pixel of the patches, in place of a level; see `Uniform`.

    Raises:
        OptionError: A value is of a wrong type or out of its limits.

    Examples:
        >>> import numpy as np
        >>> from patchaug import Adaptive, Plan, open_slide
        >>> slide = open_slide(np.zeros((100, 200, 3), np.uint8), name="a")
        >>> plan = Plan([slide], Adaptive(64, per_slide=64), seed=3)
        >>> for draw in plan:  # windows on the left have a loss of 9, others of 1
        ...     plan.adaptation.record([draw], [9.0 if draw.window.x < 40 else 1.0])
        >>> plan.adaptation.advance(1)
        >>> [sum(plan[64 * epoch + place].window.x < 40 for place in range(64)) for epoch in range(2)]
        [20, 29]
    """

    size: Size
    per_slide: PerSlide = field(default=1, kw_only=True)
    windows: int | None = field(default=None, kw_only=True)
    adapt: Adapt = field(default="blocks", kw_only=True)
    blocks: int = field(default=8, kw_only=True)
    floor: float = field(default=0.1, kw_only=True)
    classes: Classes | None = field(default=None, kw_only=True)
    level: int = field(default=0, kw_only=True)
    mpp: float | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        check_place(self)
        if self.per_slide == "foreground":
            raise OptionError('per_slide="foreground" is for Foreground; take a number, "area" or "tissue"')
        check_count(self)
        check_choice("adapt", self.adapt, Adapt)
        put(self, "blocks", checked_integer("blocks", self.blocks, 1, MOST_BLOCKS))
        put(self, "floor", checked_fraction("floor", self.floor, "a probability"))
        if self.floor == 0:
            raise OptionError("floor must be above 0, so that every window can be drawn; 0.1 is usual")
        checked_weights(self.classes)
        if self.classes is not None and self.adapt == "blocks":
            raise OptionError('classes are for adapt="classes"; leave them out, or set it')

    def distribution(self, slide: Slide, halo: Halo = NO_HALO) -> MixtureDistribution:
        """Return the distribution of windows on one slide in epoch 0, as if it were the only one.

        Args:
            slide: The slide.
            halo: Pixels (y, x) of the patches, in which no window may come nearer to the border of the slide.

        Raises:
            WindowError: The slide has no such level, or it is smaller than the window.
            OptionError: `mpp` is asked for, and the slide does not say its own, or is coarser; or its region is no
                rectangle.
        """
        if self.adapt == "classes":
            law = Foreground(
                self.size, foreground=1 - self.floor, classes=self.classes, empty="uniform", level=self.level,
                mpp=self.mpp,
            ).distribution(slide, halo)  # fmt: skip
            return replace(law, count=count_alone(self))
        domain = domain_of(self, slide, halo)
        if region_limit(slide, domain, 1.0) is not None:
            raise OptionError(
                f"{slide.name}: blocks are cut out of a rectangle, and the region of the slide is none; take "
                f'adapt="classes", or a Window as the region'
            )
        whole = UniformComponent(domain)
        component = BlockComponent.of(domain, self.blocks)
        return MixtureDistribution(domain, count_alone(self), whole, 1 - self.floor, (1.0,), (component,))


def _edges(length: int, parts: int) -> tuple[int, ...]:
    """Return where the parts of an axis begin, and its length."""
    return tuple(part * length // parts for part in range(parts + 1))


@dataclass(frozen=True, eq=False)
class BlockComponent:
    """Windows of which each is worth the score of its block.

    Attributes:
        domain: Size of the windows, and where they lie.
        across: First column of origins of each block, counted from the first origin, and the number of columns.
        down: The same for rows.
        scores: Ranks of each window of a block, of 1 to 65535, int64 (rows, columns).
    """

    domain: WindowDomain
    across: tuple[int, ...]
    down: tuple[int, ...]
    scores: Array = field(repr=False)

    @classmethod
    def of(cls, domain: WindowDomain, blocks: int) -> BlockComponent:
        """Cut a domain into blocks x blocks, or fewer, of equal scores."""
        across, down = (_edges(length, min(length, blocks)) for length in (domain.columns, domain.rows))
        return cls(domain, across, down, np.ones((len(down) - 1, len(across) - 1), np.int64))

    def scored(self, scores: Array) -> BlockComponent:
        """Return the component with other scores, int64 (rows * columns,)."""
        return replace(self, scores=scores.reshape(self.scores.shape))

    @cached_property
    def below(self) -> list[int]:
        """Sum of the ranks of all blocks up to each, in reading order; Python's integers, of any size."""
        total, found = 0, []
        for row, line in enumerate(self.scores.tolist()):
            for column, score in enumerate(line):
                total += score * (self.down[row + 1] - self.down[row]) * (self.across[column + 1] - self.across[column])
                found.append(total)
        return found

    @property
    def total(self) -> int:
        """Sum of all ranks."""
        return self.below[-1]

    def draw(self, rank: int) -> tuple[int, int]:
        """Return the origin (x, y) of the window of a rank in 0..total-1."""
        number = bisect_right(self.below, rank)
        row, column = divmod(number, len(self.across) - 1)
        before = self.below[number - 1] if number else 0
        window = (rank - before) // int(self.scores[row, column])
        left = self.across[column]
        y, x = divmod(window, self.across[column + 1] - left)
        return left + x + self.domain.left, self.down[row] + y + self.domain.top

    def number(self, x: int, y: int) -> int:
        """Return the number of the block of the window with that origin, in reading order."""
        row = bisect_right(self.down, y - self.domain.top) - 1
        return row * (len(self.across) - 1) + bisect_right(self.across, x - self.domain.left) - 1

    def probability(self, x: int, y: int) -> float:
        """Return the probability of the window with that origin."""
        return int(self.scores.ravel()[self.number(x, y)]) / self.total

    def block_probabilities(self) -> Array:
        """Return the probability of each block, float64 (rows, columns)."""
        ranks = np.diff(np.array([0, *self.below], object)).reshape(self.scores.shape)
        return (ranks / self.total).astype(np.float64)
