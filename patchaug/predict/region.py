"""Which windows of a slide are predicted."""

from __future__ import annotations

from typing import Any

import numpy as np

from patchaug.core.arrays import Array
from patchaug.core.windows import Window
from patchaug.errors import OptionError
from patchaug.predict.layout import Layout
from patchaug.slides.slide import Slide
from patchaug.slides.tissue import TISSUE, tissue_labels


def selected_windows(slide: Slide, layout: Layout, rows: range, region: Any) -> Array:
    """Decide which windows of some rows of the grid are predicted.

    Args:
        slide: The slide.
        layout: The windows and the map.
        rows: Rows of the grid.
        region: See `PredictOptions`.

    Returns:
        bool (len(rows), columns of the grid that the map needs).

    Raises:
        OptionError: The region is of another kind.
        ForegroundError: Tissue is asked of a slide without colours.
    """
    columns = layout.across
    if isinstance(region, Window) or (isinstance(region, str) and region == "all"):
        return np.ones((len(rows), len(columns)), bool)
    if isinstance(region, str) and region == "tissue":
        labels = tissue_labels(slide, layout.rectangle.level)
        places = [[layout.window(row, column) for column in columns] for row in rows]
        counts = [[labels.count(TISSUE, w.x, w.y, w.width, w.height) > 0 for w in line] for line in places]
        return np.array(counts, bool).reshape(len(rows), len(columns))
    raise OptionError(f'region must be "all", "tissue" or a Window, got {region!r}')
