"""Short trainings of equal time, and how far their scores tell the candidates apart.

Two things make a score uncertain: the training, of which another seed gives another model, and the choice of the
validation pixels. The first is the deviation between seeds, pooled over the candidates; the second a jackknife over
slides, or over blocks where there are few slides. Differences are compared on the same pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from patchaug.advise.candidate import Candidate
from patchaug.advise.interval import Interval, interval_around, jackknife_error
from patchaug.advise.validation import Block, count_block, mean_dice, predict_block
from patchaug.core.arrays import Array
from patchaug.slides.slide import Slide

SLIDES_AT_LEAST = 5  # validation slides for a jackknife over slides


class Trained(NamedTuple):
    """A model of a short training.

    Attributes:
        learn: The learner.
        steps: Steps that were taken.
        seconds: Time that they took.
    """

    learn: Any
    steps: int
    seconds: float


Train = Callable[[Candidate, int, float, int], Trained]  # candidate, batch, seconds, seed


@dataclass
class Scored:
    """A candidate's trainings and their counts on the validation blocks.

    Attributes:
        candidate: The candidate.
        batch: Windows in a batch.
        counts: Confusion matrices of each training, float64 (units, classes, classes).
        steps: Steps of each training.
        seconds: Time of each training.
        learn: The learner of the last training.
    """

    candidate: Candidate
    batch: int
    counts: list[Array] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    learn: Any = None

    @property
    def units(self) -> Array:
        """Counts of all trainings, float64 (units, trainings, classes, classes)."""
        return np.stack(self.counts, axis=1).astype(np.float64)

    @property
    def each(self) -> list[float]:
        """Dice of each training."""
        return [mean_dice(one.sum(0)) for one in self.counts]

    @property
    def dice(self) -> float:
        """Mean Dice of the trainings."""
        return float(np.mean(self.each))


def train_and_score(
    scored: Scored, train: Train, slides: Sequence[Slide], blocks: Sequence[Block], classes: int, seconds: float,
    seed: int,
) -> None:  # fmt: skip
    """Train a candidate once, and add its counts on the blocks.

    Args:
        scored: The candidate, to which the training is added.
        train: Trains a learner.
        slides: The validation slides.
        blocks: Their blocks.
        classes: Number of classes.
        seconds: Time of the training.
        seed: Seed of weights and windows.
    """
    trained = train(scored.candidate, scored.batch, seconds, seed)
    counts = []
    for block in blocks:
        slide = slides[block.slide]
        counts.append(count_block(slide, block, predict_block(trained.learn, slide, block, scored.candidate), classes))
    scored.counts.append(np.array(units_of(counts, blocks, len(slides))))
    scored.steps.append(trained.steps)
    scored.seconds.append(trained.seconds)
    scored.learn = trained.learn


def units_of(counts: Sequence[Array], blocks: Sequence[Block], slides: int) -> list[Array]:
    """Return the counts of each unit that is left out in turn: slides, or blocks where there are few slides."""
    if slides < SLIDES_AT_LEAST:
        return list(counts)
    return [
        np.sum([count for count, block in zip(counts, blocks, strict=True) if block.slide == number], axis=0)
        for number in range(slides)
    ]


def training_deviation(every: Sequence[Scored]) -> float:
    """Return the standard deviation of the Dice between seeds, pooled over candidates; NaN for one training each."""
    freedom = sum(len(one.counts) - 1 for one in every)
    squares = sum(((np.array(one.each) - one.dice) ** 2).sum() for one in every)
    return math.sqrt(squares / freedom) if freedom else math.nan


def dice_interval(one: Scored, deviation: float) -> Interval:
    """Return the Dice of a candidate with its interval, over seeds and validation pixels.

    Args:
        one: The candidate.
        deviation: See `training_deviation`; the interval leaves it out where it is NaN.
    """
    error = jackknife_error(_mean, one.units)
    value, low, high = interval_around(one.dice, math.hypot(error, _known(deviation) / math.sqrt(len(one.counts))))
    return Interval(value, low if math.isnan(low) else max(low, 0.0), high if math.isnan(high) else min(high, 1.0))


def difference_interval(one: Scored, other: Scored, deviation: float) -> Interval:
    """Return the Dice of a candidate less that of another on the same pixels, with its interval.

    Args:
        one: A candidate.
        other: Another one, with the same units.
        deviation: See `training_deviation`; the interval leaves it out where it is NaN.
    """
    number = len(one.counts)
    both = np.concatenate([one.units, other.units], axis=1)
    error = jackknife_error(lambda sums: _mean(sums[:number]) - _mean(sums[number:]), both)
    of_seeds = _known(deviation) * math.sqrt(1 / number + 1 / len(other.counts))
    return interval_around(one.dice - other.dice, math.hypot(error, of_seeds))


def _known(deviation: float) -> float:
    return 0.0 if math.isnan(deviation) else deviation


def _mean(sums: Array) -> float:
    return float(np.mean([mean_dice(one) for one in sums]))
