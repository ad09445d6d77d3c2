"""What all samplers share: the protocol, and the checks of what each of them takes."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from patchaug.core.arguments import names_arguments
from patchaug.core.validation import Size, checked_integer, checked_positive, checked_size, sides
from patchaug.errors import OptionError
from patchaug.sampling.distributions import WindowDistribution, WindowDomain
from patchaug.slides.read_around import intersection
from patchaug.slides.regions import Rectangle
from patchaug.slides.resolution import SlideTooSmallError, region
from patchaug.slides.slide import Patch, Slide

Halo = tuple[int, int]
NO_HALO: Halo = (0, 0)


class Sampler(Protocol):
    """What every sampler has."""

    @property
    def size(self) -> Size:
        """Side of the patches, or (height, width)."""

    @property
    def level(self) -> int:
        """Pyramid level to read, where no mpp is asked for."""

    @property
    def mpp(self) -> float | None:
        """Micrometres per pixel of the patches, or None."""

    def distribution(self, slide: Slide, halo: Halo = NO_HALO) -> WindowDistribution:
        """Return the distribution on one slide of windows that stay `halo` (y, x) pixels from its border."""


class PatchTransform(Protocol):
    """Augmentation of the patches of a plan, such as `patchaug.augment.Augment`."""

    def needed(self, height: int, width: int) -> tuple[int, int]:
        """Return the halo (y, x) in pixels that a patch of height x width px needs."""

    def require_known_labels(self, slide: Slide) -> None:
        """Raise OptionError if the transform paints a number into masks that the slide's codes do not name."""

    def __call__(self, patch: Patch, height: int, width: int, generator: np.random.Generator) -> Patch:
        """Return the central height x width pixels of the transformed patch; deterministic given the generator."""


def domain_of(sampler: Sampler, slide: Slide, halo: Halo = NO_HALO) -> WindowDomain:
    """Return the domain of a sampler's windows on a slide, checked against its size."""
    level, width, height = region(slide, sampler.size, sampler.level, sampler.mpp)
    length_x, length_y = slide.level_size(level)
    margin_y, margin_x = halo_read(sampler.size, halo, width, height)
    bounds = slide.bounds(level)
    if isinstance(slide.region, Rectangle) and getattr(sampler, "inside", 1.0) == 1:
        bounds = intersection(bounds, slide.region.bounds(slide, level))
    if bounds != (0, 0, length_x, length_y):
        left, top, right, bottom = bounds
        if width + 2 * margin_x > right - left or height + 2 * margin_y > bottom - top:
            raise SlideTooSmallError(
                f"{slide.name}: a window of {width} x {height} px with a halo of {margin_x} x {margin_y} px on each "
                f"side does not fit into the part of {right - left} x {bottom - top} px of level {level} that is read; "
                f"ask for a smaller size, transform by less, choose a larger region, or leave the slide out"
            )
        return WindowDomain(level, width, height, length_x, length_y, margin_x, margin_y, bounds)
    if width + 2 * margin_x > length_x or height + 2 * margin_y > length_y:
        raise SlideTooSmallError(
            f"{slide.name}: a window of {width} x {height} px with a halo of {margin_x} x {margin_y} px on each side "
            f"takes {width + 2 * margin_x} x {height + 2 * margin_y} px, and level {level} has {length_x} x {length_y} "
            f"px; ask for a smaller size, transform by less, leave the slide out, or set edge to 'reflect'"
        )
    return WindowDomain(level, width, height, length_x, length_y, margin_x, margin_y)


@names_arguments
def halo_read(size: Size, halo: Halo, width: int, height: int) -> Halo:
    """Return the halo (y, x) in pixels of the level that is read, from the halo in pixels of the patches."""
    patch_height, patch_width = sides(size)
    return -(-halo[0] * height // patch_height), -(-halo[1] * width // patch_width)


def check_place(sampler: Sampler) -> None:
    """Check size, level and mpp of a sampler at its birth.

    Raises:
        OptionError: One is of a wrong type or out of its limits.
    """
    put(sampler, "size", checked_size(sampler.size))
    put(sampler, "level", checked_integer("level", sampler.level, 0))
    if sampler.mpp is not None:
        put(sampler, "mpp", checked_positive("mpp", sampler.mpp, "micrometres per pixel"))
        if sampler.level:
            raise OptionError(f"level={sampler.level} and mpp={sampler.mpp} both say what to read; keep one")


def put(sampler: object, name: str, value: object) -> None:
    """Set a field of a frozen value that is being born."""
    object.__setattr__(sampler, name, value)
