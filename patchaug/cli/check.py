"""`patchaug check`: audit slides, masks and augmentation pipelines before training."""

from __future__ import annotations

import logging
import sys
from json import dumps
from pathlib import Path
from typing import Annotated, Any

import typer

from patchaug.cli.common import Json, number_or_text, require
from patchaug.core.class_codes import codes_from_text
from patchaug.core.validation import sides
from patchaug.data.image_pixels import ImagePixels
from patchaug.errors import PatchaugError
from patchaug.options.fields import PatchOptions
from patchaug.slides.audit_report import Report
from patchaug.slides.open import open_slide

CODES = "Class names in the order of the masks' integers, or what the masks hold: background=0,nucleus=255."
_SIDE = 512  # of the patches of --padding
Padding = Annotated[
    str | None,
    typer.Option(
        metavar="PIPELINE",
        help='Fraction of invented pixels of a pipeline: "histology", "aerial", or a JSON file of albumentations.save.',
    ),
]


def check(
    paths: Annotated[
        list[Path] | None, typer.Argument(metavar="SLIDE|FOLDER", help="Slides, and folders of slides.")
    ] = None,
    masks: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Folder of masks, named like their images.")
    ] = None,
    codes: Annotated[str | None, typer.Option(metavar="NAME,NAME", help=CODES)] = None,
    ignore_index: Annotated[
        int | None, typer.Option(metavar="N", help='Integer of the masks that means "no label".')
    ] = None,
    outside: Annotated[
        str | None, typer.Option(metavar="NAME", help="What no polygon covers: a class, or the ignored label.")
    ] = None,
    label: Annotated[
        str, typer.Option(metavar="NAME", help="Property of polygons that holds the class.")
    ] = "classification",
    invalid: Annotated[
        str, typer.Option(metavar="raise|skip|repair", help='Bad polygons: "raise", "skip" or "repair".')
    ] = "raise",
    channels: Annotated[str | None, typer.Option(metavar="TEXT", help="Channels to read, with commas.")] = None,
    series: Annotated[str | None, typer.Option(metavar="TEXT", help="Picture of files that hold several.")] = None,
    scale: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Values that become 0 and 1, LOW,HIGH; see patchaug stats.")
    ] = None,
    level: Annotated[int, typer.Option(metavar="N", help="Level of the patches of --size.")] = 0,
    mpp: Annotated[float | None, typer.Option(metavar="N", help="Micrometres per pixel of the patches.")] = None,
    mpp_of_slides: Annotated[
        float | None, typer.Option(metavar="N", help="Micrometres per pixel of all slides.")
    ] = None,
    sample: Annotated[
        int | None, typer.Option(metavar="N", help="Number of tiles to decode in each file; all by default.")
    ] = None,
    manifest: Annotated[Path | None, typer.Option(metavar="FILE", help="Compare the files with this manifest.")] = None,
    write_manifest: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a manifest unless there are problems.")
    ] = None,
    ram: Annotated[str, typer.Option(metavar="SIZE", help='Memory for decoded pixels: "auto", "8GB", or 0.')] = "auto",
    isolated: Annotated[
        bool, typer.Option("--isolated", help="Check each slide in a process of its own: for slides from strangers.")
    ] = False,
    workers: Annotated[
        int, typer.Option(metavar="N", help="Slides to check at a time, each in another process.", min=1)
    ] = 1,
    padding: Padding = None,
    size: Annotated[
        str | None, typer.Option(metavar="N", help="Side of the patches: each slide must have room for one.")
    ] = None,
    json: Json = False,
) -> None:
    """Decode every tile of slides once, and compare masks with images and codes. Exit code 1 means problems.

    Takes the data options of `patchaug train`, and reports what training would refuse, with the same words.

    Example: patchaug check slides --masks masks --codes background,nucleus --write-manifest slides.json

    An augmentation pipeline: patchaug check --padding histology --size 512
    """
    require(bool(paths) or padding is not None, "name slides or folders to check, or a pipeline: --padding histology")
    given = {"channels": channels, "series": series, "scale": scale, "size": size}
    flags = {name: text for name, text in given.items() if text is not None}
    options = PatchOptions.layered(flags, defaults={"size": _SIDE})
    if padding is not None:
        _padding(padding, max(sides(options.size)), as_json=json)
    if not paths:
        return
    require(size is not None or mpp is None, "--mpp and --level describe the patches of --size; add --size 512")
    from patchaug.slides.audit import audit_slides

    logging.getLogger("tifffile").disabled = True  # broken tags are reported as problems
    names = None if codes is None else codes_from_text(codes)
    reports = audit_slides(
        paths, masks=masks, codes=names, ignore_index=ignore_index, outside=number_or_text(outside), label=label,
        invalid=invalid, channels=options.channels, series=options.series,
        size=None if size is None else options.size, level=level, mpp=mpp, mpp_of_slides=mpp_of_slides, sample=sample,
        manifest=manifest, new_manifest=write_manifest, ram=int(ram) if ram.isdigit() else ram, isolated=isolated,
        workers=workers,
    )  # fmt: skip
    reports = _with_scale(reports, options, isolated=isolated)
    problems = sum(len(report.problems) for report in reports)
    if json:
        typer.echo(dumps({"slides": [report.as_dict() for report in reports], "problems": problems}))
    else:
        _table(reports, None if names is None else list(names))
    if write_manifest is not None and problems:
        typer.echo(f"{write_manifest} was not written; solve the problems first", err=True)
    if problems:
        raise typer.Exit(1)


def _with_scale(reports: list[Report], options: PatchOptions, *, isolated: bool) -> list[Report]:
    """Add what training says of the scale: a note where none is given, a problem where it has other channels."""
    done: set[Any] = set()
    for number, one in enumerate(reports):
        if one.format is None or one.problems or one.format in done or (one.dtype == "uint8" and options.scale is None):
            continue
        done.add(one.format)
        if isolated and options.scale is None:  # the slide is opened in no other process than its own
            reports[number] = one.with_note(f"pixels are {one.dtype}; patchaug stats finds --scale")
            continue
        try:
            slide = open_slide(one.path, channels=options.channels, series=options.series, ram=options.ram)
            ImagePixels(scale=options.scale).require_format([slide])
        except PatchaugError as error:
            text = str(error).removeprefix(f"{Path(one.path).name}: ")
            reports[number] = one.with_note(text) if options.scale is None else one.with_problem(text)
    return reports


def _padding(pipeline: str, size: int, *, as_json: bool) -> None:
    """Print the fraction of pixels that a pipeline invents, with its halo and without."""
    from patchaug.augment import load_pipeline, padded_share

    augment = load_pipeline(pipeline)
    y, x = augment.needed(size, size)
    with_halo, cropped = (padded_share(augment.transform, size, halo=halo) for halo in (max(y, x), 0))
    if as_json:
        typer.echo(dumps({"pipeline": pipeline, "size": size, "halo": [y, x], "padded": with_halo, "cropped": cropped}))
    else:
        typer.echo(f"{augment!r} on {size} x {size} px: halo {y} x {x} px, {with_halo:.2%} of the pixels are invented")
        typer.echo(f"on patches that are cropped first: {cropped:.2%}")


def _table(reports: list[Any], codes: list[str] | None) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("slide", "size", "pixels", "levels", "mpp", "codec", "tiles", "classes", "problems")
    for report in reports:
        whole = sum(report.pixels.values())
        classes = ", ".join(
            f"{codes[value] if codes and 0 <= value < len(codes) else value} {pixels / whole:.2%}"
            for value, pixels in report.pixels.items()
        )
        size = "-" if report.size is None else f"{report.size[0]} x {report.size[1]}"
        mpp = "-" if report.mpp is None else f"{report.mpp[0]:.4g}"
        problems = str(len(report.problems)) if report.problems else "none"
        tiles = f"{report.tiles} ({report.missing} not stored)" if report.missing else str(report.tiles)
        kind = "-" if report.format is None else f"{report.channels} x {report.dtype}"
        table.add_row(
            Path(report.path).name, size, kind, str(report.levels), mpp, report.codec, tiles, classes, problems
        )
    console = Console(width=None if sys.stdout.isatty() else 200, markup=False)
    console.print(table)
    for report in reports:
        for problem in report.problems:
            typer.echo(f"{report.path}: {problem}")
        for note in report.notes:
            typer.echo(f"{report.path}: note: {note}")
