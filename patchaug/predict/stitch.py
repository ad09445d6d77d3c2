"""The class map of a whole slide, from the predictions of a grid's windows: row by row of the grid, in bounded memory.

Where windows overlap, each pixel is taken from the one in which it lies farther from the edge: the overlap is cut in
half. Each row of the grid owns a band of the slide's rows, which is complete when the grid's row is. Only one band is
in memory: at most as many rows as a window, of the slide's width.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, pairwise, takewhile
from typing import Any

import numpy as np

from patchaug.core.arrays import Array
from patchaug.errors import OptionError
from patchaug.sampling import Grid
from patchaug.sampling.plan import Plan


def class_bands(plan: Plan, maps: Iterable[Array]) -> Iterator[tuple[int, Array]]:
    """Yield the rows of a slide's class map from the top down, as (first row, rows).

    Args:
        plan: The grid of one slide.
        maps: For each window of the plan, in its order, the class numbers (height, width).

    Yields:
        The number of a band's first row, and the band, (rows, width of the level), of the maps' dtype. Together the
        bands are the level, each row once.

    Raises:
        OptionError: The plan is not a fixed grid over one slide in reading order.
    """
    if len(plan.slides) != 1 or plan.shuffle or not isinstance(plan.sampler, Grid) or plan.sampler.offset != "fixed":
        raise OptionError(f"a class map is stitched from one slide's fixed grid, in order; got {plan}")
    first = plan[0].window
    columns = [d.window.x for d in takewhile(lambda draw: draw.window.y == first.y, plan)]
    rows = [plan[index].window.y for index in range(0, len(plan), len(columns))]
    width, height = plan.slides[0].level_size(first.level)
    across, down = _cuts(columns, first.width, width), _cuts(rows, first.height, height)
    every = iter(maps)
    for y, (top, bottom) in zip(rows, pairwise(down), strict=True):
        band: Array = np.empty((0, width), np.uint8)  # made when the dtype is known
        in_row = zip(columns, pairwise(across), islice(every, len(columns)), strict=True)
        for x, (left, right), classes in in_row:
            if not len(band):
                band = np.empty((bottom - top, width), classes.dtype)
            band[:, left:right] = classes[top - y : bottom - y, left - x : right - x]
        yield top, band
        del band


def class_map(plan: Plan, maps: Iterable[Array], out: Any = None) -> Any:
    """Assemble the whole class map; see `class_bands`.

    Args:
        plan: The grid of one slide.
        maps: For each window of the plan, in its order, the class numbers (height, width).
        out: Destination, anything with shape, dtype and assignment of rows: an array, a `numpy.memmap`, a zarr
            array. Default: a new array, of the maps' dtype.

    Returns:
        `out`: (height, width) of the plan's level.

    Raises:
        OptionError: `out` has another shape, or cannot hold the class numbers.
    """
    window = plan[0].window
    width, height = plan.slides[0].level_size(window.level)
    if out is not None and tuple(out.shape) != (height, width):
        raise OptionError(
            f"{plan.slides[0].name}: out is of shape {tuple(out.shape)}, and level {window.level} of the slide is of "
            f"{(height, width)}; make it of that shape"
        )
    for top, band in class_bands(plan, maps):
        if out is None:
            out = np.empty((height, width), band.dtype)
        if not np.can_cast(band.dtype, out.dtype):
            raise OptionError(f"out is of {out.dtype}, which cannot hold the class numbers; make it {band.dtype}")
        out[top : top + len(band)] = band
        del band  # before the next one is made
    return out


def _cuts(starts: Sequence[int], size: int, length: int) -> list[int]:
    """Where one window's pixels end and the next one's begin: the middles of the overlaps, from 0 to length."""
    return [0, *((a + size + b) // 2 for a, b in pairwise(starts)), length]
