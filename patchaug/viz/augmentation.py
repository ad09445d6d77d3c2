"""Show one window and its augmented versions, one for each epoch."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from patchaug.augment import Augment, as_augment
from patchaug.core.arguments import names_arguments
from patchaug.core.validation import SEED, checked_integer
from patchaug.errors import OptionError
from patchaug.sampling import Sampler
from patchaug.sampling.plan import Draw, Edge, Plan
from patchaug.slides.slide import Slide
from patchaug.viz.layout import Out, class_legend, draw_patch, new_figure, save_figure, scale_bar

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLUMNS, _SIDE = 4, 280  # patches in a row, and the side of each on the figure in pixels


@names_arguments
def show_augment(
    slide: Slide,
    sampler: Sampler,
    augment: Any,
    *,
    draws: int = 11,
    index: int = 0,
    seed: int = SEED,
    halo: int | str = "auto",
    edge: Edge = "shift",
    out: Out = None,
) -> Figure:
    """Draw one window without augmentation, and augmented as in the first epochs.

    The window is that of one index of `PatchDataset([slide], sampler, augment=augment, seed=seed, shuffle=False)`. It
    stays fixed; only the epoch of the augmentation key (seed, epoch, slide, draw) varies. The patch of the index's own
    epoch equals the patch of the dataset. For a fixed grid this holds in every epoch. Random windows move from epoch to
    epoch: the other patches show the augmentation that this window would get there.

    Args:
        slide: The slide.
        sampler: The sampler.
        augment: A transform or Compose of albumentations, or an `Augment`.
        draws: Number of augmented patches, one for each epoch from 0.
        index: Index of the window in the plan.
        seed: Seed of windows and augmentation.
        halo: Pixels read around the window, or "auto"; see `Augment`.
        edge: "shift" or "reflect", see `Plan`.
        out: Path of the PNG file to write, or None.

    Returns:
        The figure, with labels outlined and tinted. The scale bar refers to the patch without augmentation.

    Raises:
        OptionError: draws is below 1, index is below 0, or `augment` is not supported; see `Augment`.
        WindowError, ForegroundError: The slide cannot provide the windows of the sampler.
        MissingError: The folder of `out` does not exist.

    Examples:
        >>> from patchaug.augment import histology
        >>> figure = show_augment(slide, Uniform(64, per_slide=8), histology(), draws=3, out="augment.png")
        >>> [ax.get_title() for ax in figure.axes]
        ['without augmentation', 'epoch 0', 'epoch 1', 'epoch 2']
    """
    transform = as_augment(augment, halo)
    if transform is None:
        raise OptionError("augment must be a transform of albumentations, such as histology(), got None")
    checked_integer("draws", draws, 1)
    plan = Plan([slide], sampler, seed=seed, shuffle=False, augment=transform, edge=edge)
    draw = plan[checked_integer("index", index, 0)]
    patches = [slide.read(draw.window, sampler.size)]
    patches += [plan.read(replace(draw, epoch=epoch)) for epoch in range(draws)]
    titles = ["without augmentation", *(f"epoch {epoch}" for epoch in range(draws))]
    rows = [patches[start : start + _COLUMNS] for start in range(0, len(patches), _COLUMNS)]
    figure, axes = new_figure(
        [[patch.image.shape for patch in row] for row in rows], (_SIDE, _SIDE), heading=True,
        bars=int(slide.mpp is not None), title=_title(plan, draw, transform),
        legend=class_legend([patch.mask for patch in patches], slide.codes, slide.ignore_index),
    )  # fmt: skip
    for patch, title, ax in zip(patches, titles, (ax for row in axes for ax in row), strict=True):
        draw_patch(ax, patch, tint=0.2, ignore_index=slide.ignore_index, line=2)
        ax.set_title(title, fontsize=11, pad=5)
    per_pixel = draw.window.width / patches[0].image.shape[1]
    scale_bar(axes[0][0], slide, slide.level_downsamples[draw.window.level] * per_pixel)
    return save_figure(figure, out)


def _title(plan: Plan, draw: Draw, transform: Augment) -> str:
    window, (y, x) = draw.window, plan.halo
    names = ", ".join(type(part).__name__ for part in transform.transform.transforms)
    halo = f"halo of {x} px" if x == y else f"halo of {x} x {y} px"
    return (
        f"{plan.slides[0].name}: {window.width} x {window.height} px at x={window.x}, y={window.y} of level "
        f"{window.level}, read with a {halo}\n{names}"
    )
