"""`patchaug bench`: measure the speed of drawing and reading windows."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from patchaug.advise.pace import measure_pace
from patchaug.cli.common import Json, Options, bars_wanted, print_result, require, require_picture, with_options
from patchaug.core.progress import bars
from patchaug.options.fields import PatchOptions
from patchaug.sampling.plan import Plan
from patchaug.slides.open import open_slide

Mask = Annotated[Path | None, typer.Option(metavar="FILE", help="Mask of the slide.")]
Seconds = Annotated[float, typer.Option(metavar="X", help="Seconds to read for.")]


@with_options(PatchOptions, size=256, per_slide=64)
def bench(
    options: Options,
    slide: Annotated[Path, typer.Argument(metavar="SLIDE", help="The slide.")],
    mask: Mask = None,
    seconds: Seconds = 5.0,
    json: Json = False,
) -> None:
    """Measure how fast windows of a slide are drawn and read, one after the other in one process.

    Example: patchaug bench slide.svs --size 512
    """
    require(0 < seconds < float("inf"), f"--seconds must be above 0, got {seconds}")
    require_picture(slide)
    settings = options()
    started = time.perf_counter()
    opened_slide = open_slide(slide, mask, ram=settings.ram, channels=settings.channels, series=settings.series)
    plan = Plan([opened_slide], settings.samplers().train, seed=settings.seed, index_cache=settings.index_cache)
    opened = time.perf_counter() - started
    with bars(bars_wanted(json)) as display:
        task: Any = display.add_task("reading windows", total=None)
        pace = measure_pace(plan, seconds, on_read=lambda: display.advance(task))
    drawn, took, pixels = pace.draws, pace.seconds, pace.pixels
    rate = len(took) / sum(took)
    median, slow = (float(value) for value in np.percentile(took, (50, 95)) * 1e3)
    print_result(
        {"slide": str(slide), "open_seconds": opened, "draws_per_second": drawn, "patches": len(took),
         "patches_per_second": rate, "mpx_per_second": pixels / sum(took) / 1e6, "median_ms": median, "p95_ms": slow},
        f"opened and planned in {opened:.2f} s",
        f"draws: {drawn:,.0f} a second",
        f"reads: {rate:,.1f} patches a second, {pixels / sum(took) / 1e6:.1f} Mpx/s; "
        f"median {median:.1f} ms, 95th percentile {slow:.1f} ms",
        as_json=json,
    )  # fmt: skip
