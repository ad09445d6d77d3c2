"""Which pixel of a mask lies under which pixel of an image: whole-number arithmetic from level 0.

Image and mask show one frame, but each has levels of its own. A pixel of an image's level asks for the mask pixel
under its centre; nothing is rounded before the last step, so nothing drifts where a downsample is 16.0056.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from patchaug.core.arrays import Array
from patchaug.core.memory.shared_arrays import SharedArraysMixin
from patchaug.errors import FrameError

Sizes = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Alignment:
    """An image's levels over a mask's.

    Attributes:
        image: (width, height) of the image's levels.
        mask: (width, height) of the mask's levels.
        scale: Level-0 pixels of the image per level-0 pixel of the mask, (x, y).
        same_level: For each level of the image, the mask's level of the same size, or None.
    """

    image: Sizes
    mask: Sizes
    scale: tuple[Fraction, Fraction]
    same_level: tuple[int | None, ...] = field(init=False)

    def __post_init__(self) -> None:
        same = tuple(self.mask.index(size) if size in self.mask else None for size in self.image)
        object.__setattr__(self, "same_level", same)

    @classmethod
    def of(cls, name: str, image: Sizes, mask: Sizes, mask_name: str) -> Alignment:
        """Verify that a mask can lie under an image.

        Raises:
            FrameError: The mask has neither the image's size, nor that of one of its levels, nor a whole part of it.
        """
        (width, height), (mask_width, mask_height) = image[0], mask[0]
        if (width, height) == (mask_width, mask_height):
            return cls(image, mask, (Fraction(1), Fraction(1)))
        if (mask_width, mask_height) in image:
            return cls(image, mask, (Fraction(width, mask_width), Fraction(height, mask_height)))
        for factor in whole_factors((width, height), (mask_width, mask_height)):
            return cls(image, mask, (Fraction(factor), Fraction(factor)))
        raise FrameError(
            f"{name}: the image has {width} x {height} px, its mask ({mask_name}) {mask_width} x {mask_height} px; "
            f"a mask must be of the image's size, of the size of one of its levels, or smaller by a whole factor"
        )

    def mask_level(self, level: int) -> int:
        """Return the mask's level to read for an image level: the coarsest with a pixel for each of its pixels."""
        width, height = self.image[level]
        if (width, height) in self.mask:
            return self.mask.index((width, height))
        return max((k for k, size in enumerate(self.mask) if size[0] >= width and size[1] >= height), default=0)

    def under(self, level: int, axis: int, start: int, stop: int) -> Array:
        """Return columns (axis 0) or rows (1) of the mask under the image's start..stop-1; int64, never falling."""
        mask_level = self.mask_level(level)
        here, length = self.image[level][axis], self.mask[mask_level][axis]
        if self.image[level] == self.mask[mask_level]:
            return np.arange(start, stop, dtype=np.int64)
        l0_length = self.image[0][axis]
        # Level-0 pixels per mask pixel at this level; exact for the whole factor of level 0, else by the sizes.
        per = self.scale[axis] if mask_level == 0 else Fraction(l0_length, length)
        ratio = Fraction(l0_length, here) / per / 2
        at = 2 * np.arange(start, stop, dtype=np.int64) + 1  # twice the pixels' centres
        return np.asarray(np.minimum(at * ratio.numerator // ratio.denominator, length - 1))

    def cells(self, level: int) -> Cells:
        """Return the mask's pixels that a level of the image asks for."""
        asked, edges = [], []
        for axis in (0, 1):
            length = self.image[level][axis]
            under = self.under(level, axis, 0, length)
            first = np.flatnonzero(np.diff(under, prepend=-1))
            asked.append(under[first])
            edges.append(np.append(first, length))
        return Cells(self.mask_level(level), *asked, *edges)


def whole_factors(image: tuple[int, int], mask: tuple[int, int]) -> list[int]:
    """Return the factors of 2 and more by which a mask can be smaller than an image, the likeliest first.

    The last mask pixel may be cut or kept: both are common among writers of pyramids. So a mask of few pixels may fit
    by several factors; the one nearest to the quotient of the sizes is the likeliest.
    """
    fits = [
        {f for f in range(max(whole // (side + 1), 2), -(-whole // max(side - 1, 1)) + 1)
         if side in (whole // f, -(-whole // f))}
        for whole, side in zip(image, mask, strict=True)
    ]  # fmt: skip
    return sorted(fits[0] & fits[1], key=lambda f: sum(abs(w - s * f) for w, s in zip(image, mask, strict=True)))


@dataclass(frozen=True, eq=False)
class Cells(SharedArraysMixin):
    """Pixels of a mask that a level of the image asks for; each lies under one or more of the level's.

    Attributes:
        level: The mask's level.
        columns, rows: Those of the mask that are asked for, rising.
        column_edges, row_edges: First column or row of the image's level over each of them, and the level's end.
    """

    level: int
    columns: Array = field(repr=False)
    rows: Array = field(repr=False)
    column_edges: Array = field(repr=False)
    row_edges: Array = field(repr=False)

    @property
    def one_to_one(self) -> bool:
        """Whether each pixel of the image's level has one of its own."""
        return (len(self.columns), len(self.rows)) == (int(self.column_edges[-1]), int(self.row_edges[-1]))
