"""`Draw`: one sample of a plan."""

from __future__ import annotations

from dataclasses import dataclass

from patchaug.core.windows import Window


@dataclass(frozen=True)
class Draw:
    """One sample of a plan: which window of which slide, and how likely it was.

    Attributes:
        index: epoch * len(plan) + place.
        epoch: Epoch, from 0.
        slide: Position of the slide in the plan's list.
        draw: Number of the window within slide and epoch, from 0; within the epoch with `balance="dataset"`.
        window: The window, in pixels of its level.
        probability: Probability of that window in the sampler's distribution on that slide, or on all slides with
            `balance="dataset"`; 1 for grids.

    Examples:
        >>> import numpy as np
        >>> from patchaug import Grid, Plan, open_slide
        >>> plan = Plan([open_slide(np.zeros((64, 64, 3), np.uint8))], Grid(32), shuffle=False)
        >>> draw: Draw = plan[5]
        >>> draw.epoch, draw.draw, draw.window
        (1, 1, Window(x=32, y=0, width=32, height=32, level=0))
    """

    index: int
    epoch: int
    slide: int
    draw: int
    window: Window
    probability: float
