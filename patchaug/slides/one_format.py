"""One type and one number of channels in all slides of a data set: a model is made for one."""

from __future__ import annotations

from collections.abc import Sequence

from patchaug.errors import OptionError
from patchaug.slides.slide import Slide

Format = tuple[str, int]  # dtype, and number of channels


def require_one_format(slides: Sequence[Slide]) -> Format:
    """Return the dtype and the number of channels that all slides have.

    Raises:
        OptionError: There is no slide, or two slides differ.
    """
    if not slides:
        raise OptionError("at least one slide is needed, got none")
    formats = [(str(slide.dtype), slide.channels) for slide in slides]
    for slide, found in zip(slides, formats, strict=True):
        if found != formats[0]:
            raise OptionError(describe_difference(slides[0].name, formats[0], slide.name, found))
    return formats[0]


def describe_difference(name: str, one: Format, other_name: str, other: Format) -> str:
    """Return the error about two slides of different formats."""
    return (
        f"slides differ in their pixels: {name} has {one[1]} channels of {one[0]}, {other_name} {other[1]} of "
        f"{other[0]}; choose the same ones with channels=, or train on each kind alone (a model is made for one number "
        f"of channels, n_in)"
    )
