"""Measured values with an interval: means and ratios over independent units, such as windows or slides."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from patchaug.core.arrays import Array

_NORMAL = 1.96  # half width of an interval of 95 %, in standard errors


class Interval(NamedTuple):
    """A value and its interval of 95 %; the limits are NaN where there are too few units to tell.

    Examples:
        >>> from patchaug.advise.interval import Interval
        >>> str(Interval(0.5, 0.25, 0.75))
        '0.5 (0.25 to 0.75)'
    """

    value: float
    low: float = math.nan
    high: float = math.nan

    def __str__(self) -> str:
        limits = "" if math.isnan(self.low) else f" ({_short(self.low)} to {_short(self.high)})"
        return _short(self.value) + limits

    def as_report(self) -> list[float | None]:
        """Return value, low and high, None for NaN, as JSON writes them."""
        return [None if math.isnan(one) else float(f"{one:.6g}") for one in self]

    def inverse(self) -> Interval:
        """Return 1 / value, such as steps a second from seconds a step."""
        low, high = (1 / one if one > 0 else math.nan for one in (self.high, self.low))
        return Interval(1 / self.value, low, high)


def interval_around(value: float, error: float) -> Interval:
    """Return the interval of a value with that standard error.

    Args:
        value: The value.
        error: Its standard error; NaN where it is not known.
    """
    return Interval(value, value - _NORMAL * error, value + _NORMAL * error)


def mean_interval(values: Sequence[float]) -> Interval:
    """Return the mean of independent values, and its interval by their standard deviation.

    Examples:
        >>> from patchaug.advise.interval import mean_interval
        >>> [round(one, 2) for one in mean_interval([1.0, 2.0, 3.0])]
        [2.0, 0.87, 3.13]
    """
    return ratio_interval(values, np.ones(len(values)))


def ratio_interval(parts: Any, wholes: Any) -> Interval:
    """Return sum of parts over sum of wholes, and its interval by linearization over the units.

    Args:
        parts: Number of each unit, float (units,).
        wholes: Number that it is a part of, float (units,).

    Returns:
        The ratio; NaN where the wholes sum to 0. Limits are NaN for one unit.

    Examples:
        >>> from patchaug.advise.interval import ratio_interval
        >>> ratio_interval([1, 0, 2], [2, 0, 4]).value
        0.5
    """
    parts, wholes = np.asarray(parts, np.float64), np.asarray(wholes, np.float64)
    units, whole = len(wholes), wholes.sum()
    if not whole:
        return Interval(math.nan)
    ratio = float(parts.sum() / whole)
    if units < 2:
        return Interval(ratio)
    error = math.sqrt(units / (units - 1) * float(((parts - ratio * wholes) ** 2).sum())) / float(whole)
    return interval_around(ratio, error)


def jackknife_error(statistic: Callable[[Array], float], units: Array) -> float:
    """Return the standard error of a statistic of summed counts, by leaving out one unit at a time.

    Args:
        statistic: Number from the sum of the units.
        units: Counts of each unit, (units, ...).

    Returns:
        The error; NaN for one unit, or where the statistic does not exist without one of them.

    Examples:
        >>> from patchaug.advise.interval import jackknife_error
        >>> counts = np.array([[1.0, 2.0], [2.0, 4.0], [0.0, 1.0]])
        >>> round(jackknife_error(lambda sums: sums[0] / sums[1], counts), 3)
        0.097
    """
    number = len(units)
    if number < 2:
        return math.nan
    whole = units.sum(0)
    left = np.array([statistic(whole - one) for one in units])
    return float(np.sqrt((number - 1) / number * ((left - left.mean()) ** 2).sum()))


def _short(value: float) -> str:
    return f"{value:.3g}"
