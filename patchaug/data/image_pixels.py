"""Which pixels of images are read, and which of their values become 0..1; the same in training and prediction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from patchaug.core.arrays import Array
from patchaug.errors import OptionError
from patchaug.sampling.statistics import checked_scale, measure, suggested_scale
from patchaug.slides.one_format import require_one_format
from patchaug.slides.slide import Slide

_EIGHT_BITS = "uint8"


class ImagePixels:
    """Channels, picture and scale of the images of a data set, and the format that its slides have.

    Args:
        channels: See `open_slide`.
        series: See `open_slide`.
        scale: (low, high), or one pair a channel: the values that become 0 and 1. None for 8 bits: (0, 255).

    Attributes:
        format: dtype and number of channels of all slides, set when the first ones are opened.

    Raises:
        OptionError: The scale is of another form.

    Examples:
        >>> import numpy as np
        >>> pixels = ImagePixels(scale=(0, 4000))
        >>> pixels.scaled(np.full((1, 1, 2), 1000, np.uint16)).tolist()
        [[[0.25, 0.25]]]
    """

    def __init__(self, channels: Any = None, series: int | str | None = None, scale: Any = None) -> None:
        self.channels, self.series = channels, series
        self.scale = None if scale is None else checked_scale(scale)
        self.format: tuple[str, int] | None = None

    def require_format(self, slides: Sequence[Slide]) -> None:
        """Verify that all slides, also those of earlier calls, have one format that the scale describes.

        Raises:
            OptionError: Slides differ; or values are not 8-bit and no scale is given, or it has other channels.
        """
        if not slides:
            return
        found = require_one_format(slides)
        if self.format is not None and found != self.format:
            kind, number = self.format
            raise OptionError(
                f"{slides[0].name} has {found[1]} channels of {found[0]}, and the others, such as those that were "
                f"trained on, have {number} of {kind}; choose the same ones with channels= (a model is made for one "
                f"number of channels, n_in)"
            )
        chosen = self.channels if isinstance(self.channels, (list, tuple)) else [self.channels]
        if self.channels is not None and len(chosen) != found[1]:
            raise OptionError(
                f"{slides[0].name} is an open slide of {found[1]} channels, and channels={self.channels!r} names "
                f"{len(chosen)}; it is read as it was opened: open_slide(..., channels={self.channels!r})"
            )
        if self.scale is not None and len(self.scale) not in (1, found[1]):
            raise OptionError(
                f"{slides[0].name} has {found[1]} channels, and scale has {len(self.scale)} pairs; give one pair, or "
                f"one a channel"
            )
        if found[0] != _EIGHT_BITS and self.scale is None:
            raise OptionError(_missing_scale(slides[0], found[0]))
        self.format = found

    def scaled(self, image: Array) -> Array | None:
        """Return an image as float32 in which `scale` is 0..1; None for 8 bits without a scale.

        Args:
            image: (height, width, channels).
        """
        if self.scale is None:
            return None
        low, high = (np.asarray([pair[at] for pair in self.scale], np.float32) for at in (0, 1))
        scaled: Array = image.astype(np.float32)
        scaled -= low
        scaled /= high - low
        return scaled


def _missing_scale(slide: Slide, dtype: str) -> str:
    pairs = [list(pair) for pair in suggested_scale(measure([slide], windows=32))]
    scale = pairs[0] if all(pair == pairs[0] for pair in pairs) else pairs
    return (
        f"{slide.name}: pixels are {dtype}, and no scale says which values become 0..1; measured here, all but the "
        f"outer 0.1 % lie within scale={scale}: paste that into SlideBlock, PatchOptions or TrainOptions, or "
        f'--scale "{scale}" into the command, or measure all slides with patchaug stats'
    )
