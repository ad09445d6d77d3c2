"""A map of numbers over a slide: how often each place is drawn or seen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from patchaug.core.arrays import Array
from patchaug.slides.slide import Patch
from patchaug.viz.compare import class_borders
from patchaug.viz.layout import FRAME, matplotlib_colour

if TYPE_CHECKING:
    from matplotlib.axes import Axes


# Even in lightness for every kind of colour vision; dark is often, and what is 0 is white.
_MAP = "cividis_r"
BAR = 72  # room for a colour bar beside a map, pixels


class HeatMap(NamedTuple):
    """A map and what it shows."""

    title: str
    values: Array


def draw_heat_map(ax: Axes, small: Patch, panel: HeatMap, *, top: float, ignore_index: int | None) -> Any:
    """Draw a map, with the outlines of the slide's classes over it.

    Args:
        ax: Where.
        small: The slide's thumbnail; its mask is outlined.
        panel: The map, a number for each pixel of the thumbnail.
        top: The number that is darkest.
        ignore_index: Integer of the mask that means "no label".

    Returns:
        The drawn map, for `colour_bar`.
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
    """A bar to the right of a map that says which colour is which number."""
    place = ax.get_position()
    width = ax.get_window_extent().width / place.width
    bar = ax.figure.add_axes((place.x1 + 8 / width, place.y0, 12 / width, place.height))
    ax.figure.colorbar(shown, cax=bar)
    bar.set_ylabel(label, fontsize=9)
    bar.tick_params(labelsize=8)
    bar.spines[:].set(color=FRAME, linewidth=0.6)


def _outlines(mask: Array, ignore_index: int | None) -> Array:
    """RGBA, clear but for the inner borders of each class."""
    out = np.zeros((*mask.shape, 4), np.float32)
    edge = class_borders(mask)
    for value in np.unique(mask):
        if value:
            out[edge & (mask == value)] = (*matplotlib_colour(int(value), ignore_index), 1)
    return out
