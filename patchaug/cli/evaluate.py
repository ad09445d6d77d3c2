"""`patchaug evaluate`: compare the predictions of a model with masks, and report scores."""

from __future__ import annotations

import json as json_module
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from patchaug.cli.common import Json, bars_wanted, print_result, require
from patchaug.cli.ranks import one_voice
from patchaug.cli.split_pairs import list_examples
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
from patchaug.core.atomic import require_replaceable, write_text
from patchaug.core.progress import bars
from patchaug.core.shards import Shard, checked_shard
from patchaug.core.validation import SEED
from patchaug.errors import MissingError, PatchaugError, WriteError
from patchaug.options.fields import TrainOptions
from patchaug.slides.pair_table import Example

REPORT, TABLE, PAGE, PAGES = "report.json", "slides.csv", "report.html", "pages"
_CONTENT = "evaluation"
_TOLERANCE = 2.0  # micrometres


def _text(metavar: str, text: str) -> Any:
    return typer.Option(metavar=metavar, help=text)


def evaluate(
    model: ModelPath,
    images: Annotated[str | None, _text("FOLDER", "Slides, or subfolders images and masks.")] = None,
    masks: Annotated[str | None, _text("FOLDER", "Masks, named like their images; left out, beside them.")] = None,
    table: Annotated[str | None, _text("FILE", "CSV in place of the folders, as for patchaug train.")] = None,
    split: Annotated[
        str | None, _text("train|valid|test|all", "Rows of a table with a column split; it must be said there.")
    ] = None,
    codes: Annotated[str | None, _text("NAME,NAME", "Class names or values; those of the training by default.")] = None,
    ignore_index: Annotated[str | None, _text("N", 'Integer of the masks that means "no label".')] = None,
    outside: Annotated[str | None, _text("NAME", "What no polygon covers: a class, or the ignored label.")] = None,
    label: Annotated[str | None, _text("NAME", "Property of polygons that holds the class.")] = None,
    invalid: Annotated[str | None, _text("raise|skip|repair", "What to do with bad polygons.")] = None,
    mpp_of_slides: Annotated[str | None, _text("X", "Micrometres per pixel of the slides.")] = None,
    out: Annotated[str, _text("FOLDER", "Folder for report.json, slides.csv, report.html and pages.")] = (
        "patchaug-evaluation"
    ),
    tolerance: Annotated[
        float | None, _text("UM", "Distance within which boundaries count as the same; 0: not measured.")
    ] = None,
    objects: Annotated[str | None, _text("NAME,NAME", "Classes whose connected pixels are objects to find.")] = None,
    worst: Annotated[int, typer.Option(metavar="N", help="Windows with the most wrong pixels to show.", min=0)] = 8,
    pages: Annotated[bool, typer.Option(help="Write a page for each slide, with mask and prediction.")] = True,
    region: Region = "all",
    overlap: Overlap = None,
    blend: Blend = None,
    tta: Tta = None,
    batch_size: BatchSize = None,
    workers: Workers = None,
    model_output: Output = None,
    device: Device = None,
    ensemble: Ensemble = None,
    shard: ShardOption = None,
    resume: Resume = False,
    json: Json = False,
) -> None:
    """Predict slides, and compare each labelled pixel with its mask.

    Scores of each slide and of all: confusion, Dice, IoU, precision and recall; boundary F1 within --tolerance (2 um by
    default, where slides state micrometres per pixel); with --objects, objects that overlap by more than half of their
    union. Intervals are of a bootstrap over slides.

    Several processes share the slides: under torchrun, or each with a --shard, on machines with a shared disk. The last
    one writes the report.

    Example: patchaug evaluate patchaug-run --images slides --masks masks --objects nucleus --out evaluation
    """
    require(bool(out), "--out needs the name of a folder for the results")
    with one_voice(as_json=json) as ranks:
        part = checked_shard(shard)
        prediction = prediction_options(overlap, blend, tta, region, batch_size, workers, model_output)
        require(tolerance is None or tolerance >= 0, f"--tolerance must be 0 or more micrometres, got {tolerance}")
        given = {"images": images, "masks": masks, "table": table, "codes": codes, "ignore_index": ignore_index,
                 "outside": outside, "label": label, "invalid": invalid, "mpp_of_slides": mpp_of_slides}  # fmt: skip
        learn = load_models(model, ensemble, device)
        from patchaug.cli.evaluation_run import EvaluationRun, labels_of  # it loads torch

        prediction["region"] = at_level(prediction["region"], learn[0])
        defaults = {name: value for name, value in labels_of(learn[0]).items() if value is not None}
        flags = {name: value for name, value in given.items() if value is not None}
        data = TrainOptions.layered(flags, environ={}, defaults={**defaults, "size": 1})
        examples = _chosen(list_examples(data)[0], split)
        folder = _folder(Path(out))
        run = EvaluationRun(
            learn, data, prediction, tolerance=_TOLERANCE if tolerance is None else tolerance,
            strict=tolerance is not None, objects=[one.strip() for one in objects.split(",")] if objects else [],
            worst=worst, pages=folder / PAGES if pages else None,
        )  # fmt: skip
        facts = {"model": ", ".join(map(str, (model, *(ensemble or ())))), "options": _as_text(prediction)}
        _evaluate(run, examples, part.of_rank(ranks), folder, facts, resume=resume, as_json=json)


def _evaluate(
    run: Any, examples: list[Example], shard: Shard, folder: Path, facts: dict[str, Any], *, resume: bool, as_json: bool
) -> None:
    """Evaluate the slides of this process, and write the results where no slide is missing; exit with 1 on failures."""
    from patchaug.predict.evaluation_parts import EvaluationParts
    from patchaug.predict.job import digest_of_model
    from patchaug.predict.rank_exchange import group_exchange

    exchange = group_exchange()
    first = exchange is None or exchange.ranks.is_first
    with EvaluationParts(folder, shard, run.job(digest_of_model(run.learn), examples), len(examples)) as parts:

        def failures() -> int:
            failed = 0
            with bars(bars_wanted(as_json) and first) as shown:
                for number in shard.slides(len(examples)):
                    found = parts.read(number) if resume else None
                    if found is None or "failed" in found:
                        found = run.evaluate(examples[number], shown)
                        parts.write(number, found)
                    failed += "failed" in found
                    if "failed" in found and exchange is None:
                        typer.echo(f"patchaug: {found['failed']}", err=True)
            return failed

        failed = failures() if exchange is None else sum(exchange.together(failures))
        parts.complete = not failed
        if not first:
            raise typer.Exit(1 if failed else 0)
        with parts.turn() as mine:
            if mine:
                for number, example in enumerate(examples):
                    run.take(example, parts.read(number) or {})
                for text in run.failed.values() if exchange is not None else ():
                    typer.echo(f"patchaug: {text}", err=True)
                report = _write(run, folder, len(examples), facts)
        missing = 0 if mine else parts.missing()
    if mine:
        print_result({**report, "out": str(folder)}, *_lines(report, str(folder)), as_json=as_json)
    else:
        text = f"{missing} slides of other shards are missing" if missing else "another shard writes the report"
        line = f"the slides of shard {shard} are evaluated; {text}"
        print_result({"out": str(folder), "missing": missing}, line, as_json=as_json)
    if failed or run.failed:
        raise typer.Exit(1)


def _write(run: Any, folder: Path, slides: int, facts: dict[str, Any]) -> dict[str, Any]:
    """Write the results of all slides, and return the report."""
    if not run.done:
        raise PatchaugError(f"none of {slides} slides could be evaluated; the first: {next(iter(run.failed.values()))}")
    report: dict[str, Any] = {**run.report(SEED), **facts}
    write_text(folder / REPORT, json_module.dumps(report, indent=2) + "\n", _CONTENT)
    write_text(folder / TABLE, run.csv(report), _CONTENT, replace=_is_table)
    run.write_page(report, folder / PAGE, title=f"Evaluation of {facts['model']}")
    return report


def _chosen(examples: list[Example], split: str | None) -> list[Example]:
    """Return the rows of a split."""
    splits = sorted({one.split for one in examples if one.split})
    if not splits:
        require(split in (None, "all"), f"--split {split}: the slides have no splits; leave it out")
        return examples
    require(
        split is not None,
        f"the table has the splits {', '.join(splits)}, and scores on slides that were trained on would be too good: "
        f"say which to evaluate, such as --split {splits[0] if 'test' not in splits else 'test'}, or --split all",
    )
    chosen = [one for one in examples if split in ("all", one.split)]
    if not chosen:
        raise MissingError(f"--split {split}: no row of the table has it; it has {', '.join(splits)}")
    return chosen


def _folder(path: Path) -> Path:
    """Make the folder of the results; one that holds other files is refused before the work begins."""
    if path.is_dir():
        strange = sorted(
            {entry.name for entry in path.iterdir() if entry.name[0] != "."} - {REPORT, TABLE, PAGE, PAGES}
        )
        if strange:
            raise WriteError(f"{path} holds files of another kind, such as {strange[0]}; choose another --out")
        require_replaceable(path / REPORT, _CONTENT)
        require_replaceable(path / TABLE, _CONTENT, _is_table)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise WriteError(f"{path} is a file; choose another --out") from None
    except OSError as error:
        raise WriteError(f"{path} cannot be made: {error.strerror}; choose another --out") from None
    return path


def _is_table(file: Path) -> bool:
    return file.is_file() and file.read_bytes().startswith(b"slide,class,labelled_px,dice,")


def _lines(report: dict[str, Any], out: str) -> list[str]:
    lines = list(report["remarks"])
    for code, scores in report["overall"]["scores"].items():
        between = report["overall"]["intervals"][code]["dice"]
        interval = "" if between is None else f" ({between[0]:.3f} to {between[1]:.3f})"
        parts = [f"Dice {_shown(scores['dice'])}{interval}", f"IoU {_shown(scores['iou'])}",
                 f"precision {_shown(scores['precision'])}", f"recall {_shown(scores['recall'])}"]  # fmt: skip
        if scores.get("boundary_f1") is not None:
            parts.append(f"boundary F1 {_shown(scores['boundary_f1'])}")
        if scores.get("objects_f1") is not None:
            parts.append(f"objects F1 {_shown(scores['objects_f1'])}")
        lines.append(f"{code}: {', '.join(parts)}")
    return [*lines, f"results of {len(report['slides'])} slides are in {out}"]


def _shown(score: float | None) -> str:
    return "n/a" if score is None else f"{score:.3f}"


def _as_text(options: dict[str, Any]) -> dict[str, Any]:
    plain: Sequence[type] = (str, int, float, type(None))
    return {name: value if isinstance(value, tuple(plain)) else str(value) for name, value in options.items()}
