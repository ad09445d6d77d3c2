"""`patchaug train`: from folders of slides and masks to a model."""

from __future__ import annotations

import warnings
from pathlib import Path

import typer

from patchaug.cli.common import Json, Options, Out, bars_wanted, say, takes
from patchaug.cli.split_pairs import Pairs, pairs_of
from patchaug.options.fields import TrainOptions


@takes(TrainOptions, size=256, per_slide=128, foreground=0.5)
def train(options: Options, out: Out = Path("patchaug-run"), json: Json = False) -> None:
    """Train on slides and masks of yours; leave model, pictures, report and options in a folder.

    Ctrl-C ends the run, and what was trained so far is kept.

    Example: patchaug train --images slides --masks masks --codes background,nucleus --size 256 --level 1

    The same run again: patchaug train --options patchaug-run/options.json
    """
    made = options()
    train_and_report(*pairs_of(made), made, out, as_json=json)


def train_and_report(
    train_pairs: Pairs, valid_pairs: Pairs, options: TrainOptions, out: Path, *, as_json: bool
) -> None:
    """Train, and say what came of it; exit code 1 where the run was ended before its time."""
    with warnings.catch_warnings():  # of fastai on what it uses of torch: nothing that a user could mend
        warnings.simplefilter("ignore", FutureWarning)
        from patchaug.cli.training import run_training  # it takes seconds, so wrong use is reported first

    report = run_training(train_pairs, valid_pairs, options=options, out=out, bars=bars_wanted(as_json))
    done = f"stopped after {report['epochs_done']} of {options.epochs} epochs; " if report["interrupted"] else ""
    say(
        {**report, "out": str(out)},
        *(f"Dice {code}: {'no such pixel' if s is None else f'{s:.3f}'}" for code, s in report["dice"].items()),
        *report["remarks"],
        f"{report['patches_per_second']} patches a second, {report['seconds']} s in all",
        f"{done}results are in {out}",
        as_json=as_json,
    )
    if report["interrupted"]:
        raise typer.Exit(1)
