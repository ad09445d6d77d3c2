"""The patch sizes and resolutions that are compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from patchaug.errors import OptionError
from patchaug.sampling.grid import Grid
from patchaug.slides.resolution import SlideTooSmallError
from patchaug.slides.slide import Slide


@dataclass(frozen=True)
class Candidate:
    """A size of patches, at a level or at a resolution.

    Attributes:
        size: Side of the patch in pixels.
        level: Pyramid level; 0 where `mpp` is set.
        mpp: Micrometres per pixel of the patch, or None.

    Examples:
        >>> from patchaug.advise.candidate import Candidate
        >>> Candidate(256, 1).name, Candidate(256, mpp=0.5).options()
        ('256 px, level 1', {'size': 256, 'level': 0, 'mpp': 0.5})
    """

    size: int
    level: int = 0
    mpp: float | None = None

    @property
    def name(self) -> str:
        """Name in tables and sentences."""
        return f"{self.size} px, " + self.resolution

    @property
    def resolution(self) -> str:
        """Level or resolution, in words."""
        return f"level {self.level}" if self.mpp is None else f"{self.mpp:g} µm/px"

    def options(self) -> dict[str, Any]:
        """Return the options of the windows."""
        return {"size": self.size, "level": self.level, "mpp": self.mpp}


def candidates_of(
    sizes: Sequence[int], levels: Sequence[int] | None, mpps: Sequence[float] | None, slides: Sequence[Slide]
) -> tuple[list[Candidate], dict[str, str]]:
    """Return the candidates that fit into all slides, smallest first, and why each of the others does not.

    Args:
        sizes: Sides of patches in pixels.
        levels: Pyramid levels; None for all that every slide has, with at most 4 level-0 pixels along a pixel.
        mpps: Micrometres per pixel in place of levels, or None.
        slides: All slides.

    Raises:
        OptionError: Sizes or levels are none or repeated, both levels and mpps are given, or no candidate fits.
        PatchaugError: A slide has no such level, or no such resolution.
    """
    for name, values in (("--sizes", sizes), ("--levels", levels), ("--mpps", mpps)):
        if values is not None and (not values or len(set(values)) < len(values)):
            raise OptionError(
                f"{name} must name one or more different numbers, got {','.join(map(str, values)) or '-'}"
            )
    if levels is not None and mpps is not None:
        raise OptionError("--levels and --mpps both say what to read; keep one")
    places: list[tuple[int, float | None]] = [(0, mpp) for mpp in mpps or ()] or [
        (level, None) for level in levels or _common_levels(slides)
    ]
    found, left_out = [], {}
    for level, mpp in places:
        for size in sorted(sizes):
            one = Candidate(size, level, mpp)
            try:
                for slide in slides:
                    Grid(size, level=level, mpp=mpp).distribution(slide)
            except SlideTooSmallError:
                left_out[one.name] = f"larger than {slide.name}"
            else:
                found.append(one)
    if not found:
        smallest = min(slides, key=lambda slide: min(slide.level_size(places[0][0])))
        width, height = smallest.level_size(places[0][0])
        raise OptionError(
            f"{smallest.name}: level {places[0][0]} has {width} x {height} px, in which no patch of {min(sizes)} px "
            f"fits at {Candidate(1, *places[0]).resolution}; name --sizes up to {min(width, height)}, or leave the "
            f"slide out"
        )
    return found, left_out


def _common_levels(slides: Sequence[Slide]) -> list[int]:
    """Return the levels that all slides have, from the finest to a downsample of 4."""
    number = min(len(slide.level_dimensions) for slide in slides)
    return [
        level for level in range(number) if level == 0 or all(slide.level_downsamples[level] <= 4.5 for slide in slides)
    ]
