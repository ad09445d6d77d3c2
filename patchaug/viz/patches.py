"""Show patches in a grid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from patchaug.core.arguments import names_arguments
from patchaug.errors import OptionError
from patchaug.slides.slide import Patch
from patchaug.viz.layout import Out, class_legend, draw_patch, new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@names_arguments
def show_patches(
    patches: Sequence[Patch],
    *,
    codes: Sequence[str] | None = None,
    columns: int = 4,
    out: Out = None,
    title: str | None = None,
    ignore_index: int | None = None,
) -> Figure:
    """Draw patches in a grid, with the labels outlined.

    Args:
        patches: Images, uint8 (height, width, channels), and masks, integer (height, width) or None.
        codes: Class names for the legend.
        columns: Patches per row.
        out: Path of the PNG file to write, or None.
        title: Title of the figure.
        ignore_index: Integer of the masks that means "no label"; drawn in grey.

    Returns:
        The figure.

    Raises:
        OptionError: `patches` is empty, or columns is below 1.
        MissingError: The folder of `out` does not exist.

    Examples:
        >>> plan = Plan([slide], Uniform(64, per_slide=6))
        >>> figure = show_patches([plan.read(draw) for draw in plan], codes=codes, columns=3, out="patches.png")
        >>> len(figure.axes)
        6
    """
    if not patches:
        raise OptionError("patches must hold at least one patch, got none")
    if columns < 1:
        raise OptionError(f"columns must be at least 1, got {columns}")
    rows = [patches[start : start + columns] for start in range(0, len(patches), columns)]
    legend = class_legend([patch.mask for patch in patches], codes, ignore_index)
    figure, axes = new_figure([[p.image.shape for p in row] for row in rows], (320, 320), title=title, legend=legend)
    for patch, ax in zip(patches, (ax for row in axes for ax in row), strict=True):
        draw_patch(ax, patch, tint=0.2, ignore_index=ignore_index, line=2)
    return save_figure(figure, out)
