"""`min_valid`: windows of whose pixels at least a share holds data."""

from __future__ import annotations

from patchaug.errors import WindowError
from patchaug.sampling.distributions import MixtureComponent, UniformComponent, WindowDomain
from patchaug.sampling.min_fraction import QualifyingWindows, least_pixels
from patchaug.slides.labels import Labels
from patchaug.slides.slide import Slide
from patchaug.slides.valid_pixels import INVALID


def invalid_limit(slide: Slide, domain: WindowDomain, min_valid: float) -> tuple[Labels | None, int]:
    """Return the index of a slide's invalid pixels, and how many of them a window may hold.

    Args:
        slide: The slide.
        domain: Size of the windows, and their level.
        min_valid: Least share of a window's pixels that is valid, 0 to 1.

    Returns:
        (None, 0) where every window of the slide is valid enough.
    """
    if min_valid == 0:
        return None, 0
    invalid = slide.invalid_pixels(domain.level)
    area = domain.width * domain.height
    return (invalid, area - least_pixels(min_valid, area)) if INVALID in invalid.runs else (None, 0)


def valid_windows(slide: Slide, domain: WindowDomain, min_valid: float) -> MixtureComponent:
    """Return the component in which all windows with enough valid pixels are equally likely.

    Raises:
        WindowError: There is no such window.
    """
    invalid, most = invalid_limit(slide, domain, min_valid)
    if invalid is None:
        return UniformComponent(domain)
    windows = QualifyingWindows.of(None, (), domain, 0, slide.name, invalid=invalid, most=most)
    require_valid_windows(slide, windows, min_valid)
    return windows.uniform()


def require_valid_windows(slide: Slide, windows: QualifyingWindows, min_valid: float) -> None:
    """Raise WindowError if each window has more invalid pixels than `min_valid` permits."""
    if windows.largest < 0:
        domain = windows.domain
        area = domain.width * domain.height
        raise WindowError(
            f"{slide.name}: no window of {domain.width} x {domain.height} px at level {domain.level} has min_valid "
            f"{min_valid} of its pixels with data; the largest share is {(area - windows.fewest) / area}; ask for "
            f"less, or leave the slide out"
        )
