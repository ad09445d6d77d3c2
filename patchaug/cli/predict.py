"""`patchaug predict`: predict whole slides into files that other tools open."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from patchaug.cli.common import Json, bars_wanted, print_result, require, require_picture
from patchaug.cli.ranks import one_voice
from patchaug.cli.trained_models import (
    BatchSize,
    Blend,
    Device,
    Ensemble,
    ModelPath,
    Output,
    Overlap,
    Region,
    Resume,
    ShardOption,
    Tta,
    Workers,
    at_level,
    load_models,
    prediction_options,
)
from patchaug.core.progress import bars
from patchaug.core.shards import checked_shard
from patchaug.slides.discovery import get_slide_files, is_folder_of_slides

_FORMATS = "ome.tif,geojson"


def predict(
    model: ModelPath,
    slides: Annotated[list[Path], typer.Argument(metavar="SLIDE|FOLDER...", help="Slides, and folders of slides.")],
    out: Annotated[str, typer.Option(metavar="FOLDER", help="Folder for the files.")] = "patchaug-maps",
    formats: Annotated[
        str,
        typer.Option(
            metavar="FORMAT,...",
            help="ome.tif, tif (GeoTIFF), zarr, geojson, png (over the slide), csv (objects), areas.csv; "
            "probabilities.ome.tif for probabilities.",
        ),
    ] = _FORMATS,
    region: Region = "all",
    overlap: Overlap = None,
    blend: Blend = None,
    tta: Tta = None,
    batch_size: BatchSize = None,
    workers: Workers = None,
    model_output: Output = None,
    device: Device = None,
    ensemble: Ensemble = None,
    format_option: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FORMAT:OPTION=VALUE",
            help="Option of a format, such as geojson:simplify=2 or geojson:object_type=detection; repeatable.",
        ),
    ] = None,
    mpp_of_slides: Annotated[
        float | None, typer.Option(metavar="X", help="Micrometres per pixel of slides that store none or a wrong one.")
    ] = None,
    shard: ShardOption = None,
    resume: Resume = False,
    json: Json = False,
) -> None:
    """Predict whole slides, and write each to files named like the slide.

    A file appears when it is whole. Ctrl-C, SIGTERM and worse leave finished parts in a hidden folder, and --resume
    goes on. A slide that cannot be predicted is reported, the others go on, and the exit code is 1.

    Several processes share the work: under torchrun, or each with a --shard, on machines with a shared disk. Of fewer
    slides than processes each predicts a part of every one, and the last one writes the files.

    Example: patchaug predict patchaug-run slides --out maps --formats ome.tif,geojson --overlap 0.25

    Two models: patchaug predict run1 slides --ensemble run2 --out maps

    Go on: patchaug predict patchaug-run slides --out maps --formats ome.tif,geojson --overlap 0.25 --resume
    """
    require(bool(out), "--out needs the name of a folder for the files")
    with one_voice(as_json=json) as ranks:
        from patchaug.predict.format_options import parse_format_options

        options = prediction_options(overlap, blend, tta, region, batch_size, workers, model_output)
        format_options, part = parse_format_options(format_option or []), checked_shard(shard)
        for slide in slides:
            if not slide.is_dir():
                require_picture(slide)
        listed = [file for path in slides for file in (get_slide_files(path) if is_folder_of_slides(path) else [path])]
        learn = load_models(model, ensemble, device)
        options["region"] = at_level(options["region"], learn[0])
        options.update(
            formats=[one.strip() for one in formats.split(",")], resume=resume, mpp_of_slides=mpp_of_slides,
            format_options=format_options, shard=part.of_rank(ranks),
        )  # fmt: skip
        try:
            results = _predicted(learn, listed, out, options, as_json=json)
        except (KeyboardInterrupt, SystemExit):
            if ranks.is_first:
                typer.echo("patchaug: finished parts are kept; the same command with --resume goes on", err=True)
            raise
        failed = [result.slide for result in results if result.error is not None]
        waiting = [result for result in results if result.error is None and not result.files]
        print_result(
            {"out": out, "failed": len(failed), "slides": [_entry(result) for result in results]},
            f"{len(results) - len(failed) - len(waiting)} of {len(results)} slides are in {out}"
            + (f"; not predicted: {', '.join(failed)}" if failed else "")
            + (f"; {len(waiting)} wait for other shards" if waiting else ""),
            as_json=json,
        )  # fmt: skip
        if failed:
            raise typer.Exit(1)


def _predicted(learn: Any, slides: list[Any], out: str, options: dict[str, Any], *, as_json: bool) -> list[Any]:
    """Predict the slides of this process; return the results of all ranks, which rank 0 prints."""
    from patchaug.predict.predict_slides import each_prediction, stems_of  # it loads torch
    from patchaug.predict.rank_exchange import group_exchange, sendable
    from patchaug.predict.slide_run import merged_results

    exchange, shard = group_exchange(), options["shard"]
    first = exchange is None or exchange.ranks.is_first

    def own_results() -> list[Any]:
        results = []
        with bars(bars_wanted(as_json) and first) as shown:
            bar = _Bar(shown, len(slides) if shard.count > len(slides) else len(shard.slides(len(slides))))
            for result in each_prediction(learn, slides, out, progress=bar.report, **options):
                bar.end()
                if exchange is None:
                    _print_line(result, as_json=as_json)
                elif result.error is not None:
                    result = replace(result, error=sendable(result.error))
                results.append(result)
        return results

    if exchange is None:
        return own_results()
    results = merged_results(stems_of(slides), exchange.together(own_results))
    for result in results if first else ():
        _print_line(result, as_json=as_json)
    return results


def _print_line(result: Any, *, as_json: bool) -> None:
    if result.error is not None:
        typer.echo(f"patchaug: {result.slide}: {_text(result.error)}", err=True)
    elif not as_json:
        typer.echo(_line(result))


class _Bar:
    """A bar for the slide in progress: its windows, megapixels a second, and the time left."""

    def __init__(self, shown: Any, slides: int) -> None:
        self.shown, self.slides, self.number = shown, slides, 0
        self.task: Any = None
        self.first: tuple[float, int] = (0.0, 0)

    def report(self, slide: str, done: int, total: int, prediction: Any) -> None:
        """Show that some of a slide's bands are done."""
        windows = len(prediction.plan)
        if self.task is None:
            self.number += 1
            self.task = self.shown.add_task(slide, total=windows)
            self.first = (time.monotonic(), done)
        started, before = self.first
        pixels = prediction.frame.width * prediction.frame.height / total / 1e6
        seconds = time.monotonic() - started
        rate = f", {(done - before) * pixels / seconds:.3g} Mpx/s" if done > before and seconds > 0 else ""
        text = f"{slide} ({self.number} of {self.slides}){rate}"
        self.shown.update(self.task, completed=round(windows * done / total), description=text)

    def end(self) -> None:
        """Remove the bar of a slide that is done."""
        if self.task is not None:
            self.shown.remove_task(self.task)
            self.task = None


def _line(result: Any) -> str:
    names = ", ".join(file.name for file in result.files)
    if result.files and not result.written:
        return f"{result.slide}: finished before; {names}"
    rate = result.megapixels / max(result.seconds, 1e-9)
    if result.missing:
        names = f"{result.missing} bands of other shards are missing"
    elif not names:
        names = "another shard writes the files"
    return (
        f"{result.slide}: {result.megapixels:.3g} Mpx in {result.windows} windows, {result.seconds:.1f} s "
        f"({rate:.3g} Mpx/s); {names}"
    )


def _entry(result: Any) -> dict[str, Any]:
    error = result.error
    return {
        "slide": result.slide, "files": [str(file) for file in result.files], "written": result.written,
        "windows": result.windows, "megapixels": result.megapixels, "seconds": round(result.seconds, 2),
        "missing_bands": result.missing,
        "error": None if error is None else _text(error), "kind": None if error is None else type(error).__name__,
    }  # fmt: skip


def _text(error: Exception) -> str:
    """Return an error in one line."""
    return " ".join(str(error).split()) or type(error).__name__
