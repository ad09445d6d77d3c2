"""Heat map over a slide: density or coverage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from patchaug.core.arrays import Array
from patchaug.slides.slide import Patch
from patchaug.viz.compare import class_borders
from patchaug.viz.layout import FRAME, matplotlib_colour

if TYPE_CHECKING:
    from matplotlib.axes import Axes


# Perceptually uniform for all kinds of colour vision; dark is high, and 0 is white.
_MAP = "cividis_r"
BAR = 72  # width reserved for a colour bar beside a map, pixels


class HeatMap(NamedTuple):
    """Values of a heat map, (height, width), and its title."""

    title: str
    values: Array


def draw_heat_map(ax: Axes, small: Patch, panel: HeatMap, *, top: float, ignore_index: int | None) -> Any:
    """Draw a heat map, with the classes of the slide outlined.

    Args:
        ax: Axes to draw on.
        small: The slide's thumbnail; its mask is outlined.
        panel: The heat map, a number for each pixel of the thumbnail.
        top: Value of the darkest colour.
        ignore_index: Integer of the mask that means "no label".

    Returns:
        The drawn image, for `colour_bar`.
    """
    from matplotlib import colormaps

    shown = ax.imshow(
        np.ma.masked_equal(panel.values, 0), cmap=colormaps[_MAP].with_extremes(bad="white"), vmin=0, vmax=top,
        aspect="auto", interpolation="nearest",
    )  # fmt: skip
    if small.mask is not None:
        ax.imshow(_outlines(small.mask, ignore_index), aspect="auto", interpolation="nearest")
    ax.set(xticks=[], yticks=[], autoscale_on=False)
    ax.set_title(panel.title, fontsize=11, pad=5, parse_math=False)
    ax.spines[:].set(color=FRAME, linewidth=0.6)
    return shown


def colour_bar(ax: Axes, shown: Any, label: str) -> None:
    """Add a colour bar to the right of a heat map."""
    place = ax.get_position()
    width = ax.get_window_extent().width / place.width
    bar = ax.figure.add_axes((place.x1 + 8 / width, place.y0, 12 / width, place.height))
    ax.figure.colorbar(shown, cax=bar)
    bar.set_ylabel(label, fontsize=9)
    bar.tick_params(labelsize=8)
    bar.spines[:].set(color=FRAME, linewidth=0.6)


def _outlines(mask: Array, ignore_index: int | None) -> Array:
    """Return RGBA, float32 (height, width, 4): the inner borders of each class, transparent elsewhere."""
    out = np.zeros((*mask.shape, 4), np.float32)
    edge = class_borders(mask)
    for value in np.unique(mask):
        if value:
            out[edge & (mask == value)] = (*matplotlib_colour(int(value), ignore_index), 1)
    return out
