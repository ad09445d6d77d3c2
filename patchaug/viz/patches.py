"""Patches on a sheet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from patchaug.errors import OptionError
from patchaug.slides.slide import Patch
from patchaug.viz.layout import Out, class_legend, draw_patch, new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def show_patches(
    patches: Sequence[Patch],
    *,
    codes: Sequence[str] | None = None,
    columns: int = 4,
    out: Out = None,
    title: str | None = None,
    ignore_index: int | None = None,
) -> Figure:
    """Draw patches on a sheet, each with the outline of its labels.

    Args:
        patches: Images, uint8 (height, width, channels), and masks, integer (height, width) or None.
        codes: Class names for the legend.
        columns: Patches in a row.
        out: Where to save the picture (PNG).
        title: Title of the sheet.
        ignore_index: Integer of the masks that means "no label"; drawn in grey.

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
    legend = class_legend([patch.mask for patch in patches], codes, ignore_index)
    figure, axes = new_figure([[p.image.shape for p in row] for row in rows], (320, 320), title=title, legend=legend)
    for patch, ax in zip(patches, (ax for row in axes for ax in row), strict=True):
        draw_patch(ax, patch, tint=0.2, ignore_index=ignore_index, line=2)
    return save_figure(figure, out)
