"""A raster with invalid pixels."""

from __future__ import annotations

import numpy as np

from patchaug import Window
from patchaug.readers import ArrayRaster


class WithHoles(ArrayRaster):
    """An array with pixels that are not valid."""

    def __init__(self, pixels: np.ndarray, valid: np.ndarray) -> None:
        super().__init__(pixels, name="holes")
        self.valid = valid

    def read_valid(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        """Pixels and validity of a window."""
        return self.read(window), self.valid[window.y : window.bottom, window.x : window.right]
