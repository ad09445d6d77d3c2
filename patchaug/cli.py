"""The command line: `patchaug demo`, `patchaug train` and `patchaug check`."""

from __future__ import annotations

import logging
import sys
from fnmatch import fnmatch
from hashlib import blake2b
from json import dumps
from pathlib import Path
from typing import Annotated, Any

import typer

from patchaug.errors import OptionError, PatchaugError

app = typer.Typer(
    help="Train fastai on slides too large to be samples. No tile is written to disk.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Out = Annotated[Path, typer.Option(help="Folder for the results.")]
Size = Annotated[int, typer.Option(help="Side of the windows in pixels of the level.")]
PerSlide = Annotated[int, typer.Option(help="Windows of each slide in an epoch.")]
Share = Annotated[float, typer.Option(help="Probability that a window is drawn for its foreground, 0 to 1.")]
Level = Annotated[int, typer.Option(help="Pyramid level to read, 0 is the finest.")]
Seed = Annotated[int, typer.Option(help="Same seed, same windows.")]
Epochs = Annotated[int, typer.Option(help="Passes over the slides' windows.")]
Batch = Annotated[int, typer.Option("--bs", help="Patches in a batch.")]
Rate = Annotated[float, typer.Option("--lr", help="Highest learning rate.")]
Arch = Annotated[str, typer.Option(help='Encoder of the U-Net: "small", or one of torchvision, such as resnet34.')]
Workers = Annotated[int | None, typer.Option(help="Processes that read; fastai chooses when left out.")]
Ram = Annotated[str, typer.Option(help='Memory for decoded pixels: "auto", "8GB", or 0.')]


@app.command()
def demo(
    out: Out = Path("patchaug-demo"),
    size: Size = 128,
    per_slide: PerSlide = 384,
    share: Share = 0.5,
    level: Level = 1,
    seed: Seed = 42,
    epochs: Epochs = 2,
    bs: Batch = 16,
    lr: Rate = 5e-3,
    arch: Arch = "small",
    workers: Workers = None,
    slide_size: Annotated[int, typer.Option(help="Side of the made slides in pixels, at least 1024.")] = 6144,
) -> None:
    """Make slides, train on them, and leave model, pictures and report in a folder.

    Example: patchaug demo --out demo
    """
    from patchaug.synthetic import write_slide

    _check(slide_size >= 1024, f"--slide-size must be at least 1024, got {slide_size}")
    folder = out / "slides"
    pairs = []
    for number in range(3):
        typer.echo(f"making slide {number + 1} of 3, {slide_size} x {slide_size} px", err=True)
        pairs.append(write_slide(folder, f"slide{number}", size=slide_size, seed=seed + number))
    _train(
        pairs[:2], pairs[2:], codes=["background", "nucleus"], void=None, ram="auto", pretrained=False,
        size=size, per_slide=per_slide, share=share, level=level, seed=seed,
        out=out, epochs=epochs, bs=bs, lr=lr, arch=arch, workers=workers,
    )  # fmt: skip


@app.command()
def train(
    images: Annotated[Path, typer.Option(help="Folder of slides.")],
    masks: Annotated[Path, typer.Option(help="Folder of masks, named like their images, with or without _mask.")],
    codes: Annotated[str, typer.Option(help="Class names in the order of the masks' integers, with commas.")],
    out: Out = Path("patchaug-run"),
    size: Size = 256,
    per_slide: PerSlide = 64,
    share: Share = 0.5,
    level: Level = 0,
    seed: Seed = 42,
    epochs: Epochs = 5,
    bs: Batch = 8,
    lr: Rate = 3e-3,
    arch: Arch = "small",
    workers: Workers = None,
    valid: Annotated[
        list[str] | None, typer.Option(help='Names of validation slides, such as "valid_*"; may be repeated.')
    ] = None,
    valid_pct: Annotated[
        float, typer.Option(help="Share of the slides for validation, where --valid is not set.")
    ] = 0.2,
    overlap: Annotated[int, typer.Option(help="Pixels that neighbours of the validation grid share.")] = 0,
    void: Annotated[int | None, typer.Option(help='Integer of the masks that means "no label".')] = None,
    ram: Ram = "auto",
    pretrained: Annotated[bool, typer.Option(help="Start from torchvision's weights.")] = False,
) -> None:
    """Train on slides and masks of yours.

    Example: patchaug train --images slides --masks masks --codes background,nucleus --size 256 --level 1
    """
    from patchaug.files import find_masks, get_slide_files

    files = get_slide_files(images)
    pairs = list(zip(files, find_masks(files, masks), strict=True))
    train_pairs, valid_pairs = _split(pairs, valid or [], valid_pct, seed)
    _train(
        train_pairs, valid_pairs, codes=[code.strip() for code in codes.split(",")], void=void, ram=_ram(ram),
        pretrained=pretrained, size=size, per_slide=per_slide, share=share, level=level, seed=seed, overlap=overlap,
        out=out, epochs=epochs, bs=bs, lr=lr, arch=arch, workers=workers,
    )  # fmt: skip


@app.command()
def check(
    paths: Annotated[list[Path], typer.Argument(help="Slides, and folders of slides.")],
    masks: Annotated[Path | None, typer.Option(help="Folder of masks, named like their images.")] = None,
    codes: Annotated[str | None, typer.Option(help="Class names in the order of the masks' integers.")] = None,
    void: Annotated[int | None, typer.Option(help='Integer of the masks that means "no label".')] = None,
    sample: Annotated[int | None, typer.Option(help="Decode so many tiles of each file instead of all.")] = None,
    manifest: Annotated[Path | None, typer.Option(help="Say which files are not as this manifest says.")] = None,
    write_manifest: Annotated[Path | None, typer.Option(help="Write a manifest, if there is no problem.")] = None,
    ram: Ram = "auto",
    json: Annotated[bool, typer.Option("--json", help="One JSON object instead of a table.")] = False,
) -> None:
    """Decode every tile of slides once, and compare masks with images and codes. Exit code 1 if there are problems.

    Example: patchaug check slides --masks masks --codes background,nucleus --write-manifest slides.json
    """
    from patchaug.check import check as run

    logging.getLogger("tifffile").disabled = True  # what it says of broken tags, the problems say
    names = None if codes is None else [code.strip() for code in codes.split(",")]
    reports = run(
        paths, masks=masks, codes=names, void=void, sample=sample, manifest=manifest, new_manifest=write_manifest,
        ram=_ram(ram),
    )  # fmt: skip
    problems = sum(len(report.problems) for report in reports)
    if json:
        typer.echo(dumps({"slides": [report.as_dict() for report in reports], "problems": problems}))
    else:
        _table(reports, names)
    if write_manifest is not None and problems:
        typer.echo(f"{write_manifest} is not written: solve the problems first", err=True)
    if problems:
        raise typer.Exit(1)


def main() -> None:
    """Entry point: an error of ours is one line, and exit code 1, or 2 for wrong use."""
    try:
        app()
    except PatchaugError as error:
        typer.echo(f"patchaug: {error}", err=True)
        sys.exit(2 if isinstance(error, OptionError) else 1)


def _train(pairs: Any, valid_pairs: Any, *, codes: list[str], out: Path, **values: Any) -> None:
    from patchaug.options import PatchOptions

    options = PatchOptions(**{name: values.pop(name) for name in PatchOptions.model_fields if name in values})
    from patchaug.training import train as run  # torch takes seconds to import: wrong use is told before that

    report = run(pairs, valid_pairs, codes=codes, options=options, out=out, **values)
    for code, score in report["dice"].items():
        typer.echo(f"Dice {code}: {'no such pixel' if score is None else f'{score:.3f}'}")
    typer.echo(f"{report['patches_per_second']} patches a second, {report['seconds']} s in all")
    typer.echo(f"results are in {out}")


def _table(reports: list[Any], codes: list[str] | None) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("slide", "size", "levels", "mpp", "codec", "tiles", "classes", "problems")
    for report in reports:
        whole = sum(report.pixels.values())
        classes = ", ".join(
            f"{codes[value] if codes and 0 <= value < len(codes) else value} {pixels / whole:.2%}"
            for value, pixels in report.pixels.items()
        )
        size = "-" if report.size is None else f"{report.size[0]} x {report.size[1]}"
        mpp = "-" if report.mpp is None else f"{report.mpp[0]:.4g}"
        problems = str(len(report.problems)) if report.problems else "none"
        table.add_row(
            Path(report.path).name, size, str(report.levels), mpp, report.codec, str(report.tiles), classes, problems
        )
    console = Console(width=None if sys.stdout.isatty() else 200, markup=False)
    console.print(table)
    for report in reports:
        for problem in report.problems:
            typer.echo(f"{report.path}: {problem}")


def _split(
    pairs: list[tuple[Path, Path]], patterns: list[str], share: float, seed: int
) -> tuple[list[tuple[Path, Path]], list[tuple[Path, Path]]]:
    """Training and validation pairs: by name where patterns are given, else by chance."""
    if patterns:
        for pattern in patterns:
            _check(
                any(fnmatch(image.name, pattern) for image, _ in pairs), f"--valid {pattern}: no slide has such a name"
            )
        chosen = [any(fnmatch(image.name, pattern) for pattern in patterns) for image, _ in pairs]
    else:
        # By a hash of the name, not by place: another slide more or less hardly changes who is validated on.
        order = sorted(pairs, key=lambda pair: blake2b(f"{seed}/{pair[0].name}".encode()).digest())
        chosen = [pair in order[: round(share * len(pairs))] for pair in pairs]
    left, right = ([pair for pair, c in zip(pairs, chosen, strict=True) if c is side] for side in (False, True))
    _check(
        bool(left and right),
        f"{len(left)} slides are left for training and {len(right)} for validation of {len(pairs)}; the split is by "
        f"slide, so each side needs one: change --valid or --valid-pct, or add slides",
    )
    return left, right


def _ram(text: str) -> int | str:
    return int(text) if text.isdigit() else text


def _check(good: bool, message: str) -> None:
    if not good:
        raise OptionError(message)
