"""Which level is read, and how many of its pixels, for windows whose size is said in pixels of a level or in mpp."""

from __future__ import annotations

from patchaug.core.validation import Size, sides
from patchaug.errors import OptionError, WindowError
from patchaug.slides.slide import Slide

# How to say the size of a pixel, in errors.
MPP_CURE = (
    "open_slide(..., mpp=0.25), mpp= of SlideDataLoaders, --mpp-of-slides 0.25 of patchaug train, or a column mpp for "
    "each slide"
)
_TOLERANCE = 1.01  # a level up to 1 % coarser than asked for is read as it is: scanners' mpp are no more exact


class SlideTooSmallError(WindowError):
    """Raised when a slide is smaller than the window; `small="skip"` leaves such slides out."""


def region(slide: Slide, size: Size, level: int, mpp: float | None) -> tuple[int, int, int]:
    """Return the level to read and (width, height) there of a window that becomes a patch of `size`.

    Without mpp that is the size on the level. With it, the coarsest level whose pixels are no larger than mpp
    micrometres is read, and the window covers size * mpp micrometres, to the nearest whole pixel of that level.

    Raises:
        WindowError: The slide has no such level, or is smaller than the window.
        OptionError: The slide's file does not say its mpp, or its finest level is coarser than asked for.
    """
    height, width = sides(size)
    if mpp is not None:
        level, across, down = _level(slide, mpp)
        height, width = max(round(height * down), height), max(round(width * across), width)
    length_x, length_y = slide.level_size(level)
    if width > length_x or height > length_y:
        raise SlideTooSmallError(
            f"{slide.name}: a window of {width} x {height} px does not fit into level {level}, which has "
            f"{length_x} x {length_y} px; ask for a smaller size or a finer level, or leave it out by small='skip'"
        )
    return level, width, height


def _level(slide: Slide, mpp: float) -> tuple[int, float, float]:
    """The level to read, and its pixels per pixel of mpp micrometres across and down."""
    if slide.mpp is None:
        raise OptionError(
            f"{slide.name}: mpp={mpp} is asked for, and the file does not say how large its pixels are; say it by "
            f"{MPP_CURE}; or ask for a level instead"
        )
    found = None
    for level, size in enumerate(slide.level_dimensions):
        across, down = (
            mpp / (said * l0_length / length)
            for said, l0_length, length in zip(slide.mpp, slide.dimensions, size, strict=True)
        )
        if min(across, down) * _TOLERANCE >= 1:
            found = level, across, down
    if found is None:
        raise OptionError(
            f"{slide.name}: mpp={mpp} is asked for, and its finest pixels are {slide.mpp[0]:.4g} x {slide.mpp[1]:.4g} "
            f"micrometres; ask for that or more, or replace a wrong tag (72 dpi is 353 micrometres) by {MPP_CURE}"
        )
    return found
