"""`patchaug advise`: choose the size of patches, their level and the batch, by measurement."""

from __future__ import annotations

import json as json_module
import time
import warnings
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import typer

from patchaug.cli.common import Json, Options, Out, print_result, require, with_options
from patchaug.cli.run_folder import OPTIONS, RunFolder
from patchaug.cli.split_pairs import list_examples, pairs_of
from patchaug.core.atomic import write_text
from patchaug.core.memory.budget import budget
from patchaug.core.messages import messages_from, print_message
from patchaug.core.waiting_calls import call_each
from patchaug.errors import OptionError
from patchaug.options.fields import TrainOptions
from patchaug.readers.urls import is_url
from patchaug.slides.slide import Slide

FOLDER, REPORT, FIGURE, TABLE = "patchaug-advice", "advice.json", "advice.png", "advice.txt"
_SIZES = "64,128,256,512"
_OF_CANDIDATES = ("size", "level", "mpp", "bs", "epochs", "accumulate", "schedule", "mode", "valid", "overlap", "folds",
    "fold", "early_stopping", "time_limit", "checkpoint_minutes", "log", "metrics")  # fmt: skip

Sizes = Annotated[str, typer.Option(metavar="N,N", help="Sides of patches to compare, in pixels.")]
Levels = Annotated[
    str | None, typer.Option(metavar="N,N", help="Levels to compare; by default all down to a fourth of the size.")
]
Mpps = Annotated[str | None, typer.Option(metavar="X,X", help="Micrometres per pixel to compare, in place of levels.")]
Batch = Annotated[
    int | None,
    typer.Option(
        "--bs", metavar="N", help="Patches in a batch of any size; by default the pixels of 8 of 256 px, on a CPU of 2."
    ),
]
Memory = Annotated[
    str, typer.Option(metavar="SIZE", help='Memory of a step, such as "8GB"; "auto" is half of what is free.')
]
Minutes = Annotated[float, typer.Option(metavar="X", help="Time of everything; 0 measures without any training.")]


@with_options(TrainOptions, without=_OF_CANDIDATES, size=256, per_slide=128, foreground=0.5)
def advise(
    options: Options, sizes: Sizes = _SIZES, levels: Levels = None, mpps: Mpps = None, bs: Batch = None,
    memory: Memory = "auto", minutes: Minutes = 10.0, out: Out = None, json: Json = False,
) -> None:  # fmt: skip
    """Find the size of patches, the level and the batch that suit your slides and this machine, by measurement.

    Writes a table, a figure, a report and options.json, from which patchaug train starts.

    Example: patchaug advise --images slides --masks masks --codes background,nucleus --memory 8GB --minutes 10
    """
    started = time.monotonic()
    require(0 <= minutes < float("inf"), f"--minutes must be 0 or more, got {minutes}")
    require(bs is None or bs >= 1, f"--bs must be 1 or more, got {bs}")
    settings: TrainOptions = options(mode="random", valid="grid")
    numbers = _integers("--sizes", sizes, 8)
    planes = None if levels is None else _integers("--levels", levels, 0)
    scales = None if mpps is None else _numbers("--mpps", mpps)
    if settings.split_region is None and len(list_examples(settings)[0]) == 1:
        settings = settings.model_copy(update={"split_region": settings.valid_pct})
        print_message(f"one slide: {settings.valid_pct:.0%} of it is for validation, cut off by a guard band")
    pairs = pairs_of(settings)
    with messages_from(settings.log_level), closing(RunFolder.claim(FOLDER if out is None else out)) as folder:
        with warnings.catch_warnings():  # fastai's use of torch, which users cannot change
            warnings.simplefilter("ignore", FutureWarning)
            from patchaug.cli.learner import require_model  # takes seconds, so wrong use is reported first
        require_model(settings)
        result, lines = _advise(settings, pairs, numbers, planes, scales, bs, memory, minutes, folder.path, started)
    print_result(result, *lines, as_json=json)


def _advise(
    settings: TrainOptions, pairs: tuple[Any, Any], sizes: Sequence[int], levels: Sequence[int] | None,
    mpps: Sequence[float] | None, bs: int | None, memory: str, minutes: float, out: Path, started: float,
) -> tuple[dict[str, Any], list[str]]:  # fmt: skip
    """Measure, and write the results; return the report and the lines to print."""
    from patchaug.advise.candidate import candidates_of
    from patchaug.advise.report import field_sentence, report_field, report_rows, table_lines
    from patchaug.advise.run import run_advice
    from patchaug.cli.short_runs import ShortRuns
    from patchaug.viz.advice import show_advice

    train, valid = _opened(pairs, settings)
    candidates, left_out = candidates_of(sizes, levels, mpps, [*train, *valid])
    runs = ShortRuns(train, valid, settings, out)
    print_message("measuring the receptive field")
    network = runs.network(candidates[0])
    limit = _memory(memory, network.device)
    advice = run_advice(
        network, runs.train, train, valid, settings, candidates, left_out, memory=limit, batch=bs, minutes=minutes,
        started=started, say=print_message,
    )  # fmt: skip
    recommendation = advice.recommendation
    assert recommendation is not None
    best = recommendation.measured
    start = _options_to_start_from(settings, best.candidate.options(), best.batch, best.grid)
    start.save(out / OPTIONS)
    lines = [
        *table_lines(advice.every, advice.edges, recommendation, advice.left_out),
        field_sentence(network.field, advice.edges), " ".join(recommendation.sentences), *recommendation.doubts,
    ]  # fmt: skip
    report = {
        "recommendation": {
            "name": best.candidate.name, **best.candidate.options(), "bs": best.batch,
            "sentences": recommendation.sentences, "undecided": recommendation.undecided,
            "doubts": recommendation.doubts,
        },
        "candidates": report_rows(advice.every, advice.trained, advice.edges, recommendation),
        "left_out": advice.left_out,
        **report_field(network.field, advice.edges),
        "memory": limit, "device": str(network.device), "minutes": minutes, "seed": settings.seed,
        "seconds_of_a_training": round(advice.seconds, 2), "seconds": round(time.monotonic() - started, 1),
        "validation": {"slides": [one.name for one in valid], "blocks": len(advice.blocks),
            "pixels": sum(one.window.width * one.window.height for one in advice.blocks)},
        "train": [one.name for one in train],
    }  # fmt: skip
    write_text(out / REPORT, json_module.dumps(report, indent=2, allow_nan=False) + "\n", "advice")
    write_text(out / TABLE, "\n".join(lines) + "\n", "advice", replace=lambda path: False)
    show_advice(
        report["candidates"], report["edge_error"], chosen=best.candidate.name,
        title=f"{best.candidate.name} in batches of {best.batch}, for {len(train) + len(valid)} slides",
        out=out / FIGURE,
    )  # fmt: skip
    print_lines = [*lines, f"results are in {out}; start with: patchaug train --options {out / OPTIONS}"]
    return {**report, "out": str(out)}, print_lines


def _opened(pairs: Any, settings: TrainOptions) -> tuple[list[Slide], list[Slide]]:
    """Open slides with their masks once for all candidates; cut them in parts where the options do so."""
    from patchaug.cli.split_pairs import as_items
    from patchaug.data.region_parts import open_parts
    from patchaug.data.slide_items import LazySlideItem, source_of
    from patchaug.slides.open import open_slide

    opening = {**settings.label_arguments(), "channels": settings.channels, "series": settings.series,
        "ram": settings.ram}  # fmt: skip
    if settings.split_region is not None:
        train, valid = open_parts(
            as_items(pairs[0], settings), valid=settings.split_region, guard=settings.guard, seed=settings.seed,
            mpp=settings.mpp_of_slides, **opening,
        )  # fmt: skip
        return [part for part, _ in train], [part for part, _ in valid]
    sides: tuple[list[Slide], list[Slide]] = [], []

    def opened(_: int, pair: tuple[Any, Any]) -> Slide:
        image, mask = pair
        item = image if isinstance(image, LazySlideItem) else LazySlideItem(image)
        return open_slide(item.source, mask, mpp=item.mpp or settings.mpp_of_slides, region=item.region, **opening)

    for found, side in zip(sides, pairs, strict=True):
        found += call_each(opened, as_items(side, settings), lambda pair: any(is_url(source_of(one)) for one in pair))
    return sides


def _options_to_start_from(
    settings: TrainOptions, windows: dict[str, Any], batch: int, grid: int
) -> TrainOptions:  # fmt: skip
    """Return the options of a training that sees the slides about once an epoch."""
    absolute = {
        name: str(Path(path).resolve())
        for name in ("images", "masks", "table", "init", "region")
        if (path := getattr(settings, name)) is not None and path != "tissue" and "://" not in path
    }
    values = {**settings.model_dump(), **absolute, **windows, "bs": batch}
    if not isinstance(settings.per_slide, str) and values.get("balance", "slide") != "dataset":
        values |= {"per_slide": "area", "windows": max(grid, batch)}
    return TrainOptions(**values)


def _memory(text: str, device: Any) -> float:
    """Return the memory of a step in bytes."""
    from patchaug.advise.step_cost import free_cuda_memory

    if text == "auto" and device.type == "cuda":
        return 0.9 * free_cuda_memory(device)
    try:
        return float(budget(int(text) if text.isdigit() else text))
    except OptionError:
        raise OptionError(f'--memory must be "auto", or a size such as "8GB", got {text!r}') from None


def _integers(flag: str, text: str, least: int) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    require(
        all(part.isdecimal() and int(part) >= least for part in parts),
        f"{flag} must be whole numbers from {least} on, with commas, got {text!r}",
    )
    return [int(part) for part in parts]


def _numbers(flag: str, text: str) -> list[float]:
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    require(
        bool(values) and all(0 < value < float("inf") for value in values),
        f"{flag} must be micrometres per pixel above 0, with commas, got {text!r}",
    )
    return values
