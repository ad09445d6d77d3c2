"""`patchaug train`: train a model on folders of slides and masks."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import typer

from patchaug.cli.common import Json, Options, Out, bars_wanted, print_result, with_options
from patchaug.cli.cross_validation import train_folds
from patchaug.cli.split_pairs import Pairs, pairs_of
from patchaug.options.fields import TrainOptions


@with_options(TrainOptions, size=256, per_slide=128, foreground=0.5)
def train(options: Options, out: Out = Path("patchaug-run"), json: Json = False) -> None:
    """Train on slides and masks, and write model, figures, report and options to a folder.

    Ctrl-C ends the run and saves the model trained so far.

    Example: patchaug train --images slides --masks masks --codes background,nucleus --size 256 --level 1

    Slides listed in a CSV: patchaug train --table slides.csv --codes background,nucleus --folds 5

    Repeat a run: patchaug train --options patchaug-run/options.json
    """
    settings = options()
    if settings.folds is not None and settings.fold is None:
        _train_folds(settings, out, as_json=json)
    else:
        train_and_report(*pairs_of(settings), settings, out, as_json=json)


def _train_folds(options: TrainOptions, out: Path, *, as_json: bool) -> None:
    """Train all folds, and print the Dice of each class: its mean, deviation and folds."""

    def train_fold(fold: TrainOptions, folder: Path) -> dict[str, Any]:
        return train_and_report(*pairs_of(fold), fold, folder, as_json=as_json, quiet=as_json)

    summary = train_folds(options, out, train_fold)
    lines = [
        f"Dice {code}, {options.folds} folds: "
        + ("n/a (no pixels)" if found["mean"] is None else f"{found['mean']:.3f}, deviation {found['sd']:.3f}")
        for code, found in summary["dice"].items()
    ]
    print_result({**summary, "out": str(out)}, *lines, f"results are in {out}", as_json=as_json)


def train_and_report(
    train_pairs: Pairs, valid_pairs: Pairs, options: TrainOptions, out: Path, *, as_json: bool, quiet: bool = False
) -> dict[str, Any]:
    """Run the training, print the report unless `quiet`, and return it; exit with code 1 if it was interrupted."""
    with warnings.catch_warnings():  # fastai's use of torch, which users cannot change
        warnings.simplefilter("ignore", FutureWarning)
        from patchaug.cli.training import run_training  # it with_options seconds, so wrong use is reported first

    report = run_training(train_pairs, valid_pairs, options=options, out=out, bars=bars_wanted(as_json))
    done = f"stopped after {report['epochs_done']} of {options.epochs} epochs; " if report["interrupted"] else ""
    if not quiet:
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
    return report
