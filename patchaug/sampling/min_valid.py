"""`min_valid` and `inside`: windows of whose pixels at least a share holds data, or lies in the region of the slide."""

from __future__ import annotations

from typing import Protocol

from patchaug.errors import WindowError
from patchaug.sampling.distributions import MixtureComponent, UniformComponent, WindowDomain
from patchaug.sampling.min_fraction import QualifyingWindows, least_pixels
from patchaug.sampling.window_counts import Limit
from patchaug.slides.regions import Rectangle
from patchaug.slides.slide import Slide
from patchaug.slides.valid_pixels import INVALID


class LimitedSampler(Protocol):
    """Samplers of windows of whose pixels a share holds data and lies in the region."""

    @property
    def min_valid(self) -> float:
        """Least share of a window's pixels that is valid, 0 to 1."""

    @property
    def inside(self) -> float:
        """Least share of a window's pixels that lies in the region, 0 to 1."""


def limits_of(slide: Slide, domain: WindowDomain, sampler: LimitedSampler) -> list[Limit]:
    """Return the pixels of which a sampler's windows may hold so many at most; none where any window will do."""
    limits = [invalid_limit(slide, domain, sampler.min_valid), region_limit(slide, domain, sampler.inside)]
    return [one for one in limits if one is not None]


def invalid_limit(slide: Slide, domain: WindowDomain, min_valid: float) -> Limit | None:
    """Return the limit of a slide's invalid pixels; None where every window of the slide is valid enough.

    Args:
        slide: The slide.
        domain: Size of the windows, and their level.
        min_valid: Least share of a window's pixels that is valid, 0 to 1.
    """
    if min_valid == 0:
        return None
    invalid = slide.invalid_pixels(domain.level)
    area = domain.width * domain.height
    return (
        Limit(invalid, INVALID, area - least_pixels(min_valid, area), f"min_valid {min_valid} of its pixels with data")
        if INVALID in invalid.runs
        else None
    )


def region_limit(slide: Slide, domain: WindowDomain, inside: float) -> Limit | None:
    """Return the limit of the pixels outside the region of a slide; None where every window lies inside enough.

    The margins of the domain, which are the halo of its windows, count as part of a window.

    Args:
        slide: The slide.
        domain: Size of the windows, and their level.
        inside: Least share of a window's pixels that lies inside, 0 to 1.
    """
    if slide.region is None or inside == 0 or (isinstance(slide.region, Rectangle) and inside == 1):
        return None  # the domain lies in a rectangle, see `domain_of`
    labels, value = slide.region.outside(slide, domain.level)
    area = (domain.width + 2 * domain.margin_x) * (domain.height + 2 * domain.margin_y)
    most = area - least_pixels(inside, area)
    halo = " and of its halo" if domain.margin_x or domain.margin_y else ""
    what = f"inside {inside} of its pixels{halo} in the region"
    return Limit(labels, value, most, what, domain.margin_x, domain.margin_y) if value in labels.runs else None


def limited_windows(slide: Slide, domain: WindowDomain, sampler: LimitedSampler) -> MixtureComponent:
    """Return the component in which all windows within the limits of a sampler are equally likely.

    Raises:
        WindowError: There is no such window.
    """
    limits = limits_of(slide, domain, sampler)
    if not limits:
        return UniformComponent(domain)
    windows = QualifyingWindows.of(None, (), domain, 0, slide.name, limits=limits)
    require_windows(slide, windows)
    return windows.uniform()


def require_windows(slide: Slide, windows: QualifyingWindows) -> None:
    """Raise WindowError if no window lies within the limits of the sampler."""
    if windows.largest >= 0:
        return
    domain = windows.domain
    texts = []
    for limit, fewest in zip(windows.limits, windows.fewest, strict=True):
        area = (domain.width + 2 * limit.pad_x) * (domain.height + 2 * limit.pad_y)
        if fewest > limit.most:
            texts.append(f"{limit.what}; the largest share is {(area - fewest) / area}")
    text = texts[0] if texts else " and ".join(limit.what for limit in windows.limits)
    raise WindowError(
        f"{slide.name}: no window of {domain.width} x {domain.height} px at level {domain.level} has {text}; ask for "
        f"less, or leave the slide out"
    )
