"""The frame of a prediction: where a rectangle of a level lies on its slide."""

from __future__ import annotations

from patchaug.core.windows import Window
from patchaug.errors import OptionError
from patchaug.predict.map_frame import MapFrame
from patchaug.readers.georeference import georeference_of
from patchaug.slides.slide import Slide


def frame_of(slide: Slide, rectangle: Window, codes: tuple[str, ...] | None) -> MapFrame:
    """Return the frame of a map.

    Args:
        slide: The slide.
        rectangle: The map, in pixels of its level.
        codes: Names of the learner's classes. One name is that of the second of two classes.

    Raises:
        OptionError: There are no names.
    """
    if codes is None:
        raise OptionError(
            "the learner has no names of classes; give them with codes=[...], in the order of the model's classes"
        )
    if len(codes) == 1:
        codes = ("other" if codes[0] == "background" else "background", codes[0])
    (l0_width, l0_height), (width, height) = slide.dimensions, slide.level_size(rectangle.level)
    across, down = l0_width / width, l0_height / height
    left, top = rectangle.x * across, rectangle.y * down
    mpp, place = slide.mpp, georeference_of(slide.image)
    return MapFrame(
        slide.name, rectangle.width, rectangle.height, tuple(codes), rectangle.level, (across, down), left, top,
        None if mpp is None else (mpp[0] * across, mpp[1] * down),
        None if place is None else place.of_part(left, top, across, down),
        None if (rectangle.width, rectangle.height) == (width, height) else (width, height),
    )  # fmt: skip
