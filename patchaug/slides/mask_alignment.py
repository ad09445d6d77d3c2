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

FINEST = 64  # mask pixels along an axis per image pixel: each window reads a mask window so much larger

Sizes = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Alignment:
    """An image's levels over a mask's level 0.

    Labels at any level are those of level 0 under the pixel's centre. Another level of the mask is read in place of
    level 0 only where it is known to hold the same.

    Attributes:
        image: (width, height) of the image's levels.
        mask: (width, height) of the mask's levels.
        scale: Level-0 pixels of the image per level-0 pixel of the mask, (x, y).
        origin: Place of the image's corner in level-0 pixels of the mask, (x, y); None where both show one extent.
        same_level: For each level of the image, the mask's level of the same size, or None.
        whole: For each level of the image that the mask has too, the whole factor by which both are coarser, or None.
    """

    image: Sizes
    mask: Sizes
    scale: tuple[Fraction, Fraction]
    origin: tuple[Fraction, Fraction] | None = None
    same_level: tuple[int | None, ...] = field(init=False)
    whole: tuple[int | None, ...] = field(init=False)

    def __post_init__(self) -> None:
        same = tuple(self.mask.index(size) if size in self.mask else None for size in self.image)
        if self.origin is not None:
            same = (None,) * len(same)
        object.__setattr__(self, "same_level", same)
        whole = (next(iter(whole_factors(self.image[0], size)), None) if own else None
                 for size, own in zip(self.image, same, strict=True))  # fmt: skip
        object.__setattr__(self, "whole", tuple(whole))

    @classmethod
    def of(cls, name: str, image: Sizes, mask: Sizes, mask_name: str) -> Alignment:
        """Verify that a mask can lie under an image of the same extent.

        Raises:
            FrameError: The mask's size is not the image's over one factor.
        """
        whole, part = image[0], mask[0]
        if whole == part:
            return cls(image, mask, (Fraction(1), Fraction(1)))
        by_sizes = Fraction(whole[0], part[0]), Fraction(whole[1], part[1])
        if min(by_sizes) * FINEST < 1:
            raise FrameError(
                f"{name}: the image has {whole[0]} x {whole[1]} px, its mask ({mask_name}) {part[0]} x {part[1]} px; a "
                f"mask may be at most {FINEST} times finer than the image: export it coarser, or give its own image"
            )
        if part in image:
            return cls(image, mask, by_sizes)
        for factor in whole_factors(whole, part):
            return cls(image, mask, (Fraction(factor), Fraction(factor)))
        for factor in whole_factors(part, whole):
            return cls(image, mask, (Fraction(1, factor), Fraction(1, factor)))
        start = (
            f"{name}: the image has {whole[0]} x {whole[1]} px, its mask ({mask_name}) {part[0]} x {part[1]} px; "
            f"a mask must have the image's size, or that size over one factor"
        )
        if max(abs(whole[0] - part[0]), abs(whole[1] - part[1])) <= 1:
            raise FrameError(f"{start}; one pixel less or more says nothing of where it is: crop or pad the mask")
        if not _one_factor(whole, part):
            width, height = (float(factor) for factor in by_sizes)
            raise FrameError(f"{start}, and these are {width:.4g} and {height:.4g}; export the mask of the whole image")
        return cls(image, mask, by_sizes)

    @classmethod
    def placed(
        cls, image: Sizes, mask: Sizes, scale: tuple[Fraction, Fraction], origin: tuple[Fraction, Fraction]
    ) -> Alignment:
        """Lay a mask of another extent under an image, by where both are on the map."""
        if set(scale) == {1} and set(origin) == {0} and image[0] == mask[0]:
            return cls(image, mask, scale)
        return cls(image, mask, scale, origin)

    @property
    def covers(self) -> bool:
        """Whether each pixel of the image lies on the mask."""
        if self.origin is None:
            return True
        return all(
            int(at[0]) >= 0 and int(at[-1]) < length
            for axis, length in enumerate(self.mask[0])
            for at in (self.under(0, axis, 0, self.image[0][axis]),)
        )

    def under(self, level: int, axis: int, start: int, stop: int) -> Array:
        """Return columns (axis 0) or rows (1) of the mask's level 0 under the image's start..stop-1.

        Returns:
            int64, never falling; -1 before the mask's first and its length after its last.
        """
        here, length, l0_length = self.image[level][axis], self.mask[0][axis], self.image[0][axis]
        at, factor = np.arange(start, stop, dtype=np.int64), self.whole[level]
        if factor is None:
            l0 = (2 * at + 1) * l0_length // (2 * here)  # under the centres
        else:  # a pyramid whose sizes are rounded: its pixels are squares of level 0
            l0 = np.minimum(at * factor + factor // 2, l0_length - 1)
        twice = 2 * l0 + 1
        ratio = 1 / (2 * self.scale[axis])
        if self.origin is None:
            return np.asarray(np.minimum(twice * ratio.numerator // ratio.denominator, length - 1))
        first = self.origin[axis]
        places = twice * (ratio.numerator * first.denominator) + first.numerator * ratio.denominator
        return np.clip(places // (ratio.denominator * first.denominator), -1, length)

    def cells(self, level: int) -> Cells:
        """Return the mask's pixels that a level of the image asks for."""
        asked, edges = [], []
        for axis in (0, 1):
            length = self.image[level][axis]
            under = self.under(level, axis, 0, length)
            first = np.flatnonzero(np.diff(under, prepend=-2))
            asked.append(under[first])
            edges.append(np.append(first, length))
        return Cells(0, *asked, *edges)


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


def _one_factor(whole: tuple[int, int], part: tuple[int, int]) -> bool:
    """Return whether one factor gives both sides of a part, each rounded down, up or to the nearest."""
    for below, above in ((0, 2), (2, 0), (1, 1)):  # halves of a pixel that the quotient may be less, or more
        least = max(Fraction(2 * side, 2 * cut + above) for side, cut in zip(whole, part, strict=True))
        most = min(Fraction(2 * side, max(2 * cut - below, 1)) for side, cut in zip(whole, part, strict=True))
        if least < most:
            return True
    return False


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
