"""Intervals of scores over slides, by the bootstrap: how much a score would vary with other slides of the same kind."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from patchaug.core.arrays import Array
from patchaug.core.validation import SEED
from patchaug.predict.scores import ScoreCounts, scores_of

SAMPLES = 2000  # a percentile of 2.5 then rests on 50 values


def bootstrap_intervals(
    slides: Sequence[ScoreCounts], *, coverage: float = 0.95, samples: int = SAMPLES, seed: int = SEED
) -> dict[str, Array]:
    """Return an interval of each score: percentiles over samples of the slides, drawn with replacement.

    Slides are drawn whole, since pixels of one slide are not independent (Efron and Tibshirani, An introduction to the
    bootstrap, 1993, percentile interval).

    Args:
        slides: Counts of each slide.
        coverage: Share of the samples whose score lies within the interval.
        samples: Number of samples.
        seed: Seed of the samples; the same seed gives the same intervals.

    Returns:
        For each name of `scores_of`: (low, high) by class, float64 (2, classes); NaN where no sample has a score, and
        for fewer than two slides.

    Examples:
        >>> from patchaug.predict.bootstrap import bootstrap_intervals
        >>> slides = [ScoreCounts(np.array([[9, 1], [1, right]])) for right in (2, 5, 9)]
        >>> low, high = bootstrap_intervals(slides)["dice"]
        >>> bool(low[1] < high[1])
        True
    """
    drawn = np.random.default_rng(seed).integers(0, len(slides), (samples, len(slides)))
    weights = np.stack([(drawn == number).sum(1) for number in range(len(slides))], axis=1)
    whole = ScoreCounts(*(_weighted([getattr(one, name) for one in slides], weights) for name in _FIELDS))  # type: ignore[arg-type]
    tails = 100 * np.array([(1 - coverage) / 2, (1 + coverage) / 2])
    return {name: _percentiles(values, tails, len(slides)) for name, values in scores_of(whole).items()}


_FIELDS = ("confusion", "boundary", "objects")


def _weighted(parts: Sequence[Array | None], weights: Array) -> Array | None:
    """Return the sum over slides for each sample, (samples, ...)."""
    known = [(part, weights[:, number]) for number, part in enumerate(parts) if part is not None]
    if not known:
        return None
    return np.asarray(sum(weight.reshape(-1, *(1,) * part.ndim) * part for part, weight in known))


def _percentiles(values: Array, tails: Array, slides: int) -> Array:
    """Return percentiles over the samples with a score, float64 (2, classes)."""
    result = np.full((2, values.shape[1]), np.nan)
    for number, column in enumerate(values.T):
        known = column[~np.isnan(column)]
        if slides > 1 and len(known):
            result[:, number] = np.percentile(known, tails)
    return result
