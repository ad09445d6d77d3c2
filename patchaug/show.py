"""Pictures: windows over a slide, a sheet of patches, truth beside prediction.

Drawn on figures of their own, never through pyplot's global state: they work in threads and without a screen.
"""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from patchaug.errors import FrameError, MissingError, OptionError
from patchaug.geometry import Window
from patchaug.overview import borders, compared, fitted, overview
from patchaug.rasters.base import require_inside
from patchaug.slide import Patch, Slide

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = np.ndarray[Any, np.dtype[Any]]
Out = str | os.PathLike[str] | None

# Okabe and Ito's colours (2008), which people with any kind of colour vision can tell apart, for classes from 1 on;
# class 0 is not drawn. Their blue is kept for windows, their black for text.
_COLOURS = ("#009E73", "#E69F00", "#56B4E9", "#D55E00", "#CC79A7", "#F0E442")
_WINDOW, _VOID, _FRAME = "#0072B2", "#999999", "#888888"
_DETAIL, _PANEL = 400, 480  # side of the detail of a prediction in pixels of its level, and its width on the figure
_DPI = 100  # of the figures; the layout below counts in pixels
_GAP, _TITLE, _HEADING, _BAR, _LINE = 12, 20, 24, 24, 24


def show_windows(
    slide: Slide, windows: Iterable[Window], *, out: Out = None, title: str | None = None, max_size: int = 1024
) -> Figure:
    """Draw the outlines of windows over an overview of their slide.

    Args:
        slide: The slide.
        windows: Windows of it, at any level.
        out: Where to save the picture (PNG); it appears there when it is whole.
        title: Title; default: the slide's name.
        max_size: Longer side of the overview in pixels.

    Returns:
        The figure.

    Raises:
        WindowError: A window leaves the slide.
        MissingError: There is no folder for `out`.
    """
    from matplotlib.patches import Rectangle
    from matplotlib.patheffects import withStroke

    windows = list(windows)
    for window in windows:
        require_inside(slide.name, slide.level_dimensions, window)
    small, l0_per_pixel = overview(slide, max_size=max_size)
    outline = Rectangle((0, 0), 1, 1, facecolor="none", edgecolor=_WINDOW)
    figure, ((ax,),) = _sheet(
        [[small.image.shape]], (1000, 1000), title=title or slide.name, bar=slide.mpp is not None,
        legend=[(outline, f"windows: {len(windows)}"), *_classes([small.mask], slide.codes, slide.void)],
    )  # fmt: skip
    _picture(ax, small, tint=0.35, void=slide.void)
    # A white casing keeps the lines apart from tissue of any colour.
    casing = [withStroke(linewidth=2.6, foreground="white", alpha=0.7)]
    for window in windows:
        ax.add_patch(_box(slide, window, l0_per_pixel, linewidth=1.0, path_effects=casing))
    _scale_bar(ax, slide, l0_per_pixel)
    return _save(figure, out)


def show_patches(
    patches: Sequence[Patch],
    *,
    codes: Sequence[str] | None = None,
    columns: int = 4,
    out: Out = None,
    title: str | None = None,
    void: int | None = None,
) -> Figure:
    """Draw patches on a sheet, each with the outline of its labels.

    Args:
        patches: Images, uint8 (height, width, channels), and masks, integer (height, width) or None.
        codes: Class names for the legend.
        columns: Patches in a row.
        out: Where to save the picture (PNG).
        title: Title of the sheet.
        void: Integer of the masks that means "no label"; drawn in grey.

    Returns:
        The figure.

    Raises:
        OptionError: There is no patch to show, or no column for it.
        MissingError: There is no folder for `out`.
    """
    if not patches:
        raise OptionError("there is no patch to show; give at least one")
    if columns < 1:
        raise OptionError(f"columns must be at least 1, got {columns}")
    rows = [patches[start : start + columns] for start in range(0, len(patches), columns)]
    legend = _classes([patch.mask for patch in patches], codes, void)
    figure, axes = _sheet([[p.image.shape for p in row] for row in rows], (320, 320), title=title, legend=legend)
    for patch, ax in zip(patches, (ax for row in axes for ax in row), strict=True):
        _picture(ax, patch, tint=0.2, void=void)
    return _save(figure, out)


def show_prediction(
    slide: Slide, prediction: Array, *, level: int, out: Out = None, dice: Mapping[str, float | None] | None = None
) -> Figure:
    """Draw slide, truth and prediction side by side, and below them a detail where there is much to see.

    Truth and prediction are drawn from the same pixels: maps that agree look alike.

    Args:
        slide: A slide with a mask.
        prediction: Its class map at `level`, integer (height, width).
        level: The level of the map.
        out: Where to save the picture (PNG).
        dice: Dice per class for the title; None for a class without a score.

    Returns:
        The figure.

    Raises:
        WindowError: There is no such level.
        FrameError: The map is not of the level's size, or the slide has no mask.
        OptionError: The map does not hold integers.
        MissingError: There is no folder for `out`.
    """
    size = slide.level_size(level)
    if prediction.shape[::-1] != size:
        got, wanted = (" x ".join(map(str, sides)) for sides in (prediction.shape[::-1], size))
        raise FrameError(f"{slide.name}: the prediction has {got} px, level {level} has {wanted}; predict it whole")
    if slide.mask is None:
        raise FrameError(f"{slide.name}: there is no mask to set beside the prediction; give the slide one")
    if prediction.dtype.kind not in "iub":
        raise OptionError(f"{slide.name}: the prediction must hold integers, got {prediction.dtype}; take the argmax")
    small, l0_per_pixel = overview(slide, max_size=_PANEL)
    truth, guess, where = compared(slide, prediction, level, small.image.shape[:2], l0_per_pixel, side=_DETAIL)
    detail = slide.read(where)
    guess_there = prediction[where.y : where.bottom, where.x : where.right]

    scores = [f"{name} {'none' if value is None else f'{value:.3f}'}" for name, value in (dice or {}).items()]
    figure, axes = _sheet(
        [[small.image.shape] * 3, [detail.image.shape] * 3], (_PANEL, 640), heading=True, bar=slide.mpp is not None,
        title=slide.name + (f"\nDice: {', '.join(scores)}" if scores else ""),
        legend=_classes([truth, guess, detail.mask, guess_there], slide.codes, slide.void),
    )  # fmt: skip
    place = f"detail at level {level}, x={where.x}, y={where.y}"
    for row, first, image, maps, tint, l0 in (
        (axes[0], "slide", small.image, (None, truth, guess), 0.6, l0_per_pixel),
        (axes[1], place, detail.image, (None, detail.mask, guess_there), 0.4, slide.level_downsamples[level]),
    ):
        for ax, map_, name in zip(row, maps, (first, "truth", "prediction"), strict=True):
            _picture(ax, Patch(image, map_), tint=tint, void=slide.void)
            ax.set_title(name, fontsize=11, pad=5, parse_math=False)
        _scale_bar(row[0], slide, l0)
    for ax in axes[0]:
        ax.add_patch(_box(slide, where, l0_per_pixel, linewidth=1.2))
    return _save(figure, out)


def _sheet(
    shapes: Sequence[Sequence[tuple[int, ...]]], box: tuple[int, int], *, title: str | None,
    legend: Sequence[tuple[Any, str]], heading: bool = False, bar: bool = False,
) -> tuple[Figure, list[list[Axes]]]:  # fmt: skip
    """A figure with one axes per picture, each as large as fits into the box (width, height), title and legend.

    Counted out in pixels rather than left to a layout engine: it leaves no gaps beside pictures of fixed proportions.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    fits = [[(s[1] * f, s[0] * f) for s in row for f in [min(box[0] / s[1], box[1] / s[0])]] for row in shapes]
    column = max(w for row in fits for w, _ in row) + _GAP
    width = max(_GAP + column * max(map(len, fits)), 480)
    lines = [text for line in (title or "").splitlines() for text in textwrap.wrap(line, int(width / 9))]
    entry = 50 + 8 * max((len(name) for _, name in legend), default=0)  # pixels that a name of the legend takes
    ncols = max(min(len(legend), int(width / entry)), 1)
    above, below = heading * _HEADING, _GAP + bar * _BAR
    height = _GAP + sum(above + max(h for _, h in row) + below for row in fits)
    height += len(lines) * _TITLE + -(-len(legend) // ncols) * _LINE
    figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI, facecolor="white")
    FigureCanvasAgg(figure)
    y = height - _GAP - len(lines) * _TITLE  # from the bottom up, as matplotlib counts
    figure.suptitle("\n".join(lines), y=1 - _GAP / 2 / height, va="top", fontsize=12, parse_math=False)
    axes = []
    left = (width - column * max(map(len, fits)) + _GAP) / 2
    for row in fits:
        tall = max(h for _, h in row)
        y -= above + tall
        places = [(left + k * column + (column - _GAP - w) / 2, y + tall - h, w, h) for k, (w, h) in enumerate(row)]
        axes.append([figure.add_axes((x / width, b / height, w / width, h / height)) for x, b, w, h in places])
        y -= below
    if legend:
        drawn = figure.legend(
            handles=[handle for handle, _ in legend], labels=[str(k) for k in range(len(legend))], ncols=ncols,
            loc="lower center", bbox_to_anchor=(0.5, 0), borderaxespad=0.3, frameon=False, fontsize=10,
        )  # fmt: skip
        for text, (_, name) in zip(drawn.get_texts(), legend, strict=True):
            text.set(text=name, parse_math=False)  # given as labels, names with a leading _ would be left out
    return figure, axes


def _picture(ax: Axes, patch: Patch, *, tint: float = 0.0, void: int | None = None) -> None:
    """The image, its labelled pixels tinted, and a thin line along the inner side of each class's border."""
    height, width = patch.image.shape[:2]
    image, mask = fitted(patch, ax.get_window_extent().width)
    if mask is not None:
        image = _tinted(image, mask, tint, void)
    ax.imshow(image, interpolation="antialiased", extent=(-0.5, width - 0.5, height - 0.5, -0.5), aspect="auto")
    ax.set(xticks=[], yticks=[], autoscale_on=False)
    ax.spines[:].set(color=_FRAME, linewidth=0.6)


def _tinted(image: Array, mask: Array, tint: float, void: int | None) -> Array:
    from matplotlib.colors import to_rgb

    out = image.astype(np.float32)
    edge = borders(mask)
    for value in np.unique(mask):
        if value:
            colour = np.array(to_rgb(_colour(int(value), void))) * 255
            inside = mask == value
            out[inside] = (1 - tint) * out[inside] + tint * colour
            out[inside & edge] = colour
    return np.asarray(out.round(), np.uint8)


def _colour(value: int, void: int | None) -> Any:
    """A class's colour; from the seventh on they return darker, then lighter."""
    from matplotlib.colors import to_rgb

    turn, place = divmod(value - 1, len(_COLOURS))
    mixed_with, share = (("black", 0.0), ("black", 0.45), ("white", 0.55))[turn % 3]
    pairs = zip(to_rgb(_COLOURS[place]), to_rgb(mixed_with), strict=True)
    return _VOID if value == void else tuple((1 - share) * a + share * b for a, b in pairs)


def _classes(masks: Iterable[Array | None], codes: Sequence[str] | None, void: int | None) -> list[tuple[Any, str]]:
    """Swatches and names of the classes that are drawn."""
    from matplotlib.patches import Rectangle

    entries = []
    for value in sorted({int(v) for mask in masks if mask is not None for v in np.unique(mask) if v}):
        name = codes[value] if codes is not None and 0 < value < len(codes) else f"class {value}"
        swatch = Rectangle((0, 0), 1, 1, facecolor=_colour(value, void))
        entries.append((swatch, "no label" if value == void else name))
    return entries


def _box(slide: Slide, window: Window, l0_per_pixel: float, **style: Any) -> Any:
    """The outline of a window on an overview; not clipped, as half of a line along the slide's border lies outside."""
    from matplotlib.patches import Rectangle

    scale = slide.level_downsamples[window.level] / l0_per_pixel
    # Pixel centres are whole numbers on the axes, so a pixel's edges lie half a pixel before and behind.
    corner, sides = (window.x * scale - 0.5, window.y * scale - 0.5), (window.width * scale, window.height * scale)
    return Rectangle(corner, *sides, facecolor="none", edgecolor=_WINDOW, clip_on=False, zorder=3, **style)


def _scale_bar(ax: Axes, slide: Slide, l0_per_pixel: float) -> None:
    """A bar of a round number of micrometres below the picture's left corner, where the slide's mpp is known."""
    from matplotlib.transforms import ScaledTranslation

    if slide.mpp is None:
        return
    per_pixel = slide.mpp[0] * l0_per_pixel
    wanted = per_pixel * (ax.get_xlim()[1] - ax.get_xlim()[0]) / 5
    power = 10.0 ** np.floor(np.log10(wanted))
    length = max(step * power for step in (1, 2, 5) if step * power <= wanted)
    label = f"{length / 1000:g} mm" if length >= 1000 else f"{length:g} µm"
    shift = ScaledTranslation(0, -11 / _DPI, ax.figure.dpi_scale_trans)
    below, end = ax.get_xaxis_transform() + shift, -0.5 + length / per_pixel
    ax.plot([-0.5, end], [0, 0], color="black", linewidth=2, transform=below, clip_on=False, solid_capstyle="butt")
    ax.annotate(label, (end, 0), (5, 0), xycoords=below, textcoords="offset points", va="center", fontsize=9)


def _save(figure: Figure, out: Out) -> Figure:
    if out is not None:
        path = Path(out)
        if not path.parent.is_dir():
            raise MissingError(f"{path}: there is no folder {path.parent} to save the picture in; make it first")
        part = path.with_name(path.name + ".part")
        try:
            figure.savefig(part, format="png", dpi="figure")
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
    return figure
