"""`patchaug train`: train a model on folders of slides and masks."""

from __future__ import annotations

import warnings
from pathlib import Path

import typer

from patchaug.cli.common import Json, Options, Out, bars_wanted, print_result, with_options
from patchaug.cli.split_pairs import Pairs, pairs_of
from patchaug.options.fields import TrainOptions


@with_options(TrainOptions, size=256, per_slide=128, foreground=0.5)
def train(options: Options, out: Out = Path("patchaug-run"), json: Json = False) -> None:
    """Train on slides and masks, and write model, figures, report and options to a folder.

    Ctrl-C ends the run and saves the model trained so far.

    Example: patchaug train --images slides --masks masks --codes background,nucleus --size 256 --level 1

    Repeat a run: patchaug train --options patchaug-run/options.json
    """
    settings = options()
    train_and_report(*pairs_of(settings), settings, out, as_json=json)


def train_and_report(
    train_pairs: Pairs, valid_pairs: Pairs, options: TrainOptions, out: Path, *, as_json: bool
) -> None:
    """Run the training and print the report; exit with code 1 if the run was interrupted."""
    with warnings.catch_warnings():  # fastai's use of torch, which users cannot change
        warnings.simplefilter("ignore", FutureWarning)
        from patchaug.cli.training import run_training  # it with_options seconds, so wrong use is reported first

    report = run_training(train_pairs, valid_pairs, options=options, out=out, bars=bars_wanted(as_json))
    done = f"stopped after {report['epochs_done']} of {options.epochs} epochs; " if report["interrupted"] else ""
    print_result(
        {**report, "out": str(out)},
        *(f"Dice {code}: {'n/a (no pixels)' if s is None else f'{s:.3f}'}" for code, s in report["dice"].items()),
        *report["remarks"],
        f"{report['patches_per_second']} patches a second, {report['seconds']} s in all",
        f"{done}results are in {out}",
        as_json=as_json,
    )
    if report["interrupted"]:
        raise typer.Exit(1)
