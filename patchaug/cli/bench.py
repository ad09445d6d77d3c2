"""`patchaug bench`: how fast windows of a slide are drawn and read."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from patchaug.cli.common import Json, Options, bars_wanted, require, say, takes
from patchaug.core.progress import bars
from patchaug.options.fields import PatchOptions
from patchaug.sampling.plan import Plan
from patchaug.slides.open import open_slide

Mask = Annotated[Path | None, typer.Option(help="Its mask.")]
Seconds = Annotated[float, typer.Option(help="How long to read.")]


@takes(PatchOptions, size=256, per_slide=64)
def bench(
    options: Options,
    slide: Annotated[Path, typer.Argument(help="The slide.")],
    mask: Mask = None,
    seconds: Seconds = 5.0,
    json: Json = False,
) -> None:
    """Measure how fast windows of a slide are drawn and read, in this process, one after the other.

    Example: patchaug bench slide.svs --size 512
    """
    require(0 < seconds < float("inf"), f"--seconds must be above 0, got {seconds}")
    made = options()
    started = time.perf_counter()
    plan = Plan([open_slide(slide, mask, ram=made.ram)], made.samplers().train, seed=made.seed)
    opened = time.perf_counter() - started
    drawn = _draws_a_second(plan)
    took, pixels = _read(plan, seconds, bars_wanted(json))
    rate = len(took) / sum(took)
    median, slow = (float(value) for value in np.percentile(took, (50, 95)) * 1e3)
    say(
        {"slide": str(slide), "open_seconds": opened, "draws_per_second": drawn, "patches": len(took),
         "patches_per_second": rate, "mpx_per_second": pixels / sum(took) / 1e6, "median_ms": median, "p95_ms": slow},
        f"opened and planned in {opened:.2f} s",
        f"draws: {drawn:,.0f} a second",
        f"reads: {rate:,.1f} patches a second, {pixels / sum(took) / 1e6:.1f} Mpx/s; "
        f"half within {median:.1f} ms, 95 of 100 within {slow:.1f} ms",
        as_json=json,
    )  # fmt: skip


def _draws_a_second(plan: Plan) -> float:
    started = time.perf_counter()
    number = 0
    while number < 10_000 and time.perf_counter() - started < 1:
        plan[number]
        number += 1
    return number / (time.perf_counter() - started)


def _read(plan: Plan, seconds: float, show: bool) -> tuple[list[float], int]:
    """Seconds of each read, and pixels in all. Ctrl-C ends it early; what was measured counts."""
    took: list[float] = []
    pixels, started = 0, time.perf_counter()
    with bars(show) as display:
        task: Any = display.add_task("reading windows", total=None)
        try:
            while not took or time.perf_counter() - started < seconds:
                draw = plan[len(took)]
                before = time.perf_counter()
                patch = plan.read(draw)
                took.append(time.perf_counter() - before)
                pixels += patch.image.shape[0] * patch.image.shape[1]
                display.advance(task)
        except KeyboardInterrupt:
            if not took:
                raise
    return took, pixels
