"""Show a batch with the windows of its patches on their slides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from fastai.vision.data import get_grid

from patchaug.errors import OptionError
from patchaug.sampling.plan import Draw
from patchaug.slides.slide import Slide


def show_with_windows(
    show: Callable[..., Any], batch: Any, draws: Sequence[Draw], slides: Sequence[Slide], max_n: int, **kwargs: Any
) -> Any:
    """Show patches in a grid and, below them, their slides with numbered windows.

    Args:
        show: fastai's `show_batch` of the loader.
        batch: The batch, decoded by `show`.
        draws: The draw of each item of the batch.
        slides: Slides of the plan.
        max_n: Patches at most.
        **kwargs: For fastai; nrows, ncols and figsize describe the grid.

    Raises:
        OptionError: A transform has removed patches, so the windows of the others are unknown.
    """
    from patchaug.viz.batch import add_slides  # matplotlib takes a while

    if len(batch[0]) != len(draws):
        raise OptionError(
            f"a transform has removed {len(draws) - len(batch[0])} of the batch's {len(draws)} patches, so the windows "
            f"of the others are unknown; leave windows out"
        )
    draws = draws[:max_n]
    axes = get_grid(len(draws), **{k: kwargs.pop(k) for k in ("nrows", "ncols", "figsize") if k in kwargs})
    show(batch, max_n, axes, **kwargs)
    return add_slides(axes, [(slides[draw.slide], draw.window) for draw in draws])
