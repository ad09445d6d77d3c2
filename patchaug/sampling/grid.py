"""`Grid`: windows that cover every pixel."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from patchaug.core.arguments import names_arguments_of_init
from patchaug.core.validation import Size, checked_fraction, checked_integer, sides
from patchaug.errors import OptionError, WindowError
from patchaug.sampling.base import NO_HALO, Halo, check_place, domain_of, put
from patchaug.sampling.distributions import GridDistribution
from patchaug.sampling.min_valid import region_limit
from patchaug.sampling.option_table import Offset, check_choice
from patchaug.slides.slide import Slide


@names_arguments_of_init
@dataclass(frozen=True)
class Grid:
    """Windows that cover every pixel of the slide, in reading order, none of them leaving it.

    The fixed grid starts at the corner and steps by size - overlap; the last column and row lie flush with the border,
    so they may overlap more. The random grid has one more column and row and slides them by an offset that is new in
    each epoch, between windows that stay flush with the borders. A grid is complete: windows without any valid pixel
    are part of it, and their labels are `ignore_index`.

    Args:
        size: Side of the window in pixels of `level`, or (height, width).
        overlap: Pixels of `size` that neighbours share at least, 0 to size - 1.
        offset: "fixed" or "random".
        inside: On a slide with a region that is no rectangle, only windows of the slide's fixed grid are left of whose
            pixels at least this share, 0 to 1, lies in the region. In a rectangle, the grid covers that.
        level: Pyramid level to read.
        mpp: Micrometres per pixel of the patches, in place of a level; see `Uniform`.

    Raises:
        OptionError: A value is of a wrong type or out of its limits.

    Examples:
        >>> import numpy as np
        >>> from patchaug import Grid, Plan, open_slide
        >>> slide = open_slide(np.zeros((100, 200, 3), np.uint8))
        >>> len(Plan([slide], Grid(64)))
        8
    """

    size: Size
    overlap: int = field(default=0, kw_only=True)
    offset: Offset = field(default="fixed", kw_only=True)
    inside: float = field(default=1.0, kw_only=True)
    level: int = field(default=0, kw_only=True)
    mpp: float | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        check_place(self)
        put(self, "overlap", checked_integer("overlap", self.overlap, 0, min(sides(self.size)) - 1))
        check_choice("offset", self.offset, Offset)
        checked_fraction("inside", self.inside, "a share of the window's pixels")

    def distribution(self, slide: Slide, halo: Halo = NO_HALO) -> GridDistribution:
        """Return the distribution of windows on one slide.

        Args:
            slide: The slide.
            halo: Must be none: a grid covers the border, and nothing lies beyond it.

        Raises:
            WindowError: The slide has no such level, or it is smaller than the window.
            OptionError: A halo is asked for; or `mpp` is asked for, and the slide does not say its own, or is coarser.
        """
        if any(halo):
            raise OptionError(
                f"a grid covers each pixel, also at the border, where a halo of {halo[1]} x {halo[0]} px has no "
                f"pixels; draw random windows, or set edge to 'reflect'"
            )
        domain = domain_of(self, slide)
        # The overlap counts pixels of the patches; where they are resampled, no less of them may be shared.
        overlap_y, overlap_x = (
            min(-(-self.overlap * read // side), read - 1)
            for read, side in zip((domain.height, domain.width), sides(self.size), strict=True)
        )
        grid = GridDistribution(domain, overlap_x, overlap_y, self.offset == "random")
        limit = region_limit(slide, domain, self.inside)
        if limit is None:
            return grid
        if self.offset == "random":
            raise OptionError(
                f"{slide.name}: a grid with a random offset needs a rectangle, and its region is none; take "
                f'offset="fixed" (mode "grid"), or random windows'
            )
        windows = [grid.draw(number, _no_generator)[0] for number in range(grid.every)]
        outside = [limit.count(one.x, one.y, one.width, one.height) for one in windows]
        chosen = tuple(number for number, count in enumerate(outside) if count <= limit.most)
        if not chosen:
            area = domain.width * domain.height
            raise WindowError(
                f"{slide.name}: no window of the grid has inside {self.inside} of its pixels in the region; the "
                f"largest share is {(area - min(outside)) / area}; ask for less, or draw random windows, valid='random'"
            )
        return replace(grid, chosen=chosen)


def _no_generator(number: int) -> np.random.Generator:
    raise AssertionError("a fixed grid draws nothing")
