"""Which windows are wanted: frozen values, checked at birth, that know nothing of any slide.

sampler = Foreground(512, per_slide=64, foreground=0.5)
law = sampler.distribution(slide)     # the distribution on one slide (`patchaug.sampling.distributions`)
"""

from __future__ import annotations

from patchaug.core.validation import Classes, Size
from patchaug.errors import OptionError
from patchaug.sampling.base import NO_HALO, Halo, Sampler, halo_read
from patchaug.sampling.grid import Grid
from patchaug.sampling.random import Empty, Foreground, PerSlide, Uniform, count_alone

__all__ = [
    "NO_HALO",
    "Empty",
    "Foreground",
    "Grid",
    "Halo",
    "PerSlide",
    "Sampler",
    "Uniform",
    "count_alone",
    "halo_read",
    "sampler_for",
]


def sampler_for(
    *,
    mode: str,
    size: Size,
    per_slide: PerSlide,
    windows: int | None,
    foreground: float,
    classes: Classes | None,
    min_fraction: float,
    empty: Empty,
    overlap: int,
    level: int,
    mpp: float | None,
) -> Sampler:
    """The sampler that a set of options asks for.

    Raises:
        OptionError: The mode is none of "random", "grid", "random-grid", or a value is out of its limits.
    """
    if mode == "random":
        if foreground == 0 and min_fraction == 0:
            return Uniform(size, per_slide=per_slide, windows=windows, level=level, mpp=mpp)
        return Foreground(
            size, per_slide=per_slide, windows=windows, foreground=foreground, classes=classes,
            min_fraction=min_fraction, empty=empty, level=level, mpp=mpp,
        )  # fmt: skip
    if mode in ("grid", "random-grid"):
        return Grid(size, overlap=overlap, offset="fixed" if mode == "grid" else "random", level=level, mpp=mpp)
    raise OptionError(f'mode must be "random", "grid" or "random-grid", got {mode!r}')
