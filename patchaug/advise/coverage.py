"""Windows that an epoch needs to see a slide once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from patchaug.core.arrays import Array
from patchaug.sampling.distributions import WindowDomain
from patchaug.sampling.grid import Grid
from patchaug.sampling.uniform import Uniform
from patchaug.slides.slide import Slide


def grid_windows(slides: Sequence[Slide], size: int, level: int, mpp: float | None) -> int:
    """Return the number of windows of a grid that covers every pixel of all slides.

    Args:
        slides: The slides.
        size: Side of the windows in pixels.
        level: Pyramid level.
        mpp: Micrometres per pixel in place of a level, or None.
    """
    return sum(Grid(size, level=level, mpp=mpp).distribution(slide).count for slide in slides)


def random_windows(
    slides: Sequence[Slide], size: int, level: int, mpp: float | None, *, seen: float = 0.95
) -> int:  # fmt: skip
    """Return the number of uniform random windows that show a share of all slides' pixels on average.

    Args:
        slides: The slides.
        size: Side of the windows in pixels.
        level: Pyramid level.
        mpp: Micrometres per pixel in place of a level, or None.
        seen: Share of the pixels, 0 to below 1.

    Examples:
        >>> import numpy as np
        >>> from patchaug import open_slide
        >>> from patchaug.advise.coverage import grid_windows, random_windows
        >>> slides = [open_slide(np.zeros((400, 400, 3), np.uint8))]
        >>> grid_windows(slides, 100, 0, None), random_windows(slides, 100, 0, None)
        (16, 242)
    """
    return sum(
        _needed(Uniform(size, level=level, mpp=mpp).distribution(slide).domain, seen) for slide in slides
    )  # fmt: skip


def expected_share_seen(domain: WindowDomain, windows: float) -> float:
    """Return the expected share of a slide's pixels that lie in at least one of some uniform random windows.

    Args:
        domain: Size of the windows and of the level.
        windows: Number of windows.
    """
    (down, rows), (across, columns) = (
        _axis(length, side)
        for length, side in ((domain.bottom - domain.top, domain.height), (domain.right - domain.left, domain.width))
    )
    chances = np.outer(down, across)
    return float((np.outer(rows, columns) * (1 - (1 - chances) ** windows)).sum() / (rows.sum() * columns.sum()))


def _axis(length: int, side: int) -> tuple[Array, Array]:
    """Return the probabilities of being covered along an axis, and the number of pixels that have each."""
    origins = length - side + 1
    at_most = min(side, origins)
    steps = np.arange(1, at_most + 1)  # from the border inwards, one more window covers each pixel
    pixels = np.full(at_most, 2)
    pixels[-1] = length - 2 * (at_most - 1)
    return steps / origins, pixels


def _needed(domain: WindowDomain, seen: float) -> int:
    low, high = 0, 1
    while expected_share_seen(domain, high) < seen:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if expected_share_seen(domain, middle) >= seen else (middle, high)
    return high
