"""Pictures: windows over a slide, a sheet of patches, truth beside prediction.

Drawn on figures of their own, never through pyplot's global state: they work in threads and without a screen.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from patchaug.errors import FrameError, OptionError
from patchaug.geometry import Window
from patchaug.overview import overview
from patchaug.slide import Patch, Slide

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = np.ndarray[Any, np.dtype[Any]]
Out = str | os.PathLike[str] | None

# Okabe and Ito's colours (2008), which people with any kind of colour vision can tell apart; class 0 is not drawn.
_COLOURS = ("#000000", "#009E73", "#E69F00", "#56B4E9", "#D55E00", "#0072B2", "#CC79A7", "#F0E442")
_WINDOW = "#0072B2"
_DETAIL = 400  # side of the detail of a prediction, pixels of its level


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
    """
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Rectangle

    small, l0_per_pixel = overview(slide, max_size=max_size)
    height, width = small.image.shape[:2]
    figure, ((ax,),) = _figure(1, 1, 9.0, 9.0 * height / width)
    _picture(ax, small, tint=0.35)
    boxes = []
    for window in windows:
        scale = slide.level_downsamples[window.level] / l0_per_pixel
        # Pixel centres are whole numbers on the axes, so its edges lie half a pixel before.
        boxes.append(
            Rectangle((window.x * scale - 0.5, window.y * scale - 0.5), window.width * scale, window.height * scale)
        )
    ax.add_collection(PatchCollection(boxes, facecolor="none", edgecolor=_WINDOW, linewidth=0.7))
    handles = [Rectangle((0, 0), 1, 1, facecolor="none", edgecolor=_WINDOW, label=f"{len(boxes)} windows")]
    _scale_bar(ax, slide, l0_per_pixel)
    _legend(figure, [small.mask], slide.codes, handles)
    figure.suptitle(title or slide.name)
    return _save(figure, out)


def show_patches(
    patches: Sequence[Patch],
    *,
    codes: Sequence[str] | None = None,
    columns: int = 4,
    out: Out = None,
    title: str | None = None,
) -> Figure:
    """Draw patches on a sheet, each with the outline of its labels.

    Args:
        patches: Images and masks.
        codes: Class names for the legend.
        columns: Patches in a row.
        out: Where to save the picture (PNG).
        title: Title of the sheet.

    Returns:
        The figure.

    Raises:
        OptionError: There is no patch to show.
    """
    if not patches:
        raise OptionError("there is no patch to show; give at least one")
    columns = min(columns, len(patches))
    rows = -(-len(patches) // columns)
    figure, axes = _figure(rows, columns, 2.4 * columns, 2.4 * rows)
    for number, ax in enumerate(axes.flat):
        if number < len(patches):
            _picture(ax, patches[number], tint=0.15)
        else:
            ax.set_visible(False)
    _legend(figure, [patch.mask for patch in patches], codes, [])
    if title:
        figure.suptitle(title)
    return _save(figure, out)


def show_prediction(
    slide: Slide, prediction: Array, *, level: int, out: Out = None, dice: Mapping[str, float | None] | None = None
) -> Figure:
    """Draw slide, truth and prediction side by side, and below them a detail where there is much to see.

    Args:
        slide: A slide with a mask.
        prediction: Its class map at `level`, integer (height, width).
        level: The level of the map.
        out: Where to save the picture (PNG).
        dice: Dice per class for the title.

    Returns:
        The figure.

    Raises:
        FrameError: The map is not of the level's size, or the slide has no mask.
    """
    width, height = slide.level_dimensions[level]
    if prediction.shape != (height, width):
        raise FrameError(
            f"{slide.name}: the prediction has {prediction.shape[1]} x {prediction.shape[0]} px, level {level} has "
            f"{width} x {height}"
        )
    if slide.mask is None:
        raise FrameError(f"{slide.name}: there is no mask to set beside the prediction; give the slide one")
    small, l0_per_pixel = overview(slide, max_size=700)
    down, across = (
        np.minimum(((np.arange(n) + 0.5) * whole / n).astype(np.int64), whole - 1)
        for n, whole in zip(small.image.shape[:2], prediction.shape, strict=True)
    )
    where = _informative(slide, level)
    detail = slide.read(where)
    guess = prediction[where.y : where.bottom, where.x : where.right]
    rows = [(small, prediction[np.ix_(down, across)], l0_per_pixel), (detail, guess, slide.level_downsamples[level])]
    shapes = [pictured.image.shape for pictured, _, _ in rows]
    figure, axes = _figure(
        2, 3, 12.0, 4.0 * sum(h / w for h, w, _ in shapes), height_ratios=[h / w for h, w, _ in shapes]
    )
    for row, (pictured, map_, l0_per_pixel_here) in zip(axes, rows, strict=True):
        _picture(row[0], Patch(pictured.image, None))
        _picture(row[1], Patch(pictured.image, pictured.mask), tint=0.6)
        _picture(row[2], Patch(pictured.image, map_), tint=0.6)
        _scale_bar(row[0], slide, l0_per_pixel_here)
    for ax, name in zip(axes[0], ("slide", "truth", "prediction"), strict=True):
        ax.set_title(name)
    axes[1][0].set_title(f"detail: level {level}, x={where.x}, y={where.y}", fontsize="medium")
    scores = [] if dice is None else [f"{c} {'none' if v is None else f'{v:.3f}'}" for c, v in dice.items()]
    figure.suptitle(slide.name + (f"\nDice: {', '.join(scores)}" if scores else ""))
    _legend(figure, [small.mask, detail.mask, prediction], slide.codes, [])
    return _save(figure, out)


def _figure(rows: int, columns: int, width: float, height: float, **ratios: Any) -> tuple[Figure, Array]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height + 1.0), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False, gridspec_kw=ratios or None)


def _picture(ax: Axes, patch: Patch, *, tint: float = 0.0) -> None:
    """The image, its labelled pixels tinted, and a crisp line around each class."""
    image = patch.image if patch.image.shape[2] == 3 else np.repeat(patch.image[..., :1], 3, axis=2)
    if patch.mask is not None:
        image = _tinted(image, patch.mask, tint)
    ax.imshow(image, interpolation="nearest")
    ax.set_xticks([])
    ax.set_yticks([])


def _tinted(image: Array, mask: Array, tint: float) -> Array:
    from matplotlib.colors import to_rgb

    out = image.astype(np.float32)
    edge = np.zeros(mask.shape, bool)
    for axis in (0, 1):  # a pixel of a class whose neighbour to one side is of another
        ahead = np.diff(mask, axis=axis) != 0
        first, last = (tuple(s if k == axis else slice(None) for k in (0, 1)) for s in (slice(0, -1), slice(1, None)))
        edge[first] |= ahead
        edge[last] |= ahead
    for value in np.unique(mask):
        if value:
            colour = np.array(to_rgb(_colour(int(value)))) * 255
            inside = mask == value
            out[inside] = (1 - tint) * out[inside] + tint * colour
            out[inside & edge] = colour
    return np.asarray(out.round(), np.uint8)


def _colour(value: int) -> str:
    return _COLOURS[1 + (value - 1) % (len(_COLOURS) - 1)]


def _legend(figure: Figure, masks: Sequence[Array | None], codes: Sequence[str] | None, handles: list[Any]) -> None:
    """Names of the classes that are there, below the pictures."""
    from matplotlib.patches import Rectangle

    values = sorted({int(v) for mask in masks if mask is not None for v in np.unique(mask) if v})
    for value in values:
        name = codes[value] if codes is not None and 0 < value < len(codes) else f"class {value}"
        handles.append(Rectangle((0, 0), 1, 1, facecolor=_colour(value), label=name))
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)


def _scale_bar(ax: Axes, slide: Slide, l0_per_pixel: float) -> None:
    """A bar of a round number of micrometres in the lower left corner, where the slide's mpp is known."""
    if slide.mpp is None:
        return
    from matplotlib import patheffects
    from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar

    per_pixel = slide.mpp[0] * l0_per_pixel
    wanted = per_pixel * (ax.get_xlim()[1] - ax.get_xlim()[0]) / 5
    power = 10.0 ** np.floor(np.log10(wanted))
    length = max(step * power for step in (1, 2, 5) if step * power <= wanted)
    label = f"{length / 1000:g} mm" if length >= 1000 else f"{length:g} µm"
    bar = AnchoredSizeBar(ax.transData, length / per_pixel, label, "lower left", pad=0.4, sep=4, frameon=False)
    for artist in (*bar.size_bar.get_children(), bar.txt_label.get_children()[0]):
        artist.set_path_effects([patheffects.withStroke(linewidth=3, foreground="white")])
    ax.add_artist(bar)


def _informative(slide: Slide, level: int) -> Window:
    """The window of a coarse grid that holds most labels of a kind, and not only labels."""
    width, height = slide.level_dimensions[level]
    w, h = min(_DETAIL, width), min(_DETAIL, height)
    small, _ = overview(slide, max_size=512)
    assert small.mask is not None
    labelled = (small.mask != 0) & (small.mask != (-1 if slide.void is None else slide.void))
    scale = small.mask.shape[1] / width
    best, best_score = Window(0, 0, w, h, level), -1.0
    for y in range(0, height - h + 1, max(h // 2, 1)):
        for x in range(0, width - w + 1, max(w // 2, 1)):
            rows, columns = (slice(int(at * scale), max(int((at + n) * scale), int(at * scale) + 1))
                             for at, n in ((y, h), (x, w)))  # fmt: skip
            share = float(labelled[rows, columns].mean()) if labelled[rows, columns].size else 0.0
            score = share * (1 - share)
            if score > best_score:
                best, best_score = Window(x, y, w, h, level), score
    return best


def _save(figure: Figure, out: Out) -> Figure:
    if out is not None:
        path = Path(out)
        part = path.with_name(path.name + ".part")
        figure.savefig(part, format="png")
        os.replace(part, path)
    return figure
