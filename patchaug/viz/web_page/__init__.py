"""HTML page of a slide to pan and zoom: its windows epoch by epoch, its mask, and the sampling density.

The page is a single file without external references; it opens from a disk, a mail or a report.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import fields
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from patchaug.core.arguments import names_arguments
from patchaug.core.arrays import Array
from patchaug.core.atomic import atomic_write
from patchaug.core.outputs import checked_output
from patchaug.core.palette import epoch_colour, hexadecimal, sequential_colour
from patchaug.core.validation import checked_integer
from patchaug.errors import OptionError
from patchaug.sampling.plan import Draw, Plan
from patchaug.slides.slide import Slide
from patchaug.slides.thumbnail import thumbnail
from patchaug.viz.coverage_maps import count_coverage
from patchaug.viz.web_page.images import TILE, class_map_png, heat_map_png, pyramid
from patchaug.viz.web_page.layers import class_entries

_MOST_WINDOWS = 100_000  # browsers draw so many smoothly, and they take 5 MB
_CELLS = 256  # cells along the longer side of the density map


@names_arguments
def write_page(
    plan: Plan, out: str | os.PathLike[str], *, slide: int = 0, epochs: int = 3, max_size: int = 4096,
    layers: Sequence[dict[str, Any]] = (),
) -> Path:  # fmt: skip
    """Write the HTML page of one slide of a plan, atomically.

    Args:
        plan: Plan of the windows.
        out: Path of the .html file to write.
        slide: Position of the slide in the plan's list.
        epochs: Number of epochs to show, from the first.
        max_size: Longer side of the finest image in pixels; it limits the zoom. The file grows by about a quarter of a
            byte per pixel.
        layers: Predictions of the slide, see `class_layer` and `probability_layer`.

    Returns:
        The path.

    Raises:
        OptionError: The position is out of range, the epochs have more than 100,000 windows, or the suffix is wrong.
        MissingError: The folder of `out` does not exist.
        WriteError: The file exists and is not a page of patchaug, or cannot be written.
        ReadError: A file cannot be read.

    Examples:
        >>> page = write_page(Plan([slide], Uniform(64, per_slide=20)), "windows.html", epochs=2)
        >>> page.name
        'windows.html'
    """
    checked_output(out, "page", [".html", ".htm"], inputs=[one.path for one in plan.slides])
    with atomic_write(out, "page") as temporary:
        checked_integer("slide", slide, 0, len(plan.slides) - 1)
        checked_integer("epochs", epochs, 1)
        if epochs * plan.counts[slide] > _MOST_WINDOWS:
            raise OptionError(
                f"epochs={epochs} of {plan.counts[slide]} windows exceed the limit of a page ({_MOST_WINDOWS}); show "
                f"fewer epochs"
            )
        temporary.write_text(_fill_template(page_data(plan, slide, epochs, max_size, layers)), encoding="utf-8")
    return Path(out)


def page_data(
    plan: Plan, number: int, epochs: int, max_size: int, layers: Sequence[dict[str, Any]] = ()
) -> dict[str, Any]:
    """Collect the data of the page; lengths in level-0 pixels, windows in pixels of their level."""
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
        "classes": class_entries(small.mask, slide.codes or (), slide.ignore_index),
        "layers": list(layers),
        "density": {"image": heat_map_png(counts), "most": int(counts.max())},
        "scale": [hexadecimal(sequential_colour(k / 6)) for k in range(7)],
        "level": frame.level,
        "window": (frame.width, frame.height),
        "downsample": slide.level_downsamples[frame.level],
        "epochs": per_epoch,
    }


def _describe(sampler: Any) -> str:
    """Format a sampler without the arguments that have their default."""
    changed = [f for f in fields(sampler) if getattr(sampler, f.name) != f.default]
    return f"{type(sampler).__name__}({', '.join(f'{f.name}={getattr(sampler, f.name)!r}' for f in changed)})"


def _draws(plan: Plan, number: int, epoch: int) -> list[Draw]:
    """Return the draws of a slide in an epoch, in the order of their numbers."""
    ordered = plan.ordered(False)
    if plan.draws_slides:
        every = (ordered[index] for index in range(epoch * len(plan), (epoch + 1) * len(plan)))
        return [draw for draw in every if draw.slide == number]
    first = epoch * len(plan) + sum(plan.counts[:number])
    return [ordered[index] for index in range(first, first + plan.counts[number])]


def _rows(draws: list[Draw]) -> list[tuple[int, int, float]]:
    # Four digits: the probability is only displayed.
    return [(draw.window.x, draw.window.y, float(f"{draw.probability:.4g}")) for draw in draws]


def _cell_centres(slide: Slide, level: int) -> tuple[Array, Array]:
    """Return the centres of the cells of the density map along x and y, float64, in pixels of the level."""
    lengths = slide.level_size(level)
    counts = [max(round(_CELLS * length / max(lengths)), 1) for length in lengths]
    across, down = (
        # One division of integers: a centre that is a whole number is exact.
        (2 * np.arange(count) + 1) * length / (2 * count)
        for count, length in zip(counts, lengths, strict=True)
    )
    return across, down


def _fill_template(data: dict[str, Any]) -> str:
    here = files("patchaug.viz.web_page")
    text, style, script = (here.joinpath(f"page.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js"))
    # In a script element only "<" could end it or open a comment.
    values = json.dumps(data, separators=(",", ":"), ensure_ascii=False).replace("<", "\\u003c")
    for name, value in (("STYLE", style), ("TITLE", escape(data["name"])), ("SCRIPT", script), ("DATA", values)):
        text = text.replace(f"/*{name}*/", value, 1)
    return text
