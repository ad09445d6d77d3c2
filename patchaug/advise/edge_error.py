"""Error that a patch's border adds: convolution padding puts zeros where the slide goes on.

A block is predicted twice, in windows that lie side by side, and in windows that overlap by half, of which only the
middle counts. The same pixel is then near a border in one prediction and far from any in the other; the difference of
the errors is what the border adds. Borders of the slide itself are in both and do not count.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from patchaug.advise.candidate import Candidate
from patchaug.advise.interval import Interval, interval_around, jackknife_error, ratio_interval
from patchaug.advise.validation import Block, predict_block
from patchaug.core.arrays import Array
from patchaug.predict.layout import Axis
from patchaug.slides.resolution import region
from patchaug.slides.slide import Slide


@dataclass(frozen=True, eq=False)
class EdgeError:
    """Added error by distance from the border.

    Attributes:
        size: Side of the windows in which it was measured.
        added: Pixels that the border makes wrong less those that it makes right, float64 (windows, distances);
            distance 0 is the outermost pixel.
        pixels: Labelled pixels, of the same shape.
    """

    size: int
    added: Array
    pixels: Array

    @property
    def curve(self) -> list[Interval]:
        """Added share of wrong pixels at each distance, with its interval over the windows."""
        return [ratio_interval(self.added[:, d], self.pixels[:, d]) for d in range(self.added.shape[1])]

    @property
    def vanishes(self) -> int | None:
        """Distance from which on no added error is seen: the interval over as many pixels again holds 0.

        None where it is seen up to the largest distance that was measured.
        """
        for distance in range(self.added.shape[1]):
            far = slice(distance, 2 * distance + 4)
            pooled = ratio_interval(self.added[:, far].sum(1), self.pixels[:, far].sum(1))
            if not pooled.low > 0:
                return distance
        return None

    def of_patch(self, size: int) -> Interval:
        """Return the added share of wrong pixels of whole patches of a size, all borders inside the slide.

        Args:
            size: Side of the patch in pixels. Beyond the measured distances nothing is added.
        """
        number = min(self.added.shape[1], -(-size // 2))
        sides = np.maximum(size - 2 * np.arange(number + 1), 0)
        shares = (sides[:-1] ** 2 - sides[1:] ** 2) / size**2
        units = np.stack([self.added[:, :number], self.pixels[:, :number]], axis=1).astype(np.float64)

        def added(sums: Array) -> float:
            with np.errstate(invalid="ignore", divide="ignore"):
                return float((shares * np.where(sums[1] > 0, sums[0] / sums[1], 0)).sum())

        if not len(units):
            return Interval(math.nan)
        return interval_around(added(units.sum(0)), jackknife_error(added, units))


def measure_edge_error(
    learn: Any, slides: Sequence[Slide], blocks: Sequence[Block], candidate: Candidate
) -> EdgeError:  # fmt: skip
    """Measure the error that borders of windows add.

    Args:
        learn: A learner that was trained on the candidate's windows.
        slides: The validation slides.
        blocks: Parts of them to predict.
        candidate: Size and resolution.
    """
    found: list[tuple[Array, Array]] = []
    limit = max(candidate.size // 4, 1)
    for block in blocks:
        slide = slides[block.slide]
        beside, over = (
            predict_block(learn, slide, block, candidate, overlap=overlap, blend="crop")
            for overlap in (0, candidate.size // 2)
        )
        truth = slide.read_mask(block.window)
        labelled = np.ones(truth.shape, bool) if slide.ignore_index is None else truth != slide.ignore_index
        distance, unit = border_distances(slide, block, candidate)
        near = labelled & (distance < limit)
        added = (beside != truth).astype(np.int64) - (over != truth)
        for number in np.unique(unit[near]):
            here = near & (unit == number)
            found.append(
                (np.bincount(distance[here], added[here], limit), np.bincount(distance[here], minlength=limit))
            )
    empty = np.zeros((0, limit))
    return EdgeError(candidate.size, *(np.array([one[k] for one in found]) if found else empty for k in (0, 1)))


def border_distances(slide: Slide, block: Block, candidate: Candidate) -> tuple[Array, Array]:
    """Return the distance of a block's pixels from the border of their window in the grid, and the window's number.

    Args:
        slide: The slide of the block.
        block: The block.
        candidate: Size and resolution of the grid, whose windows lie side by side.

    Returns:
        Distances in pixels of the patches, int64 (height, width), 0 for the outermost pixel and 2**30 where the
        window's borders are those of the slide; and numbers of windows, of the same shape.
    """
    level, width, height = region(slide, candidate.size, candidate.level, candidate.mpp)
    axes = []
    for first, length, old, new, side in zip(
        (block.window.y, block.window.x), (block.window.height, block.window.width),
        slide.level_size(block.window.level)[::-1], slide.level_size(level)[::-1], (height, width), strict=True,
    ):  # fmt: skip
        at = ((2 * (first + np.arange(length)) + 1) * new) // (2 * old)
        axis = Axis.of(new, side, 0, "crop")
        number = np.searchsorted(np.array(axis.edges), at, side="right") - 1
        origin = np.array(axis.origins)[number]
        far = 2**30
        before = np.where(origin == 0, far, (at - origin) * candidate.size // side)
        after = np.where(origin + side == new, far, (origin + side - 1 - at) * candidate.size // side)
        axes.append((np.minimum(before, after), number))
    (down, rows), (across, columns) = axes
    return np.minimum(down[:, None], across[None, :]), rows[:, None] * (int(columns.max()) + 1) + columns[None, :]
