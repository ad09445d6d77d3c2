"""Show the slides that the patches of a batch come from, with the windows outlined."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from patchaug.core.palette import WINDOW, hexadecimal
from patchaug.core.windows import Window
from patchaug.slides.slide import Patch, Slide
from patchaug.slides.thumbnail import thumbnail
from patchaug.viz.layout import draw_patch, scale_bar, window_outline

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WIDE, _TALL = 4.0, 4.5  # minimum width and maximum height of a slide, inches
_HEADING, _BELOW, _GAP = 0.5, 0.3, 0.12  # margins above, below and beside a slide, inches


def add_slides(patches: Sequence[Axes], placed: Sequence[tuple[Slide, Window]]) -> None:
    """Enlarge a figure of patches by their slides, with the windows outlined.

    Patches and windows are numbered from 1, in the given order.

    Args:
        patches: Axes of one figure, on which the patches are drawn.
        placed: The slide and the window of each patch.

    Raises:
        ReadError: A file cannot be read.
    """
    figure: Any = patches[0].figure
    width, height = figure.get_size_inches()
    slides = list({id(slide): slide for slide, _ in placed}.values())
    across = min(len(slides), max(int(width / _WIDE), 1))
    rows = [slides[start : start + across] for start in range(0, len(slides), across)]
    column = width / across
    # Size of each slide in inches: the largest that fits into the column and the height.
    sizes = {id(s): (w * f, h * f) for s in slides for w, h in [s.dimensions] for f in [_fit(column - _GAP, w, h)]}
    rooms = [_HEADING + max(sizes[id(slide)][1] for slide in row) + _BELOW for row in rows]
    added = sum(rooms)
    _pack(figure, added)
    top = added
    for row, room in zip(rows, rooms, strict=True):
        for place, slide in enumerate(row):
            w, h = sizes[id(slide)]
            left = (place + 0.5 + (across - len(row)) / 2) * column - w / 2
            bottom = top - _HEADING - h
            ax = figure.add_axes(
                (left / width, bottom / (height + added), w / width, h / (height + added)), label=slide.name
            )
            small, l0_per_pixel = thumbnail(slide, max_size=round(max(w, h) * figure.dpi))
            draw_patch(ax, Patch(small.image, None))
            ax.set_title(slide.name, fontsize=11, pad=16, parse_math=False)  # above the numbers along the border
            for number, (of, window) in enumerate(placed, 1):
                if of is slide:
                    outline = window_outline(slide, window, l0_per_pixel)
                    ax.add_patch(outline)
                    _tag(ax, number, (outline.get_x(), outline.get_y()), "data", outside=True)
            scale_bar(ax, slide, l0_per_pixel)
        top -= room
    for number, ax in enumerate(patches, 1):
        _tag(ax, number, (0, 1), "axes fraction", outside=False)


def _fit(column: float, width: int, height: int) -> float:
    return min(column / width, _TALL / height)


def _pack(figure: Any, added: float) -> None:
    """Move the axes of a figure close together, and add `added` inches below them."""
    width, height = figure.get_size_inches()
    x, y = _GAP / 2 / width, _GAP / 2 / height
    figure.subplots_adjust(left=x, right=1 - x, bottom=y, top=1 - y, wspace=0.05, hspace=0.05)
    places = [(ax, ax.get_position()) for ax in figure.axes]
    figure.set_size_inches(width, height + added)
    remaining = height / (height + added)
    for ax, place in places:
        ax.set_position((place.x0, 1 - (1 - place.y0) * remaining, place.width, place.height * remaining))


def _tag(ax: Axes, number: int, place: tuple[float, float], coordinates: str, *, outside: bool) -> None:
    """Write a number at an upper left corner: inside a patch, or above a window, which may be small."""
    ax.annotate(
        str(number), place, (0, 1) if outside else (3, -3), xycoords=coordinates, textcoords="offset points",
        ha="left", va="bottom" if outside else "top", fontsize=8 if outside else 10, color="white", zorder=4,
        bbox={"boxstyle": "square,pad=0.2", "facecolor": hexadecimal(WINDOW), "edgecolor": "white", "linewidth": 0.5},
    )  # fmt: skip
