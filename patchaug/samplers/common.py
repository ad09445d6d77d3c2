"""What all samplers share: the protocol, and the checks of what each of them takes."""

from __future__ import annotations

from typing import Protocol

from patchaug.checks import Size, checked_integer, checked_positive, checked_size
from patchaug.errors import OptionError
from patchaug.laws import Frame, Law
from patchaug.resolution import region
from patchaug.slide import Slide


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

    def law(self, slide: Slide) -> Law:
        """What the sampler means on one slide; checked against it."""


def frame_of(sampler: Sampler, slide: Slide) -> Frame:
    """The windows of a sampler on a slide, checked against it."""
    level, width, height = region(slide, sampler.size, sampler.level, sampler.mpp)
    return Frame(level, width, height, *slide.level_size(level))


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
