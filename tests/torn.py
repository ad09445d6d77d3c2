"""A raster that fails, for the tests of both fastai majors."""

from __future__ import annotations

import numpy as np

from patchaug.core.windows import Window
from patchaug.errors import ReadError
from patchaug.readers import ArrayRaster


class Torn(ArrayRaster):
    """A slide whose lower half cannot be read."""

    def read(self, window: Window) -> np.ndarray:
        """Fails below row 128."""
        if window.bottom > 128:
            raise ReadError("torn")
        return super().read(window)
