"""Checks of a plan's arguments, and the protocol of what its reads are reported to."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from patchaug.core.memory.budget import most_memory
from patchaug.core.validation import checked_halo, sides
from patchaug.errors import OptionError
from patchaug.sampling.base import Halo, PatchTransform, Sampler
from patchaug.sampling.distributions import WindowDistribution
from patchaug.sampling.draw import Draw
from patchaug.sampling.option_table import Edge, check_choice
from patchaug.slides.slide import Slide


class ReadNotes(Protocol):
    """Where a worker notes what it reads, for the main process."""

    def reading(self, draw: Draw, slide: Slide) -> AbstractContextManager[None]:
        """Note a read until the block ends."""


class AdaptedPlan(Protocol):
    """What an adaptation needs of its plan."""

    @property
    def slides(self) -> list[Slide]:
        """The slides."""

    @property
    def slide_ids(self) -> list[int]:
        """Their ids."""

    @property
    def sampler(self) -> Sampler:
        """The sampler."""

    @property
    def on_error(self) -> str:
        """What is done with windows that cannot be read."""

    @property
    def distributions(self) -> list[WindowDistribution]:
        """The distributions of epoch 0."""


def checked_slides(slides: object, sampler: object) -> list[Slide]:
    """Return the slides as a list; raise OptionError unless they are slides, and the sampler is one."""
    cure = "open it first, as in Plan([open_slide(path)], Uniform(512))"
    if isinstance(slides, (str, bytes, Path, Slide)) or not isinstance(slides, Iterable):
        raise OptionError(f"slides must be a list of slides, got {slides!r}; {cure}")
    checked = list(slides)
    for place, slide in enumerate(checked):
        if not isinstance(slide, Slide):
            raise OptionError(f"slides[{place}] must be a Slide, got a {type(slide).__name__}: {slide!r:.80}; {cure}")
    if not hasattr(sampler, "size"):
        raise OptionError(f"sampler must be Uniform, Foreground or Grid, got {sampler!r}; take Uniform({sampler!r})")
    return checked


def plan_halo(augment: PatchTransform | None, halo: int, edge: str, sampler: Sampler) -> Halo:
    """Return the pixels (y, x) of the patches to read around each of them."""
    check_choice("edge", edge, Edge)
    if augment is not None:
        return augment.needed(*sides(sampler.size))
    both = checked_halo(halo)
    return both, both


def require_order_fits(windows: int) -> None:
    """Raise OptionError if the shuffled order of an epoch of so many windows exceeds the memory of this process."""
    if 16 * windows > most_memory():
        raise OptionError(
            f"an epoch of {windows:,} windows needs {8 * windows:,} bytes to be shuffled, and this process may have "
            f"{most_memory():,}; lower per_slide or windows, or pass shuffle=False"
        )


def warn_of_small(slides: Sequence[Slide], distributions: Sequence[WindowDistribution]) -> None:
    """Name the slides that `small="skip"` leaves out."""
    each = zip(slides, distributions, strict=True)
    out = [slide.name for slide, one in each if not one.count and one.domain.height == 1]
    if out:
        names = ", ".join(out[:20])
        warnings.warn(f"{len(out)} slides are smaller than the window and skipped: {names}", stacklevel=3)
