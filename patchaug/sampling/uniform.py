"""`Uniform`: random windows, each equally likely; and the number of random windows that a slide gets."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from patchaug.core.arguments import names_arguments, names_arguments_of_init
from patchaug.core.validation import Size, checked_fraction, checked_integer
from patchaug.errors import OptionError
from patchaug.sampling.base import NO_HALO, Halo, check_place, domain_of, put
from patchaug.sampling.distributions import MixtureDistribution
from patchaug.sampling.min_valid import limited_windows
from patchaug.sampling.option_table import PerSlide
from patchaug.slides.slide import Slide


class RandomSampler(Protocol):
    """Samplers that draw a number of windows from each slide."""

    @property
    def per_slide(self) -> PerSlide:
        """Windows of each slide, or "area" or "tissue"."""

    @property
    def windows(self) -> int | None:
        """Windows of all slides, to share out by area or tissue."""


@names_arguments_of_init
@dataclass(frozen=True)
class Uniform:
    """Every window that lies inside the slide or its region, and has `min_valid`, is equally likely.

    Args:
        size: Side of the window in pixels of `level`, or (height, width).
        per_slide: Windows drawn from each slide in an epoch; or "area" or "tissue", to share out `windows` among the
            slides by their pixels, or by those that are tissue (`patchaug.slides.tissue`).
        windows: Windows of all slides in an epoch, with per_slide "area" or "tissue"; each slide gets one at least.
        min_valid: Draw only windows of whose pixels at least this share, 0 to 1, holds data: pixels that are not
            transparent, nodata, masked out by the file, in a tile that it does not store, or left out by a scanner.
            Where pixels themselves tell (alpha, nodata), making a plan reads the whole level once.
        inside: Draw only windows of whose pixels at least this share, 0 to 1, lies in the region of the slide, see
            `open_slide`; pixels of the halo count, too.
        level: Pyramid level to read.
        mpp: Micrometres per pixel of the patches, in place of a level. The coarsest level that is no coarser is read,
            in a window that covers size * mpp micrometres, and resampled to `size`: the image by its area mean, the
            mask by the nearest pixel. Windows are counted in pixels of the level that is read.

    Raises:
        OptionError: A value is of a wrong type or out of its limits.

    Examples:
        >>> import numpy as np
        >>> from patchaug import Plan, Uniform, open_slide
        >>> slide = open_slide(np.zeros((100, 200, 3), np.uint8))
        >>> len(Plan([slide], Uniform(64, per_slide=5)))
        5
    """

    size: Size
    per_slide: PerSlide = field(default=1, kw_only=True)
    windows: int | None = field(default=None, kw_only=True)
    min_valid: float = field(default=0.0, kw_only=True)
    inside: float = field(default=1.0, kw_only=True)
    level: int = field(default=0, kw_only=True)
    mpp: float | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        check_place(self)
        check_count(self)
        checked_fraction("min_valid", self.min_valid, "a share of the window's pixels")
        checked_fraction("inside", self.inside, "a share of the window's pixels")

    def distribution(self, slide: Slide, halo: Halo = NO_HALO) -> MixtureDistribution:
        """Return the distribution of windows on one slide, as if it were the only one.

        Args:
            slide: The slide.
            halo: Pixels (y, x) of the patches, in which no window may come nearer to the border of the slide.

        Raises:
            WindowError: The slide has no such level, it is smaller than the window, or no window has `min_valid`.
            OptionError: `mpp` is asked for, and the slide does not say its own, or is coarser.
        """
        domain = domain_of(self, slide, halo)
        return MixtureDistribution(domain, count_alone(self), limited_windows(slide, domain, self))


@names_arguments
def count_alone(sampler: RandomSampler) -> int:
    """Return the number of windows in an epoch of a slide that is the only one."""
    if isinstance(sampler.per_slide, int):
        return sampler.per_slide
    assert sampler.windows is not None  # checked at birth
    return sampler.windows


def check_count(sampler: RandomSampler) -> None:
    """Check per_slide and windows of a sampler at its birth.

    Raises:
        OptionError: One is of a wrong type or out of its limits, or the two do not go together.
    """
    if isinstance(sampler.per_slide, str):
        if sampler.per_slide not in ("area", "tissue", "foreground"):
            raise OptionError(
                f'per_slide must be a number, "area", "tissue" or "foreground", got {sampler.per_slide!r}'
            )
        if sampler.per_slide == "foreground" and not hasattr(sampler, "foreground"):
            raise OptionError('per_slide="foreground" counts pixels of classes: take Foreground(...), not Uniform')
        if sampler.windows is None:
            raise OptionError(
                f'per_slide="{sampler.per_slide}" shares out a total: say how many windows, as windows=1000'
            )
        put(sampler, "windows", checked_integer("windows", sampler.windows, 1))
    else:
        put(sampler, "per_slide", checked_integer("per_slide", sampler.per_slide, 1))
        if sampler.windows is not None:
            raise OptionError(
                f'windows={sampler.windows} is shared out with per_slide="area", "tissue" or "foreground"; '
                f"got per_slide {sampler.per_slide}"
            )
