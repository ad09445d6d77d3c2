"""Show truth beside prediction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from patchaug.core.arguments import names_arguments
from patchaug.core.arrays import Array
from patchaug.errors import FrameError, OptionError
from patchaug.slides.slide import Patch, Slide
from patchaug.slides.thumbnail import thumbnail
from patchaug.viz.compare import truth_and_prediction
from patchaug.viz.layout import Out, class_legend, draw_patch, new_figure, save_figure, scale_bar, window_outline

if TYPE_CHECKING:
    from matplotlib.figure import Figure


_DETAIL, _PANEL = 400, 480  # side of the detail of a prediction in pixels of its level, and its width on the figure


@names_arguments
def show_prediction(
    slide: Slide, prediction: Array, *, level: int, out: Out = None, dice: Mapping[str, float | None] | None = None
) -> Figure:
    """Draw slide, truth and prediction side by side, and a detailed window below.

    Truth and prediction are sampled at the same pixels: equal maps look the same.

    Args:
        slide: A slide with a mask.
        prediction: Predicted class map at `level`, integer (height, width).
        level: The level of the map.
        out: Path of the PNG file to write, or None.
        dice: Dice per class for the title; None for a class without a score.

    Returns:
        The figure.

    Raises:
        WindowError: The slide does not have this level.
        FrameError: The size of the map differs from that of the level, or the slide has no mask.
        OptionError: The map does not hold integers.
        MissingError: The folder of `out` does not exist.

    Examples:
        >>> prediction = slide.read_mask(Window(0, 0, 512, 512))
        >>> figure = show_prediction(slide, prediction, level=0, dice={"nucleus": 1.0}, out="prediction.png")
        >>> [ax.get_title() for ax in figure.axes[:3]]
        ['slide', 'truth', 'prediction']
    """
    size = slide.level_size(level)
    if prediction.shape[::-1] != size:
        got, wanted = (" x ".join(map(str, sides)) for sides in (prediction.shape[::-1], size))
        raise FrameError(f"{slide.name}: the prediction has {got} px, level {level} has {wanted}; predict it whole")
    if slide.mask is None:
        raise FrameError(f"{slide.name}: the slide has no mask to compare the prediction with; open it with mask=")
    if prediction.dtype.kind not in "iub":
        raise OptionError(f"{slide.name}: the prediction must hold integers, got {prediction.dtype}; take the argmax")
    small, l0_per_pixel = thumbnail(slide, max_size=_PANEL)
    truth, guess, where = truth_and_prediction(
        slide, prediction, level, small.image.shape[:2], l0_per_pixel, side=_DETAIL
    )
    detail = slide.read(where)
    guess_there = prediction[where.y : where.bottom, where.x : where.right]

    scores = [f"{name} {'n/a' if value is None else f'{value:.3f}'}" for name, value in (dice or {}).items()]
    figure, axes = new_figure(
        [[small.image.shape] * 3, [detail.image.shape] * 3], (_PANEL, 640), heading=True,
        bars=2 * (slide.mpp is not None), title=slide.name + (f"\nDice: {', '.join(scores)}" if scores else ""),
        legend=class_legend([truth, guess, detail.mask, guess_there], slide.codes, slide.ignore_index),
    )  # fmt: skip
    place = f"detail at level {level}, x={where.x}, y={where.y}"
    for row, first, image, maps, tint, l0 in (
        (axes[0], "slide", small.image, (None, truth, guess), 0.6, l0_per_pixel),
        (axes[1], place, detail.image, (None, detail.mask, guess_there), 0.4, slide.level_downsamples[level]),
    ):
        for ax, map_, name in zip(row, maps, (first, "truth", "prediction"), strict=True):
            draw_patch(ax, Patch(image, map_), tint=tint, ignore_index=slide.ignore_index)
            ax.set_title(name, fontsize=11, pad=5, parse_math=False)
        scale_bar(row[0], slide, l0)
    for ax in axes[0]:
        ax.add_patch(window_outline(slide, where, l0_per_pixel))
    return save_figure(figure, out)
