"""`patchaug show`: what will be drawn, before a night of training; and one sample of an error message."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from patchaug.cli.common import Json, Options, require, say, takes
from patchaug.cli.split_pairs import pairs_of
from patchaug.errors import OptionError
from patchaug.options.fields import PatchOptions, TrainOptions
from patchaug.sampling.plan import Plan
from patchaug.slides.open import open_slide
from patchaug.slides.slide import Slide

Mask = Annotated[Path | None, typer.Option(help="Its mask.")]
PicturePath = Annotated[Path, typer.Option(help="Where the picture goes: .png, or .html with --html.")]
Html = Annotated[bool, typer.Option("--html", help="A page for a browser instead: pan, zoom, epochs on and off.")]
What = Annotated[
    Literal["windows", "density", "coverage"],
    typer.Option(help="Windows of the epochs; how often each place is drawn; or what has been seen after them."),
]
Epochs = Annotated[int, typer.Option("--epochs", help="How many epochs to show, from the first on.", min=1)]
Index = Annotated[
    int | None,
    typer.Option(help="One sample: the index of an error message, with that run's --options; or of --augment.", min=0),
]
Pipeline = Annotated[
    str | None,
    typer.Option(
        "--augment", metavar="PIPELINE",
        help='One window and what augmentation makes of it: "histology", "aerial", or a file of albumentations.save.',
    ),
]  # fmt: skip
Draws = Annotated[int, typer.Option("--draws", help="How many augmented patches to show.", min=1)]
Names = Annotated[str | None, typer.Option("--names", help="Class names for the legend, with commas.")]


@takes(PatchOptions, size=256, per_slide=64, foreground=0.0)
def show(
    options: Options,
    slide: Annotated[Path | None, typer.Argument(help="The slide; left out, those of the run in --options.")] = None,
    mask: Mask = None,
    out: PicturePath = Path("view.png"),
    what: What = "windows",
    epochs: Epochs = 1,
    index: Index = None,
    augment: Pipeline = None,
    draws: Draws = 11,
    names: Names = None,
    html: Html = False,
    json: Json = False,
) -> None:
    """Draw the windows of a slide over it, one sample, or one window and what augmentation makes of it.

    Example: patchaug show slide.svs --mask mask.tiff --size 512 --foreground 0.5 --out view.png

    As a page for a browser: patchaug show slide.svs --mask mask.tiff --html --epochs 5 --out view.html

    Augmentation: patchaug show slide.svs --mask mask.tiff --size 256 --augment histology --out augment.png
    """
    made, codes = options(), names.split(",") if names else None
    if index is not None and augment is None:
        return _sample(options, index, slide, mask, out, json)
    require(slide is not None, "say which slide to show, as in: patchaug show slide.svs; or give --index and --options")
    assert slide is not None
    opened = open_slide(slide, mask, codes=codes, ram=made.ram)
    sampler = made.samplers().train
    if augment is not None:
        require(not html, "--augment makes a picture; leave --html out")
        return _augmented(opened, made, augment, index or 0, draws, out, json)
    if html:
        from patchaug.viz.web_page import write_page

        out = out.with_suffix(".html")
        write_page(Plan([opened], sampler, seed=made.seed, shuffle=False), out, epochs=epochs)
        return say({"out": str(out), "slide": str(slide), "what": "page"}, f"the page is in {out}", as_json=json)
    from patchaug.viz import show_coverage, show_density, show_windows  # matplotlib takes a while to import

    draw = {"windows": show_windows, "density": show_density, "coverage": show_coverage}[what]
    draw(opened, sampler, epochs=epochs, seed=made.seed, out=out)  # type: ignore[operator]
    return say({"out": str(out), "slide": str(slide), "what": what}, f"the picture is in {out}", as_json=json)


def _augmented(
    slide: Slide, made: PatchOptions, pipeline: str, index: int, draws: int, out: Path, as_json: bool
) -> None:
    from patchaug.augment import Augment, load_pipeline
    from patchaug.viz import show_augment

    sampler, augment = made.samplers().train, Augment(load_pipeline(pipeline).transform, halo=made.halo)
    show_augment(slide, sampler, augment, draws=draws, index=index, seed=made.seed, edge=made.edge, out=out)
    result = {"out": str(out), "slide": slide.name, "what": "augment", "pipeline": pipeline, "index": index}
    say(result, f"the picture is in {out}", as_json=as_json)


def _sample(options: Options, index: int, slide: Path | None, mask: Path | None, out: Path, as_json: bool) -> None:
    """Read one sample as its run does, and draw it; an error in reading it is the error of the run."""
    from patchaug.viz import show_patches

    run = _run_of(options)
    slides: list[Slide]
    if slide is not None:
        made, codes, ignore_index, slides = options(), None, None, [open_slide(slide, mask)]
    else:
        require(run is not None, "--index counts the windows of all slides of a run: give its --options, or a slide")
        assert run is not None
        made, codes, ignore_index = run, run.codes, run.ignore_index
        slides = [open_slide(i, m, codes=codes, ignore_index=ignore_index, ram=run.ram) for i, m in pairs_of(run)[0]]
    plan = Plan(slides, made.samplers().train, seed=made.seed)
    draw = plan[index]
    name = slides[draw.slide].name
    patch = plan.read(draw)
    where = f"x={draw.window.x} y={draw.window.y} of level {draw.window.level}"
    title = f"{name}: epoch {draw.epoch}, index {index}\n{where}"
    show_patches([patch], codes=codes, ignore_index=ignore_index, out=out, title=title)
    found = {"slide": name, "epoch": draw.epoch, "draw": draw.draw, "probability": draw.probability}
    window = {name: getattr(draw.window, name) for name in ("x", "y", "width", "height", "level")}
    say({"out": str(out), **found, "window": window}, f"{name}, {where}; the picture is in {out}", as_json=as_json)


def _run_of(options: Options) -> TrainOptions | None:
    """The whole run, where the options are of one."""
    try:
        run = options(model=TrainOptions)
    except OptionError:
        return None
    assert isinstance(run, TrainOptions)
    return run
