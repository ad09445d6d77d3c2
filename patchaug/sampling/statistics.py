"""Measure the values of each channel over seeded windows of slides: percentiles, mean and standard deviation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from patchaug.core.arrays import Array
from patchaug.core.validation import SEED
from patchaug.errors import OptionError
from patchaug.sampling.plan import Plan
from patchaug.sampling.uniform import Uniform
from patchaug.slides.one_format import require_one_format
from patchaug.slides.slide import Slide

PERCENTILES = (0.1, 1.0, 50.0, 99.0, 99.9)
Scale = tuple[tuple[float, float], ...]


class ChannelStatistics(NamedTuple):
    """Values of one channel.

    Attributes:
        name: Name or number of the channel.
        percentiles: Values at `PERCENTILES` percent.
        mean, std: Mean and standard deviation.
    """

    name: str
    percentiles: tuple[float, ...]
    mean: float
    std: float


def measure(
    slides: Sequence[Slide], *, windows: int = 256, size: int = 256, seed: int = SEED
) -> list[ChannelStatistics]:
    """Measure the values of each channel over random windows of slides.

    Pixels that are not numbers, or that hold no data, are left out.

    Args:
        slides: Slides of one number of channels.
        windows: Number of windows of all slides, at least one of each.
        size: Side of a window in pixels, less for smaller slides.
        seed: Seed of the windows.

    Returns:
        One entry per channel.

    Raises:
        OptionError: There is no slide, or the slides differ in channels or dtype.

    Examples:
        >>> import numpy as np
        >>> from patchaug import open_slide
        >>> from patchaug.sampling.statistics import measure
        >>> measure([open_slide(np.full((300, 300, 2), 7, np.uint16))])[0].mean
        7.0
    """
    require_one_format(slides)
    taken: list[Array] = []
    alone = [slide.without_mask() for slide in slides]
    for slide in alone:
        sampler = Uniform(min(size, *slide.dimensions), per_slide=max(windows // len(slides), 1))
        plan = Plan([slide], sampler, seed=seed, shuffle=False)
        step = max(1, size * size * windows // 2**24)  # some millions of pixels are enough
        for draw in plan:
            pixels = plan.read(draw).image
            taken.append(pixels[slide.read_valid(draw.window)][::step])
    pixels = np.concatenate(taken)
    names = slides[0].channel_names or [str(number) for number in range(pixels.shape[1])]
    return [_measured(name, pixels[:, number]) for number, name in enumerate(names)]


def _measured(name: str, values: Array) -> ChannelStatistics:
    finite = values[np.isfinite(values)].astype(np.float64)
    if not len(finite):
        raise OptionError(f"channel {name} holds no number in the windows that were measured; leave it out")
    percentiles = tuple(float(value) for value in np.percentile(finite, PERCENTILES))
    return ChannelStatistics(name, percentiles, float(finite.mean()), float(finite.std()))


def suggested_scale(statistics: Sequence[ChannelStatistics]) -> Scale:
    """Return a scale that takes nearly all measured values into 0..1, one pair a channel."""
    pairs = []
    for channel in statistics:
        low, high = (float(f"{channel.percentiles[at]:.4g}") for at in (0, -1))
        pairs.append((low, high if high > low else low + 1.0))
    return tuple(pairs)


def checked_scale(scale: Any) -> Scale:
    """Return a scale as pairs: one for all channels, or one a channel.

    Raises:
        OptionError: It is of another form, or a pair does not rise.
    """
    values: Scale
    try:
        pairs = [scale] if not isinstance(scale[0], (tuple, list)) else list(scale)
        values = tuple((float(low), float(high)) for low, high in pairs)
    except (TypeError, ValueError, IndexError, KeyError):
        values = ()
    if not values or not all(math.isfinite(low) and math.isfinite(high) and low < high for low, high in values):
        raise OptionError(f"scale must be (low, high) with low < high, or one such pair a channel, got {scale!r}")
    return values
