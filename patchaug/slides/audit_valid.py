"""What a check reports of pixels without data."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from patchaug.core.arrays import Array
from patchaug.core.windows import Window
from patchaug.readers import Raster
from patchaug.slides.pixel_format import CheckedRaster
from patchaug.slides.valid_pixels import missing_text, no_ignore_index


class ValidityCount:
    """Read windows of an image, and count its invalid pixels at level 0.

    Args:
        image: The image.

    Attributes:
        pixels, invalid: Pixels of level 0 that were read, and how many of them are invalid.
    """

    def __init__(self, image: CheckedRaster) -> None:
        self._image = image
        self._counts: list[tuple[int, int]] = []  # threads append to it

    def read(self, window: Window) -> Array:
        """Read the pixels of a window."""
        pixels, valid = self._image.read_valid(window)
        if window.level == 0:
            area = window.width * window.height
            self._counts.append((area, 0 if valid is None else area - int(np.count_nonzero(valid))))
        return pixels

    @property
    def pixels(self) -> int:
        """Pixels of level 0 that were read."""
        return sum(pixels for pixels, _ in self._counts)

    @property
    def invalid(self) -> int:
        """Invalid ones of them."""
        return sum(invalid for _, invalid in self._counts)

    @property
    def share(self) -> float:
        """Share of invalid pixels, 0 where none was read."""
        return self.invalid / max(self.pixels, 1)

    def notes(self) -> Iterator[str]:
        """Say how many tiles are not stored, and which share of the pixels holds no data."""
        text = missing_text(self._image.raster)
        if text is not None:
            yield text
        if self.invalid:
            yield (
                f"{self.share:.2%} of the pixels hold no data (transparent, nodata, masked out, not stored or not "
                f"scanned); labels there are ignore_index, and min_valid asks for windows with few of them"
            )

    def problems(self, name: str, ignore_index: int | None) -> Iterator[str]:
        """Say that labels of invalid pixels need an `ignore_index`."""
        if self.invalid and ignore_index is None:
            yield no_ignore_index(name, f"{self.invalid} px of level 0").removeprefix(f"{name}: ")


def notes_of_mask(mask: Raster) -> Iterator[str]:
    """Say how many tiles of a mask are not stored."""
    text = missing_text(mask, mask=True)
    if text is not None:
        yield text
