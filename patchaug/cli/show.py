"""`patchaug show`: show windows before training, or replay the sample of an error message."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from patchaug.cli.common import Json, Options, number_or_text, print_result, require, require_picture, with_options
from patchaug.cli.split_pairs import pairs_of, regions_of
from patchaug.core.class_codes import codes_from_text
from patchaug.core.outputs import checked_output
from patchaug.errors import OptionError
from patchaug.options.fields import PatchOptions, TrainOptions
from patchaug.sampling.index_requests import prepare_indexes
from patchaug.sampling.plan import Plan
from patchaug.slides.open import open_slide
from patchaug.slides.slide import Slide
from patchaug.slides.split_region import split_region

Mask = Annotated[Path | None, typer.Option(metavar="FILE", help="Mask of the slide.")]
ImagePath = Annotated[
    str | None, typer.Option(metavar="FILE", help="File to write: .png, or .html with --html.", show_default="view.png")
]
Html = Annotated[bool, typer.Option("--html", help="Write an HTML page with pan, zoom and epochs instead.")]
What = Annotated[
    Literal["windows", "density", "coverage"],
    typer.Option(help="Windows of the epochs, sampling density, or the fraction covered after each epoch."),
]
Epochs = Annotated[int, typer.Option("--epochs", metavar="N", help="Number of epochs to show, from the first.", min=1)]
Index = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Index of a sample, as in an error message, with --options of its run; or of --augment.",
        min=0,
    ),
]
Pipeline = Annotated[
    str | None,
    typer.Option(
        "--augment", metavar="PIPELINE",
        help='Show one window augmented by a pipeline: "histology", "aerial", or a file of albumentations.save.',
    ),
]  # fmt: skip
Draws = Annotated[int, typer.Option("--draws", metavar="N", help="Number of augmented patches.", min=1)]
Codes = Annotated[
    str | None,
    typer.Option(
        "--codes", "--names", metavar="NAME,NAME",
        help="Class names, or what the mask holds: background=0,nucleus=255.",
    ),
]  # fmt: skip
IgnoreIndex = Annotated[int | None, typer.Option(metavar="N", help='Integer of the mask that means "no label".')]
Outside = Annotated[
    str | None, typer.Option(metavar="NAME", help="What no polygon covers: a class, or the ignored label.")
]
Label = Annotated[str, typer.Option(metavar="NAME", help="Property of polygons that holds the class.")]
Prediction = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Predicted classes, a layer of the page: an ome.tif, or a geojson.")
]
Probabilities = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Probabilities, layers of the page: a probabilities.ome.tif.")
]


@with_options(PatchOptions, size=256, per_slide=64, foreground=0.0)
def show(
    options: Options,
    slide: Annotated[
        Path | None, typer.Argument(metavar="SLIDE", help="Slide; by default, the slides of the run in --options.")
    ] = None,
    mask: Mask = None,
    out: ImagePath = None,
    what: What = "windows",
    epochs: Epochs = 1,
    index: Index = None,
    augment: Pipeline = None,
    draws: Draws = 11,
    codes: Codes = None,
    ignore_index: IgnoreIndex = None,
    outside: Outside = None,
    label: Label = "classification",
    html: Html = False,
    prediction: Prediction = None,
    probabilities: Probabilities = None,
    json: Json = False,
) -> None:
    """Draw the windows of a slide, one sample, or one window and its augmented versions.

    Example: patchaug show slide.svs --mask mask.tiff --size 512 --foreground 0.5 --out view.png

    HTML page: patchaug show slide.svs --mask mask.tiff --html --epochs 5 --out view.html

    Predictions: patchaug show slide.svs --html --prediction maps/slide.ome.tif --codes background,nucleus

    Augmentation: patchaug show slide.svs --mask mask.tiff --size 256 --augment histology --out augment.png
    """
    made = options()
    labels = {
        "codes": codes_from_text(codes) if codes else None, "ignore_index": ignore_index,
        "outside": number_or_text(outside), "label": label,
    }  # fmt: skip
    require(
        html or not (prediction or probabilities), "--prediction and --probabilities are layers of a page; add --html"
    )
    require(augment is None or not html, "--augment writes a PNG file; remove --html")
    file = _checked(out, html, [slide, mask, options.file, augment, prediction, probabilities])
    if index is not None and augment is None:
        return _sample(options, index, None if slide is None else (slide, mask), labels, file, json)
    require(slide is not None, "give a slide, as in: patchaug show slide.svs; or --index and --options")
    assert slide is not None
    require_picture(slide)
    opened = _opened(slide, mask, made, labels)
    samplers = made.samplers()
    sampler = samplers.train
    with samplers.indexing.keeping():
        prepare_indexes(sampler, [opened], workers=samplers.indexing.workers)
    if augment is not None:
        return _augmented(opened, made, augment, index or 0, draws, file, json)
    if html:
        from patchaug.viz.web_page import write_page
        from patchaug.viz.web_page.layers import layers_of_files

        layers = layers_of_files(opened, prediction, probabilities)
        write_page(Plan([opened], sampler, seed=made.seed, shuffle=False), file, epochs=epochs, layers=layers)
        return print_result({"out": str(file), "slide": str(slide), "what": "page"}, f"wrote {file}", as_json=json)
    from patchaug.viz import show_coverage, show_density, show_windows  # matplotlib with_options a while to import

    draw = {"windows": show_windows, "density": show_density, "coverage": show_coverage}[what]
    draw(opened, sampler, epochs=epochs, seed=made.seed, out=file)  # type: ignore[operator]
    return print_result({"out": str(file), "slide": str(slide), "what": what}, f"wrote {file}", as_json=json)


def _checked(out: str | None, html: bool, inputs: list[Any]) -> Path:
    """Return the path of the picture or page, before slides are opened."""
    content, suffixes = ("page", [".html", ".htm"]) if html else ("picture", [".png"])
    return checked_output(f"view{suffixes[0]}" if out is None else out, content, suffixes, inputs=inputs)


def _opened(slide: Path, mask: Path | None, made: PatchOptions, labels: dict[str, Any]) -> Slide:
    """Open the slide of the command line, as training with the same options would."""
    return open_slide(slide, mask, **labels, channels=made.channels, series=made.series, ram=made.ram)


def _augmented(
    slide: Slide, made: PatchOptions, pipeline: str, index: int, draws: int, out: Path, as_json: bool
) -> None:
    from patchaug.augment import Augment, load_pipeline
    from patchaug.viz import show_augment

    sampler, augment = made.samplers().train, Augment(load_pipeline(pipeline).transform, halo=made.halo)
    show_augment(slide, sampler, augment, draws=draws, index=index, seed=made.seed, edge=made.edge, out=out)
    result = {"out": str(out), "slide": slide.name, "what": "augment", "pipeline": pipeline, "index": index}
    print_result(result, f"wrote {out}", as_json=as_json)


def _sample(
    options: Options, index: int, slide: tuple[Path, Path | None] | None, labels: dict[str, Any], out: Path,
    as_json: bool,
) -> None:  # fmt: skip
    """Read one sample as in its run, and draw it; errors are those of the run."""
    from patchaug.augment import as_augment
    from patchaug.viz import show_patches

    run = _run_of(options)
    slides: list[Slide]
    if slide is not None:
        made, codes, ignore_index = options(), labels["codes"], labels["ignore_index"]
        slides = [_opened(*slide, made, labels)]
    else:
        require(run is not None, "--index needs the --options of its run, or a slide")
        assert run is not None
        made, codes, ignore_index = run, run.class_names, run.ignore_index
        pairs = pairs_of(run)[0]
        checked_output(out, "picture", [".png"], inputs=[path for pair in pairs for path in pair])
        chosen: dict[str, Any] = {"channels": run.channels, "series": run.series, "ram": run.ram}
        labels = run.label_arguments()
        where_drawn = regions_of(run, [image for image, _ in pairs])
        slides = [
            open_slide(image, mask, **labels, **chosen, mpp=run.mpp_of_slides, region=region)
            for (image, mask), region in zip(pairs, where_drawn, strict=True)
        ]
        if run.split_region is not None:
            slides = [split_region(one, run.split_region, guard=run.guard, seed=run.seed)[0] for one in slides]
    augment = None if run is None or slide is not None else as_augment(run.pipeline(), run.halo)
    plan = made.samplers(augment).plan("train", slides, seed=made.seed, shuffle=True)
    draw = plan[index]
    name = slides[draw.slide].name
    patch = plan.read(draw)
    where = f"x={draw.window.x} y={draw.window.y} of level {draw.window.level}"
    title = f"{name}: epoch {draw.epoch}, index {index}\n{where}"
    show_patches([patch], codes=None if codes is None else list(codes), ignore_index=ignore_index, out=out, title=title)
    found = {"slide": name, "epoch": draw.epoch, "draw": draw.draw, "probability": draw.probability}
    window = {name: getattr(draw.window, name) for name in ("x", "y", "width", "height", "level")}
    print_result({"out": str(out), **found, "window": window}, f"{name}, {where}; wrote {out}", as_json=as_json)


def _run_of(options: Options) -> TrainOptions | None:
    """Return the options of a whole run, or None if they are incomplete."""
    try:
        run = options(model=TrainOptions)
    except OptionError:
        return None
    assert isinstance(run, TrainOptions)
    return run
