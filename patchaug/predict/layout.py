"""Which windows a map is made of, what each of them weighs at each pixel, and which rows are complete when."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from patchaug.core.arrays import Array
from patchaug.core.windows import Window, covering, fixed_position
from patchaug.predict.options import Blend

SIGMA = 0.125  # of the gaussian weights, as a share of the window's side; MONAI's number


def window_weights(blend: Blend, size: int) -> Array:
    """Return the weights of a window's pixels along one axis before neighbours are considered; all above 0.

    Args:
        blend: "hann" or "gaussian".
        size: Pixels of the window.

    Returns:
        float64 (size,), symmetric.
    """
    at = np.arange(1, size + 1)
    if blend == "hann":  # its zeros are the pixels beside the window
        weights = np.sin(np.pi * at / (size + 1)) ** 2
    else:
        weights = np.exp(-0.5 * ((at - (size + 1) / 2) / (SIGMA * size)) ** 2)
    return np.asarray((weights + weights[::-1]) / 2)


@dataclass(frozen=True)
class Axis:
    """Windows of a grid along one axis.

    Attributes:
        origins: First pixel of each window.
        size: Pixels of a window.
        length: Pixels of the level.
        blend: How they are joined.
    """

    origins: tuple[int, ...]
    size: int
    length: int
    blend: Blend

    @classmethod
    def of(cls, length: int, size: int, overlap: int, blend: Blend) -> Axis:
        """Return the axis of a fixed grid."""
        number = covering(length, size, size - overlap)
        return cls(tuple(fixed_position(k, length, size, size - overlap) for k in range(number)), size, length, blend)

    @cached_property
    def spans(self) -> tuple[tuple[int, int], ...]:
        """First pixel and end of the part of each window that counts."""
        if self.blend == "crop":  # up to the middles of the overlaps
            cuts = [0, *((a + self.size + b) // 2 for a, b in pairwise(self.origins)), self.length]
            return tuple(pairwise(cuts))
        return tuple((origin, origin + self.size) for origin in self.origins)

    @cached_property
    def edges(self) -> tuple[int, ...]:
        """First pixel of each window's own band, and the length: pixels before edge k + 1 have no later window."""
        return (*(start for start, _ in self.spans), self.length)

    def touching(self, start: int, stop: int) -> range:
        """Return the numbers of the windows of which some pixel in start..stop-1 counts."""
        numbers = [k for k, (first, end) in enumerate(self.spans) if first < stop and end > start]
        return range(numbers[0], numbers[-1] + 1)

    @cached_property
    def weights(self) -> tuple[Array | None, ...]:
        """For each window, weights of the pixels of its span, float32; all windows sum to 1. None: 1 everywhere."""
        if self.blend == "crop":
            return (None,) * len(self.origins)
        own = window_weights(self.blend, self.size)
        total = np.zeros(self.length)
        for origin in self.origins:
            total[origin : origin + self.size] += own
        each = ((own / total[origin : origin + self.size]).astype(np.float32) for origin in self.origins)
        return tuple(None if (one == 1).all() else one for one in each)


@dataclass(frozen=True)
class Layout:
    """Windows of a level, and the rectangle of it that the map shows.

    Attributes:
        rows: The grid from the top down.
        columns: The grid from left to right.
        rectangle: The map, in pixels of the level.
    """

    rows: Axis
    columns: Axis
    rectangle: Window

    @cached_property
    def bands(self) -> tuple[tuple[int, int, int], ...]:
        """First row and end of each band, in rows of the map, and the grid's row that completes it."""
        top, bottom = self.rectangle.y, self.rectangle.bottom
        every = ((max(a, top), min(b, bottom), number) for number, (a, b) in enumerate(pairwise(self.rows.edges)))
        return tuple((a - top, b - top, number) for a, b, number in every if a < b)

    def window(self, row: int, column: int) -> Window:
        """Return a window of the grid."""
        return Window(
            self.columns.origins[column], self.rows.origins[row], self.columns.size, self.rows.size,
            self.rectangle.level,
        )  # fmt: skip

    def number(self, row: int, column: int) -> int:
        """Return the number of a window in the grid's plan."""
        return row * len(self.columns.origins) + column

    @cached_property
    def across(self) -> range:
        """Columns of the grid that the map needs."""
        return self.columns.touching(self.rectangle.x, self.rectangle.right)

    def down(self, first: int, stop: int) -> range:
        """Return the rows of the grid that the bands from number `first` to `stop` - 1 need."""
        top = self.rectangle.y
        return range(
            self.rows.touching(top + self.bands[first][0], self.rectangle.bottom).start, self.bands[stop - 1][2] + 1
        )
