"""Layout of figures: axes, legend, outlines, scale bars.

Figures are created directly, without pyplot's global state: they work in threads and without a display.
"""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np

from patchaug.core.arrays import Array
from patchaug.core.atomic import atomic_write
from patchaug.core.outputs import require_suffix
from patchaug.core.palette import WINDOW, Colour, class_colour, hexadecimal, is_light
from patchaug.core.windows import Window
from patchaug.slides.slide import Patch, Slide
from patchaug.viz.compare import class_borders, resized_for_display

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Out = str | os.PathLike[str] | None

FRAME = "#888888"
_CASING = 3.0  # width of the line below an outline, points
DPI = 100  # of all figures; lengths below are in pixels
_GAP, _TITLE, _HEADING, _BAR, _LINE = 12, 20, 24, 24, 24


def new_figure(
    shapes: Sequence[Sequence[tuple[int, ...]]], box: tuple[int, int], *, title: str | None,
    legend: Sequence[tuple[Any, str]], heading: bool = False, bars: int = 0, right: Sequence[int] = (),
) -> tuple[Figure, list[list[Axes]]]:  # fmt: skip
    """Create a figure with one axes per image, title and legend.

    The layout is computed in pixels: layout engines leave gaps beside images of fixed aspect ratio.

    Args:
        shapes: (height, width, ...) of the image of each axes, row by row.
        box: Maximum (width, height) of an axes in pixels.
        title: Title of the figure, or None.
        legend: Handle and name of each entry.
        heading: Reserve space above each row for the titles of its axes.
        bars: Number of rows, from the first, with space for a scale bar below.
        right: Space to the right of each column in pixels.

    Returns:
        The figure, and its axes row by row.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    from patchaug.viz.figure import NotebookFigure

    fits = [[(s[1] * f, s[0] * f) for s in row for f in [min(box[0] / s[1], box[1] / s[0])]] for row in shapes]
    column = max(w for row in fits for w, _ in row) + _GAP
    number = max(map(len, fits))
    starts = list(accumulate((column + extra for extra in (*right, *[0] * number)[:number]), initial=0))
    width = max(_GAP + starts[-1], 480)
    lines = [text for line in (title or "").splitlines() for text in textwrap.wrap(line, int(width / 9))]
    entry = 50 + 8 * max((len(name) for _, name in legend), default=0)  # width of a legend entry
    ncols = max(min(len(legend), int(width / entry)), 1)
    above, below = heading * _HEADING, [_GAP + (k < bars) * _BAR for k in range(len(fits))]
    height = _GAP + sum(above + max(h for _, h in row) for row in fits) + sum(below)
    height += len(lines) * _TITLE + -(-len(legend) // ncols) * _LINE
    figure = NotebookFigure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    y = height - _GAP - len(lines) * _TITLE  # from the bottom, as in matplotlib
    figure.suptitle("\n".join(lines), y=1 - _GAP / 2 / height, va="top", fontsize=12, parse_math=False)
    axes = []
    left = (width - starts[-1] + _GAP) / 2
    for row, room in zip(fits, below, strict=True):
        tall = max(h for _, h in row)
        y -= above + tall
        places = [(left + starts[k] + (column - _GAP - w) / 2, y + tall - h, w, h) for k, (w, h) in enumerate(row)]
        axes.append([figure.add_axes((x / width, b / height, w / width, h / height)) for x, b, w, h in places])
        y -= room
    if legend:
        drawn = figure.legend(
            handles=[handle for handle, _ in legend], labels=[str(k) for k in range(len(legend))], ncols=ncols,
            loc="lower center", bbox_to_anchor=(0.5, 0), borderaxespad=0.3, frameon=False, fontsize=10,
        )  # fmt: skip
        for text, (_, name) in zip(drawn.get_texts(), legend, strict=True):
            text.set(text=name, parse_math=False)  # matplotlib omits labels with a leading underscore
    return figure, axes


def draw_patch(ax: Axes, patch: Patch, *, tint: float = 0.0, ignore_index: int | None = None, line: float = 0) -> None:
    """Draw an image with its labelled pixels tinted, and a line along the inner border of each class.

    Args:
        ax: Axes to draw on.
        patch: Image, uint8 (height, width, channels), and mask.
        tint: Opacity of the tint, 0 to 1.
        ignore_index: Integer of the mask that means "no label", or None.
        line: Width of the line in pixels of the figure; at least one pixel of the image.
    """
    height, width = patch.image.shape[:2]
    shown = ax.get_window_extent().width
    image, mask = resized_for_display(patch, shown)
    if mask is not None:
        image = _tinted(image, mask, tint, ignore_index, max(round(line * image.shape[1] / shown), 1))
    ax.imshow(image, interpolation="antialiased", extent=(-0.5, width - 0.5, height - 0.5, -0.5), aspect="auto")
    ax.set(xticks=[], yticks=[], autoscale_on=False)
    ax.spines[:].set(color=FRAME, linewidth=0.6)


def _tinted(image: Array, mask: Array, tint: float, ignore_index: int | None, line: int) -> Array:
    out = image.astype(np.float32)
    edge = class_borders(mask)
    for _ in range(line - 1):
        edge |= class_borders(edge)  # one pixel wider on both sides; only the inner side is drawn
    for value in np.unique(mask):
        if value:
            colour = np.array(class_colour(int(value), ignore_index), float)
            inside = mask == value
            out[inside] = (1 - tint) * out[inside] + tint * colour
            out[inside & edge] = colour
    return np.asarray(out.round(), np.uint8)


def matplotlib_colour(value: int, ignore_index: int | None) -> tuple[float, ...]:
    """Return the colour of a class as three floats in 0..1, for matplotlib."""
    return tuple(part / 255 for part in class_colour(value, ignore_index))


def class_legend(
    masks: Iterable[Array | None], codes: Sequence[str] | None, ignore_index: int | None, *, line: bool = False
) -> list[tuple[Any, str]]:
    """Create a legend entry (handle, name) for each class of the masks; `line` draws outlines only."""
    from matplotlib.patches import Rectangle

    entries = []
    for value in sorted({int(v) for mask in masks if mask is not None for v in np.unique(mask) if v}):
        name = codes[value] if codes is not None and 0 < value < len(codes) else f"class {value}"
        colour = matplotlib_colour(value, ignore_index)
        swatch = Rectangle((0, 0), 1, 1, facecolor="none" if line else colour, edgecolor=colour, linewidth=1.5)
        entries.append((swatch, "no label" if value == ignore_index else name))
    return entries


def outline_style(colour: Colour = WINDOW) -> dict[str, Any]:
    """Return patch properties of an outline; a casing makes it stand out on tissue of any colour."""
    from matplotlib.patheffects import withStroke

    casing = withStroke(linewidth=_CASING, foreground="black" if is_light(colour) else "white", alpha=0.6)
    return {"facecolor": "none", "edgecolor": hexadecimal(colour), "path_effects": [casing]}


def window_outline(
    slide: Slide, window: Window, l0_per_pixel: float, *, colour: Colour = WINDOW, linewidth: float = 1.2
) -> Any:
    """Create the outline of a window on a thumbnail; unclipped, because lines on the border lie half outside."""
    from matplotlib.patches import Rectangle

    scale = slide.level_downsamples[window.level] / l0_per_pixel
    # Pixel centres are whole numbers on the axes, and pixel edges lie half a pixel before and after.
    corner, sides = (window.x * scale - 0.5, window.y * scale - 0.5), (window.width * scale, window.height * scale)
    return Rectangle(corner, *sides, linewidth=linewidth, clip_on=False, zorder=3, **outline_style(colour))


def scale_bar(ax: Axes, slide: Slide, l0_per_pixel: float) -> None:
    """Draw a scale bar of a round number of micrometres below the lower left corner, if the slide has an mpp."""
    from matplotlib.transforms import ScaledTranslation

    if slide.mpp is None:
        return
    per_pixel = slide.mpp[0] * l0_per_pixel
    wanted = per_pixel * (ax.get_xlim()[1] - ax.get_xlim()[0]) / 5
    power = 10.0 ** np.floor(np.log10(wanted))
    length = max(step * power for step in (1, 2, 5) if step * power <= wanted)
    label = f"{length / 1000:g} mm" if length >= 1000 else f"{length:g} µm"
    shift = ScaledTranslation(0, -11 / DPI, ax.figure.dpi_scale_trans)
    below, end = ax.get_xaxis_transform() + shift, -0.5 + length / per_pixel
    ax.plot([-0.5, end], [0, 0], color="black", linewidth=2, transform=below, clip_on=False, solid_capstyle="butt")
    ax.annotate(label, (end, 0), (5, 0), xycoords=below, textcoords="offset points", va="center", fontsize=9)


def save_figure(figure: Figure, out: Out) -> Figure:
    """Write the figure to a PNG file, atomically; do nothing if `out` is None.

    Raises:
        OptionError: The name does not end in .png.
        WriteError: The file exists and is not a picture of patchaug, or cannot be written.
    """
    if out is not None:
        require_suffix(out, "picture", [".png"])
        with atomic_write(out, "picture") as temporary:
            figure.savefig(temporary, format="png", dpi="figure")
    return figure
