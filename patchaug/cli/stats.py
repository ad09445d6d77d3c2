"""`patchaug stats`: measure the values of each channel, for `scale=` and `Normalize`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from patchaug.cli.common import Json, print_result
from patchaug.core.validation import SEED, checked_integer
from patchaug.core.waiting_calls import call_each
from patchaug.options.fields import PatchOptions
from patchaug.readers.urls import is_url
from patchaug.sampling.statistics import PERCENTILES, checked_scale, measure, suggested_scale
from patchaug.slides.discovery import get_slide_files, is_folder_of_slides
from patchaug.slides.open import open_slide


def stats(
    paths: Annotated[list[Path], typer.Argument(metavar="SLIDE|FOLDER", help="Slides, and folders of slides.")],
    channels: Annotated[str | None, typer.Option(metavar="TEXT", help="Channels to read, with commas.")] = None,
    series: Annotated[str | None, typer.Option(metavar="TEXT", help="Picture of files that hold several.")] = None,
    scale: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Values that become 0 and 1, LOW,HIGH; measured by default.")
    ] = None,
    windows: Annotated[int, typer.Option(metavar="N", help="Windows of all slides.")] = 256,
    size: Annotated[int, typer.Option(metavar="N", help="Side of a window in pixels.")] = 256,
    seed: Annotated[int, typer.Option(metavar="N", help="Seed of the windows.")] = SEED,
    ram: Annotated[str, typer.Option(metavar="TEXT", help='Memory for decoded pixels: "auto", "8GB", or 0.')] = "auto",
    json: Json = False,
) -> None:
    """Measure percentiles, mean and standard deviation of each channel over seeded windows of slides.

    Prints the line of --scale that takes nearly all values into 0..1, and mean and standard deviation after it, for
    fastai's Normalize.

    Example: patchaug stats slides --channels 3,2,1
    """
    checked_integer("windows", windows, 1)
    checked_integer("size", size, 1)
    given = {"channels": channels, "series": series, "scale": scale}
    options = PatchOptions.layered({name: text for name, text in given.items() if text is not None}, size=size)
    files = [file for path in paths for file in (get_slide_files(path) if is_folder_of_slides(path) else [path])]
    opening: dict[str, Any] = {"channels": options.channels, "series": options.series, "ram": ram}
    slides = list(call_each(lambda _, file: open_slide(file, **opening), files, is_url))
    measured = measure(slides, windows=windows, size=size, seed=seed)
    pairs = suggested_scale(measured) if options.scale is None else checked_scale(options.scale)
    pairs = pairs * len(measured) if len(pairs) == 1 else pairs
    means = [(c.mean - low) / (high - low) for c, (low, high) in zip(measured, pairs, strict=True)]
    stds = [c.std / (high - low) for c, (low, high) in zip(measured, pairs, strict=True)]
    kind = str(slides[0].dtype)
    line = f"{pairs[0][0]:g},{pairs[0][1]:g}" if len(set(pairs)) == 1 else str([list(pair) for pair in pairs])
    print_result(
        {"slides": [slide.name for slide in slides], "dtype": kind, "percentiles": PERCENTILES,
         "channels": [channel._asdict() for channel in measured], "scale": pairs, "mean": means, "std": stds},
        f"{len(slides)} slides, {len(measured)} channels of {kind}",
        *(
            f"{channel.name}: " + ", ".join(
                f"{at:g} %: {value:.6g}" for at, value in zip(PERCENTILES, channel.percentiles, strict=True)
            ) + f"; mean {channel.mean:.6g}, standard deviation {channel.std:.6g}"
            for channel in measured
        ),
        f"--scale '{line}'",
        f"Normalize.from_stats({[round(m, 4) for m in means]}, {[round(s, 4) for s in stds]})",
        as_json=json,
    )  # fmt: skip
