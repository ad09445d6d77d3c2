"""One page for a browser: a slide to pan and zoom, its windows epoch by epoch, its mask, how often places are drawn.

The page is a single file without a reference to anything outside; it opens from a disk, a mail or a report.
"""

from __future__ import annotations

import json
import os
from dataclasses import fields
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from patchaug.core.arrays import Array
from patchaug.core.atomic import atomic_write
from patchaug.core.validation import checked_integer
from patchaug.errors import OptionError
from patchaug.sampling.plan import Draw, Plan
from patchaug.slides.slide import Slide
from patchaug.slides.thumbnail import thumbnail
from patchaug.viz.coverage_maps import count_coverage
from patchaug.viz.palette import class_colour, epoch_colour, hexadecimal, sequential_colour
from patchaug.viz.web_page.images import TILE, class_map_png, heat_map_png, pyramid

_MOST_WINDOWS = 100_000  # a browser draws that many without stutter, and they take 5 MB
_CELLS = 256  # cells along the longer side of the map of draws


def write_page(
    plan: Plan, out: str | os.PathLike[str], *, slide: int = 0, epochs: int = 3, max_size: int = 4096
) -> Path:
    """Write the page of one slide of a plan.

    Args:
        plan: What will be drawn.
        out: Where to save the page (.html); it appears there when it is whole.
        slide: Position of the slide in the plan's list.
        epochs: How many epochs to show, from the first on.
        max_size: Longer side of the finest picture in pixels: how far one can zoom in. The file grows by about a
            quarter of a byte for each of its pixels.

    Returns:
        The path.

    Raises:
        OptionError: There is no such slide, or the epochs have more windows than a page can hold.
        MissingError: There is no folder for `out`.
        WriteError: The page cannot be written.
        ReadError: A file cannot be read.
    """
    with atomic_write(out, "page") as temporary:  # checks the folder before the work begins
        checked_integer("slide", slide, 0, len(plan.slides) - 1)
        checked_integer("epochs", epochs, 1)
        if epochs * plan.counts[slide] > _MOST_WINDOWS:
            raise OptionError(
                f"epochs={epochs} of {plan.counts[slide]} windows are more than a page can hold ({_MOST_WINDOWS}); "
                f"show fewer epochs"
            )
        temporary.write_text(_fill_template(page_data(plan, slide, epochs, max_size)), encoding="utf-8")
    return Path(out)


def page_data(plan: Plan, number: int, epochs: int, max_size: int) -> dict[str, Any]:
    """All that the page shows; lengths in level-0 pixels, windows in pixels of the level they are drawn at."""
    slide = plan.slides[number]
    small, l0_per_pixel = thumbnail(slide, max_size=max_size)
    frame = plan.distributions[number].domain
    draws = [_draws(plan, number, epoch) for epoch in range(epochs)]
    windows = (draw.window for one in draws for draw in one)
    counts = count_coverage(windows, *_cell_centres(slide, frame.level))
    per_epoch = [{"colour": hexadecimal(epoch_colour(k, epochs)), "windows": _rows(one)} for k, one in enumerate(draws)]
    return {
        "name": slide.name,
        "size": slide.dimensions,
        "mpp": slide.mpp,
        "plan": f"{_describe(plan.sampler)}, seed {plan.seed}",
        "tile": TILE,
        "l0_per_pixel": l0_per_pixel,
        "picture": small.image.shape[1::-1],
        "levels": pyramid(small.image),
        "mask": None if small.mask is None else class_map_png(small.mask, slide.ignore_index),
        "classes": _class_entries(small.mask, slide),
        "drawn": {"picture": heat_map_png(counts), "most": int(counts.max())},
        "scale": [hexadecimal(sequential_colour(k / 6)) for k in range(7)],
        "level": frame.level,
        "window": (frame.width, frame.height),
        "downsample": slide.level_downsamples[frame.level],
        "epochs": per_epoch,
    }


def _describe(sampler: Any) -> str:
    """The sampler as its user wrote it: without what was left at its default."""
    kept = [f for f in fields(sampler) if getattr(sampler, f.name) != f.default]
    return f"{type(sampler).__name__}({', '.join(f'{f.name}={getattr(sampler, f.name)!r}' for f in kept)})"


def _draws(plan: Plan, number: int, epoch: int) -> list[Draw]:
    """The draws of a slide in an epoch, in the order of their numbers."""
    ordered = plan.ordered(False)
    first = epoch * len(plan) + sum(plan.counts[:number])
    return [ordered[index] for index in range(first, first + plan.counts[number])]


def _rows(draws: list[Draw]) -> list[tuple[int, int, float]]:
    # Four digits: a probability is told, not computed with.
    return [(draw.window.x, draw.window.y, float(f"{draw.probability:.4g}")) for draw in draws]


def _cell_centres(slide: Slide, level: int) -> tuple[Array, Array]:
    """Centres of the cells of the map of draws along x and y, float64, in pixels of the level."""
    lengths = slide.level_size(level)
    counts = [max(round(_CELLS * length / max(lengths)), 1) for length in lengths]
    across, down = (
        # One division of integers: a centre that is a whole number is exact.
        (2 * np.arange(count) + 1) * length / (2 * count)
        for count, length in zip(counts, lengths, strict=True)
    )
    return across, down


def _class_entries(mask: Array | None, slide: Slide) -> list[dict[str, str]]:
    names = slide.codes or ()
    return [
        {
            "name": "no label" if v == slide.ignore_index else names[v] if v < len(names) else f"class {v}",
            "colour": hexadecimal(class_colour(v, slide.ignore_index)),
        }
        for v in ([] if mask is None else np.unique(mask).tolist())
        if v
    ]


def _fill_template(data: dict[str, Any]) -> str:
    here = files("patchaug.viz.web_page")
    text, style, script = (here.joinpath(f"page.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js"))
    # In a script element only "<" could end it or open a comment.
    values = json.dumps(data, separators=(",", ":"), ensure_ascii=False).replace("<", "\\u003c")
    for name, value in (("STYLE", style), ("TITLE", escape(data["name"])), ("SCRIPT", script), ("DATA", values)):
        text = text.replace(f"/*{name}*/", value, 1)
    return text
