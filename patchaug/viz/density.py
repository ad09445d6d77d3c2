"""Sampling density beside its expectation, and coverage after each epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from patchaug.core.arguments import names_arguments
from patchaug.core.arrays import Array
from patchaug.core.palette import WINDOW, class_colour, hexadecimal
from patchaug.core.validation import SEED, checked_integer
from patchaug.sampling import Sampler
from patchaug.sampling.distributions import WindowDistribution
from patchaug.slides.slide import Patch, Slide
from patchaug.slides.thumbnail import thumbnail
from patchaug.viz.coverage_maps import count_coverage, expected_coverage, pixel_centres
from patchaug.viz.heat_map import BAR, HeatMap, colour_bar, draw_heat_map
from patchaug.viz.layout import Out, class_legend, new_figure, save_figure, scale_bar
from patchaug.viz.windows import epoch_windows

if TYPE_CHECKING:
    from matplotlib.figure import Figure


_SIDE = 480  # of each map on the figure, pixels


@names_arguments
def show_density(
    slide: Slide, sampler: Sampler, *, epochs: int = 20, seed: int = SEED, out: Out = None, max_size: int = _SIDE
) -> Figure:
    """Draw how often drawn windows cover each point of a slide, beside the expectation of the sampler.

    Args:
        slide: The slide.
        sampler: The sampler.
        epochs: Number of epochs, at least 1.
        seed: Seed of the windows.
        out: Path of the PNG file to write, or None.
        max_size: Longer side of the maps in grid points.

    Returns:
        The figure: windows that cover each point, per 1000 windows. The map of the expectation is omitted for
        samplers without a closed form: grids, and samplers with `min_fraction` or `min_valid`.

    Raises:
        OptionError: epochs is below 1.
        WindowError, ForegroundError: The slide cannot provide the windows of the sampler.
        MissingError: The folder of `out` does not exist.

    Examples:
        >>> figure = show_density(slide, Foreground(64, per_slide=50, foreground=0.5), epochs=2, out="density.png")
        >>> [ax.get_title() for ax in figure.axes[:2]]
        ['drawn: 100 windows, 2 epochs', 'expected']
    """
    checked_integer("epochs", epochs, 1)
    small, l0_per_pixel, law, across, down = _thumbnail_and_distribution(slide, sampler, max_size)
    drawn, count = np.zeros((len(down), len(across)), np.int64), 0
    for windows in epoch_windows(slide, sampler, seed, epochs):
        drawn += count_coverage(windows, across, down)
        count += len(windows)
    expected = expected_coverage(law, across, down)
    panels = [HeatMap(f"drawn: {count:,} windows, {epochs} epoch{'s'[: epochs != 1]}", 1000 * drawn / count)]
    if expected is not None:
        panels.append(HeatMap("expected", 1000 * expected))
    # Windows pile up at a few points by chance: the scale follows the expectation, and higher counts are clipped.
    top = 1.5 * float(panels[-1].values.max()) if expected is not None else float(panels[0].values.max())
    figure, (axes,) = new_figure(
        [[small.image.shape] * len(panels)], (_SIDE, 640), heading=True, bars=int(slide.mpp is not None),
        right=[*[0] * (len(panels) - 1), BAR],
        title=f"{slide.name}: sampling density",
        legend=class_legend([small.mask], slide.codes, slide.ignore_index, line=True),
    )  # fmt: skip
    for ax, panel in zip(axes, panels, strict=True):
        shown = draw_heat_map(ax, small, panel, top=top, ignore_index=slide.ignore_index)
    colour_bar(axes[-1], shown, "windows covering each point, per 1000")
    scale_bar(axes[0], slide, l0_per_pixel)
    return save_figure(figure, out)


@names_arguments
def show_coverage(
    slide: Slide, sampler: Sampler, *, epochs: int = 10, seed: int = SEED, out: Out = None, max_size: int = _SIDE
) -> Figure:
    """Draw the fraction of a slide covered after each epoch, and a map of the number of windows.

    Args:
        slide: The slide.
        sampler: The sampler.
        epochs: Number of epochs, at least 1.
        seed: Seed of the windows.
        out: Path of the PNG file to write, or None.
        max_size: Longer side of the map in grid points.

    Returns:
        The figure: the map, with uncovered points in white, and the curve. A dashed line shows the expectation where
        it has a closed form; see `show_density`.

    Raises:
        OptionError: epochs is below 1.
        WindowError, ForegroundError: The slide cannot provide the windows of the sampler.
        MissingError: The folder of `out` does not exist.

    Examples:
        >>> figure = show_coverage(slide, Grid(64), epochs=1, out="coverage.png")
        >>> figure.get_suptitle()
        'case: 100.0% covered after 1 epoch of 64 windows'
    """
    checked_integer("epochs", epochs, 1)
    small, l0_per_pixel, law, across, down = _thumbnail_and_distribution(slide, sampler, max_size)
    covered, fractions = np.zeros((len(down), len(across)), np.int64), [0.0]
    labelled = None if small.mask is None else _is_labelled(small.mask, slide.ignore_index)
    labelled_fractions = [0.0]
    for windows in epoch_windows(slide, sampler, seed, epochs):
        covered += count_coverage(windows, across, down)
        fractions.append(float((covered > 0).mean()))
        if labelled is not None and labelled.any():
            labelled_fractions.append(float((covered[labelled] > 0).mean()))
    expected = expected_coverage(law, across, down)
    after = f"after {epochs} epoch{'s'[: epochs != 1]} of {law.count} windows"
    figure, (axes,) = new_figure(
        [[small.image.shape, small.image.shape]], (_SIDE, 640), heading=True, bars=1, right=[BAR, 0],
        title=f"{slide.name}: {fractions[-1]:.1%} covered {after}",
        legend=class_legend([small.mask], slide.codes, slide.ignore_index, line=True),
    )  # fmt: skip
    map_ax, curve = axes
    top = max(float(covered.max()), 1)
    shown = draw_heat_map(
        map_ax, small, HeatMap("number of windows", covered), top=top, ignore_index=slide.ignore_index
    )
    colour_bar(map_ax, shown, "windows covering each point")
    scale_bar(map_ax, slide, l0_per_pixel)
    _draw_curve(curve, fractions, labelled_fractions, None if expected is None else (expected, law.count))
    return save_figure(figure, out)


def _thumbnail_and_distribution(
    slide: Slide, sampler: Sampler, max_size: int
) -> tuple[Patch, float, WindowDistribution, Array, Array]:
    """Return thumbnail, level-0 pixels per thumbnail pixel, distribution, and the pixels' centres along x and y."""
    small, l0_per_pixel = thumbnail(slide, max_size=max_size)
    law = sampler.distribution(slide)
    across, down = pixel_centres(
        law.domain, small.image.shape, l0_per_pixel / slide.level_downsamples[law.domain.level]
    )
    return small, l0_per_pixel, law, across, down


def _draw_curve(
    ax: Any, fractions: list[float], labelled_fractions: list[float], law: tuple[Array, int] | None
) -> None:
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    place = ax.get_position()  # room for the labels of the axes
    ax.set_position([place.x0 + 0.09, place.y0 + 0.06, place.width - 0.10, place.height - 0.06])
    epochs = np.arange(len(fractions))
    ax.plot(epochs, fractions, color=hexadecimal(WINDOW), marker="o", markersize=4, label="whole slide")
    if len(labelled_fractions) == len(fractions):
        ax.plot(
            epochs,
            labelled_fractions,
            color=hexadecimal(class_colour(4, None)),
            marker="s",
            markersize=4,
            label="labelled pixels",
        )
    if law is not None:
        chance, count = law
        expected = [float((1 - (1 - chance) ** (count * epoch)).mean()) for epoch in epochs]
        ax.plot(epochs, expected, color="black", linestyle="--", linewidth=1, label="whole slide, expected")
    ax.set(ylim=(0, 1.03), xlim=(0, None), xlabel="epochs", title="fraction covered")
    ax.title.set_fontsize(11)
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    ax.grid(alpha=0.3)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(loc="lower right", frameon=False, fontsize=9)


def _is_labelled(mask: Array, ignore_index: int | None) -> Array:
    return np.asarray((mask != 0) if ignore_index is None else (mask != 0) & (mask != ignore_index))
