"""Show windows on their slide."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING

from patchaug.core.arguments import names_arguments
from patchaug.core.palette import epoch_colour
from patchaug.core.validation import SEED, checked_integer
from patchaug.core.windows import Window
from patchaug.errors import OptionError
from patchaug.readers.base import require_inside
from patchaug.sampling import Sampler
from patchaug.sampling.plan import Plan
from patchaug.slides.slide import Slide
from patchaug.slides.thumbnail import thumbnail
from patchaug.viz.layout import (
    Out,
    class_legend,
    draw_patch,
    new_figure,
    outline_style,
    save_figure,
    scale_bar,
    window_outline,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


MOST_WINDOWS = 10**7  # of one figure


@names_arguments
def show_windows(
    slide: Slide,
    windows: Sampler | Iterable[Window],
    *,
    epochs: int = 1,
    seed: int = SEED,
    out: Out = None,
    title: str | None = None,
    max_size: int = 1024,
) -> Figure:
    """Draw the outlines of windows on a thumbnail of their slide, with the mask outlined.

    Args:
        slide: The slide.
        windows: A sampler, to draw the windows of its first epochs; or windows of the slide, at any level.
        epochs: Number of epochs of the sampler; each gets its own colour.
        seed: Seed of the sampler's windows.
        out: Path of the PNG file to write, or None.
        title: Title; by default name and size of the slide, and size of the windows.
        max_size: Longer side of the thumbnail in pixels.

    Returns:
        The figure.

    Raises:
        WindowError: A window leaves the slide.
        OptionError: epochs is below 1.
        ForegroundError: The slide cannot provide the windows of the sampler.
        MissingError: The folder of `out` does not exist.

    Examples:
        >>> figure = show_windows(slide, Grid(128), out="windows.png")
        >>> figure.legends[0].get_texts()[0].get_text()
        'windows of epoch 1: 16'
    """
    from matplotlib.patches import Rectangle

    sets = windows_of_epochs(slide, windows, epochs, seed)
    for window in (window for _, some in sets for window in some):
        require_inside(slide.name, slide.level_dimensions, window)
    small, l0_per_pixel = thumbnail(slide, max_size=max_size)
    colours = [epoch_colour(number, len(sets)) for number in range(len(sets))]
    outlines = [Rectangle((0, 0), 1, 1, linewidth=1.5, **outline_style(colour)) for colour in colours]
    entries = [(outline, f"{text}: {len(some)}") for outline, (text, some) in zip(outlines, sets, strict=True)]
    figure, ((ax,),) = new_figure(
        [[small.image.shape]], (1000, 1000), title=title or _title(slide, sets), bars=int(slide.mpp is not None),
        legend=[*entries, *class_legend([small.mask], slide.codes, slide.ignore_index)],
    )  # fmt: skip
    draw_patch(ax, small, tint=0.35, ignore_index=slide.ignore_index)
    for colour, (_, some) in zip(colours, sets, strict=True):
        for window in some:
            ax.add_patch(window_outline(slide, window, l0_per_pixel, colour=colour, linewidth=1.4))
    scale_bar(ax, slide, l0_per_pixel)
    return save_figure(figure, out)


def windows_of_epochs(
    slide: Slide, windows: Sampler | Iterable[Window], epochs: int, seed: int
) -> list[tuple[str, list[Window]]]:
    """Return (legend text, windows) for each epoch of a sampler, or once for the given windows."""
    checked_integer("epochs", epochs, 1)
    if isinstance(windows, Iterable):
        return [("windows", list(windows))]
    draws = iter(epoch_windows(slide, windows, seed, epochs))
    return [(f"windows of epoch {epoch}", next(draws)) for epoch in range(1, epochs + 1)]


def epoch_windows(slide: Slide, sampler: Sampler, seed: int, epochs: int) -> Iterable[list[Window]]:
    """Return an iterator over epochs: the windows of a plan with this slide alone.

    Raises:
        OptionError: The epochs have more windows than a figure can show in minutes.
    """
    plan = Plan([slide], sampler, seed=seed, shuffle=False)
    if epochs * len(plan) > MOST_WINDOWS:
        raise OptionError(
            f"{epochs} epochs of {len(plan):,} windows are above the limit of {MOST_WINDOWS:,} windows of a figure; "
            f"lower epochs, per_slide or windows"
        )
    indices = iter(range(epochs * len(plan)))
    return iter(lambda: [plan[index].window for index in islice(indices, len(plan))], [])


def _title(slide: Slide, sets: list[tuple[str, list[Window]]]) -> str:
    width, height = slide.dimensions
    sizes = {(w.width, w.height, w.level) for _, some in sets for w in some}
    text = f"{slide.name}: {width} x {height} px"
    if len(sizes) == 1:
        ((w, h, level),) = sizes
        text += f", windows of {w} x {h} px at level {level}"
    return text
