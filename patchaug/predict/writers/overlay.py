"""A picture of the map over its slide, with a legend and a scale bar, of bounded size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from patchaug.core.arrays import Array
from patchaug.core.palette import class_colour
from patchaug.errors import OptionError
from patchaug.predict.map_frame import MapFrame
from patchaug.predict.writers.base import BandWriter, What, checked_background
from patchaug.predict.writers.overlay_legend import with_legend
from patchaug.predict.writers.slide_picture import picture_of
from patchaug.slides.slide import Slide

_SAMPLES = 4  # of the map along each side of a pixel of the picture
_GREY = (110, 110, 110)


class OverlayWriter(BandWriter):
    """Writes a PNG of the slide under the map's colours, with a legend of classes and their shares, and a scale bar.

    Each pixel of the picture mixes up to 16 pixels of the map that lie evenly under it.

    Args:
        path: The file.
        frame: Frame of the map.
        what: "classes".
        ignore: Number in the map that means "not predicted".
        image: The slide; None for colours on white.
        size: Longer side of the picture in pixels, at most; the legend comes below.
        opacity: Of the colours, 0 to 1.
        background: Class without colour, by number or name; None for colours of all classes.

    Raises:
        OptionError: An option is out of its limits.

    Examples:
        >>> from patchaug.predict.map_frame import MapFrame
        >>> frame = MapFrame.of_level(slide, ("background", "nucleus"))
        >>> with OverlayWriter("map.png", frame, image=slide) as writer:
        ...     writer.write(0, np.zeros((frame.height, frame.width), np.uint8))
        >>> Path("map.png").read_bytes()[1:4]
        b'PNG'
    """

    content = "overlay"

    def __init__(
        self, path: str | Path, frame: MapFrame, *, what: What = "classes", ignore: int | None = None,
        image: Slide | None = None, size: int = 2048, opacity: float = 0.5, background: int | str | None = 0,
    ) -> None:  # fmt: skip
        super().__init__(path, frame, what=what, ignore=ignore)
        if not isinstance(size, int) or not 16 <= size <= 16384:
            raise OptionError(f"size must be 16 to 16384 px, got {size}")
        if not 0 <= opacity <= 1:
            raise OptionError(f"opacity must be 0 to 1, got {opacity}")
        self._image, self._opacity = image, opacity if image is not None else 1.0
        self._clear = checked_background(frame, background)
        self._factor = -(-max(frame.width, frame.height) // size)

    def begin(self) -> None:
        """Choose the pixels of the map that the picture shows."""
        factor, side = self._factor, min(self._factor, _SAMPLES)
        self._height, self._width = (-(-n // factor) for n in (self.frame.height, self.frame.width))
        self._lines = _samples(self.frame.height, factor, side)
        self._columns = _samples(self.frame.width, factor, side)
        self._samples = np.empty((len(self._lines), len(self._columns)), self.dtype)
        self._counts = np.zeros(65536, np.int64)

    def write_band(self, top: int, classes: Array, probabilities: Array | None) -> None:
        """Keep those pixels of the band."""
        first, last = np.searchsorted(self._lines, (top, top + len(classes)))
        self._samples[first:last] = classes[self._lines[first:last] - top][:, self._columns]
        for start in range(0, len(classes), rows := max(1, 2**20 // classes.shape[1])):
            self._counts += np.bincount(classes[start : start + rows].ravel(), minlength=65536)

    def finish(self) -> None:
        """Draw and write the picture."""
        picture = self._picture()
        colours, side = self._colours(), min(self._factor, _SAMPLES)
        painted = np.empty_like(picture)
        for row in range(self._height):  # one row at a time: samples with four floats each would be a gigabyte
            samples = colours[self._samples[row * side : (row + 1) * side]]
            mean = samples.reshape(side, self._width, side, 4).mean(axis=(0, 2))
            painted[row] = np.rint(picture[row] * (1 - mean[:, 3:]) + mean[:, :3])
        counts = self._counts.tolist()
        named = [(self.frame.codes[n], colour, n in self._clear, counts[n]) for n, colour in self._swatches()]
        if self.ignore is not None and counts[self.ignore]:
            named.append(("not predicted", _GREY, False, counts[self.ignore]))
        per_pixel = self._factor * (self.frame.mpp[0] if self.frame.mpp else self.frame.l0_per_pixel[0])
        unit = "um" if self.frame.mpp else "px"
        whole = with_legend(painted, self.frame.slide, named, per_pixel, unit)
        Image.fromarray(whole).save(self.temporary, "PNG", compress_level=6)

    def _picture(self) -> Array:
        if self._image is None:
            return np.full((self._height, self._width, 3), 255, np.uint8)
        frame, factor = self.frame, self._factor
        per_x, per_y = frame.l0_per_pixel
        right, bottom = frame.l0_x + self._width * factor * per_x, frame.l0_y + self._height * factor * per_y
        return picture_of(self._image, (frame.l0_x, frame.l0_y, right, bottom), self._width, self._height)

    def _swatches(self) -> list[tuple[int, tuple[int, int, int]]]:
        return [(n, class_colour(n, None) if n else _GREY) for n in range(len(self.frame.codes)) if n != self.ignore]

    def _colours(self) -> Array:
        """Return red, green and blue times opacity, and opacity, of each number; float32 (numbers, 4)."""
        table = np.zeros((int(np.iinfo(self.dtype).max) + 1, 4), np.float32)
        for number, colour in self._swatches():
            table[number] = (*colour, 1) if number not in self._clear else (0, 0, 0, 0)
        if self.ignore is not None:
            table[self.ignore] = (*_GREY, 1)
        return table * np.float32(self._opacity)


def _samples(length: int, factor: int, side: int) -> Array:
    """Return the middles of `side` equal parts of each stretch of `factor` pixels."""
    starts = np.arange(0, length, factor)
    middles = (2 * np.arange(side) + 1) * factor // (2 * side)
    found: Array = np.minimum(np.add.outer(starts, middles).ravel(), length - 1)
    return found
