"""Coverage of each point of a slide: counted in drawn windows, and expected from their distribution."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from patchaug.core.arrays import Array
from patchaug.core.windows import Window
from patchaug.sampling.distributions import MixtureDistribution, UniformComponent, WindowDistribution, WindowDomain

_LATTICE = 128  # blocks of origins along an axis, at most


def axis_centres(length: int, count: int, pixels_per_point: float) -> Array:
    """Return the centres of `count` steps of `pixels_per_point` pixels along an axis, clipped to its last pixel."""
    return np.asarray(np.minimum((np.arange(count) + 0.5) * pixels_per_point, length - 0.5))


def count_coverage(windows: Iterable[Window], across: Array, down: Array) -> Array:
    """Count the windows that cover each grid point.

    Args:
        windows: Windows of one level.
        across: Coordinates of the points along x, in pixels of the level, ascending.
        down: Coordinates along y.

    Returns:
        int64, (len(down), len(across)).
    """
    boxes = np.array([(w.x, w.y, w.right, w.bottom) for w in windows], np.int64).reshape(-1, 4)
    left, right = (np.searchsorted(across, boxes[:, k]) for k in (0, 2))
    top, bottom = (np.searchsorted(down, boxes[:, k]) for k in (1, 3))
    steps = np.zeros((len(down) + 1, len(across) + 1), np.int64)
    for rows, columns, sign in ((top, left, 1), (top, right, -1), (bottom, left, -1), (bottom, right, 1)):
        np.add.at(steps, (rows, columns), sign)
    return steps.cumsum(0).cumsum(1)[:-1, :-1]


def expected_coverage(law: WindowDistribution, across: Array, down: Array) -> Array | None:
    """Return the probability that a drawn window covers each grid point.

    Probabilities are summed over all origins if an axis has at most 128; otherwise over 128 blocks of origins, each
    with the probability of its middle.

    Args:
        law: Distribution of the windows on a slide.
        across: Coordinates of the points along x, in pixels of the level, ascending.
        down: Coordinates along y.

    Returns:
        float64, (len(down), len(across)); None for distributions without a closed form: grids, and draws with
        `min_fraction` or `min_valid`.
    """
    if not isinstance(law, MixtureDistribution) or not isinstance(law.uniform, UniformComponent):
        return None
    domain = law.domain
    (xs, columns, in_x), (ys, rows, in_y) = (
        _blocks(places, first, count, side)
        for places, first, count, side in (
            (across, domain.left, domain.columns, domain.width),
            (down, domain.top, domain.rows, domain.height),
        )
    )
    chances = np.array([[law.probability(int(x), int(y)) for x in xs] for y in ys]) * np.outer(rows, columns)
    return np.asarray(in_y @ (chances / chances.sum()) @ in_x.T)


def _blocks(places: Array, origin: int, count: int, side: int) -> tuple[Array, Array, Array]:
    """Divide the origins along an axis into blocks: middles, sizes, and the fraction that covers each point."""
    edges = np.linspace(origin, origin + count, min(count, _LATTICE) + 1).round().astype(np.int64)
    first, last = edges[:-1], edges[1:] - 1
    from_, to = np.floor(places - side)[:, None] + 1, np.floor(places)[:, None]  # origins of windows that cover a point
    around = np.maximum(np.minimum(last, to) - np.maximum(first, from_) + 1, 0)
    return (first + last) // 2, last - first + 1, around / (last - first + 1)


def pixel_centres(domain: WindowDomain, shape: tuple[int, ...], pixels_per_point: float) -> tuple[Array, Array]:
    """Return the centres of a thumbnail's pixels along x and y, float64, in pixels of the domain's level.

    Args:
        domain: Domain of the windows on the slide.
        shape: (height, width) of the thumbnail.
        pixels_per_point: Pixels of the level per pixel of the thumbnail.
    """
    return axis_centres(domain.length_x, shape[1], pixels_per_point), axis_centres(
        domain.length_y, shape[0], pixels_per_point
    )
