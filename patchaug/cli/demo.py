"""`patchaug demo`: train a model on generated slides."""

from __future__ import annotations

import json as json_module
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from patchaug.cli.common import Json, Options, Out, require, with_options
from patchaug.cli.run_folder import MAPS, MODEL, RunFolder
from patchaug.cli.split_pairs import pairs_of
from patchaug.cli.train import Overwrite, train_and_report
from patchaug.core.progress import progress
from patchaug.core.windows import Window
from patchaug.options.fields import TrainOptions

Side = Annotated[int, typer.Option(metavar="N", help="Side of the generated slides in pixels, at least 1024.")]


@with_options(
    TrainOptions, without=("images", "masks", "codes", "ignore_index", "outside", "label", "invalid",
        "mpp_of_slides", "valid_slides", "valid_pct", "pretrained"),
    size=128, per_slide=384, foreground=0.5, level=1, epochs=2, bs=16, lr=5e-3,
)  # fmt: skip
def demo(
    options: Options, out: Out = None, slide_size: Side = 6144, overwrite: Overwrite = False, json: Json = False
) -> None:
    """Generate slides, train on them, predict one, and write model, maps, figures and report to a folder.

    Example: patchaug demo --out demo
    """
    from patchaug.testing.synthetic_slides import write_slide

    require(slide_size >= 1024, f"--slide-size must be at least 1024, got {slide_size}")
    with closing(RunFolder.claim("patchaug-demo" if out is None else out, overwrite=overwrite)) as folder:
        slides = folder.path / "slides"
        settings = options(
            images=str(slides), masks=str(slides), codes=["background", "nucleus"], valid_slides=["slide2.tiff"]
        )
        for number in progress(range(3), 3, f"generating slides of {slide_size} x {slide_size} px", patience=0):
            write_slide(slides, f"slide{number}", size=slide_size, seed=settings.seed + number)
        train_and_report(
            *pairs_of(settings),
            settings,
            folder,
            as_json=json,
            and_then=lambda: _predicted(folder.path, settings, overwrite),
        )


def _predicted(folder: Path, settings: TrainOptions, overwrite: bool) -> tuple[dict[str, Any], str]:
    """Predict the validation slide to an OME-TIFF and a GeoJSON file, and open both again as masks of the slide."""
    from patchaug.cli.trained_models import load_model
    from patchaug.predict.output_folder import remove_predictions
    from patchaug.predict.predict_slides import predict_slides
    from patchaug.slides.open import open_slide

    model = folder / Path(MODEL).stem  # as data; a pickle where safetensors is not installed
    learn = load_model(model if model.is_dir() else folder / MODEL)
    image = folder / "slides" / "slide2.tiff"
    if overwrite:
        remove_predictions(folder / MAPS)
    maps, polygons = predict_slides(learn, [image], folder / MAPS, formats=["ome.tif", "geojson"])[0].files
    codes = settings.class_names
    classes = open_slide(image, maps, codes=codes)
    level = min(settings.level, len(classes.level_dimensions) - 1)
    whole = Window(0, 0, *classes.level_size(level), level)
    nuclei = len(json_module.loads(polygons.read_text())["features"])
    found = {"maps": [str(maps), str(polygons)], "nuclei": nuclei}
    text = f"{nuclei} nuclei are predicted in {polygons}, the class map is {maps}"
    if find_spec("shapely") is None:
        return found, f"{text}; to open polygons: pip install shapely"
    again = open_slide(image, polygons, codes=codes, outside=codes[0])
    require(
        bool((again.read_mask(whole) == classes.read_mask(whole)).all()), f"{polygons} and {maps} hold different maps"
    )
    return found, f"{text}; opened again as masks, both are the same, pixel by pixel"
