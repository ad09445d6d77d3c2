"""Speed of drawing and of reading windows, one after the other in one process."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from patchaug.advise.interval import Interval, mean_interval
from patchaug.sampling.plan import Plan

_DRAWS = 10_000  # at most


class Pace(NamedTuple):
    """Speed of a plan's windows.

    Attributes:
        draws: Windows drawn a second.
        reads: Windows read a second, with its interval.
        seconds: Seconds of each read.
        pixels: Pixels read in all.
    """

    draws: float
    reads: Interval
    seconds: list[float]
    pixels: int


def measure_pace(
    plan: Plan, seconds: float, *, draw_seconds: float = 1.0, on_read: Callable[[], object] = lambda: None
) -> Pace:
    """Measure how fast windows are drawn and read. Ctrl-C ends the reading early.

    Args:
        plan: The windows; they are read in order, across epochs.
        seconds: Time to read for; one window is read at least.
        draw_seconds: Time to draw for, at most.
        on_read: Called after each window.

    Examples:
        >>> import numpy as np
        >>> from patchaug import Plan, Uniform, open_slide
        >>> from patchaug.advise.pace import measure_pace
        >>> plan = Plan([open_slide(np.zeros((300, 400, 3), np.uint8))], Uniform(64, per_slide=10))
        >>> measure_pace(plan, 0.01, draw_seconds=0.01).reads.value > 0
        True
    """
    draws = _draws_a_second(plan, draw_seconds)
    took: list[float] = []
    pixels, started = 0, time.perf_counter()
    try:
        while not took or time.perf_counter() - started < seconds:
            draw = plan[len(took)]
            before = time.perf_counter()
            patch = plan.read(draw)
            took.append(time.perf_counter() - before)
            pixels += patch.image.shape[0] * patch.image.shape[1]
            on_read()
    except KeyboardInterrupt:
        if not took:
            raise
    return Pace(draws, mean_interval(took).inverse(), took, pixels)


def _draws_a_second(plan: Plan, seconds: float) -> float:
    started = time.perf_counter()
    number = 0
    while not number or (number < _DRAWS and time.perf_counter() - started < seconds):
        plan[number]
        number += 1
    return number / (time.perf_counter() - started)
