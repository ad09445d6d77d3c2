"""`patchaug demo`: train a model on generated slides."""

from __future__ import annotations

from contextlib import closing
from typing import Annotated

import typer

from patchaug.cli.common import Json, Options, Out, require, with_options
from patchaug.cli.run_folder import RunFolder
from patchaug.cli.split_pairs import pairs_of
from patchaug.cli.train import Overwrite, train_and_report
from patchaug.core.progress import progress
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
    """Generate slides, train on them, and write model, figures, report and options to a folder.

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
        train_and_report(*pairs_of(settings), settings, folder, as_json=json)
