"""`patchaug train`: train a model on folders of slides and masks."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from patchaug.cli.common import Json, Options, Out, bars_wanted, print_result, require, with_options
from patchaug.cli.cross_validation import train_folds
from patchaug.cli.run_folder import DEFAULT, OPTIONS, RunFolder
from patchaug.cli.split_pairs import Pairs, pairs_of
from patchaug.core.messages import messages_from
from patchaug.errors import MissingError
from patchaug.options.fields import TrainOptions

Overwrite = Annotated[bool, typer.Option("--overwrite", help="Remove the results of an ended run in --out.")]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on with the run in --out, by default the latest; its options are known.")
]


@with_options(TrainOptions, size=256, per_slide=128, foreground=0.5)
def train(
    options: Options, out: Out = None, overwrite: Overwrite = False, resume: Resume = False, json: Json = False
) -> None:
    """Train on slides and masks, and write model, figures, report and options to a folder.

    Each run has a folder of its own: patchaug-run, patchaug-run-2, and so on. Ctrl-C and SIGTERM end the run after a
    batch and save its state; --resume goes on.

    Example: patchaug train --images slides --masks masks --codes background,nucleus --size 256 --level 1

    Slides listed in a CSV: patchaug train --table slides.csv --codes background,nucleus --folds 5

    Repeat a run: patchaug train --options patchaug-run/options.json

    Go on with it: patchaug train --resume --out patchaug-run
    """
    if resume:
        require(not overwrite, "--resume goes on with a run, and --overwrite removes it; leave one of them out")
        require(options.file is None, "--resume reads the options of the run; leave --options out")
        with closing(RunFolder.reopen(out)) as folder:
            settings = options(file=folder.path / OPTIONS)
            train_and_report(*pairs_of(settings), settings, folder, as_json=json, resume=True)
        return
    settings = options()
    folds = settings.folds is not None and settings.fold is None
    pairs = None if folds else pairs_of(settings)
    with closing(RunFolder.claim(DEFAULT if out is None else out, overwrite=overwrite)) as folder:
        if pairs is None:
            _train_folds(settings, folder.path, overwrite=overwrite, as_json=json)
        else:
            train_and_report(*pairs, settings, folder, as_json=json)


def _train_folds(options: TrainOptions, out: Path, *, overwrite: bool, as_json: bool) -> None:
    """Train all folds, and print the Dice of each class: its mean, deviation and folds."""
    started = time.monotonic()  # the time limit is that of all folds

    def train_fold(fold: TrainOptions, path: Path) -> dict[str, Any]:
        pairs = pairs_of(fold)
        with closing(RunFolder.claim(path, overwrite=overwrite)) as folder:
            return train_and_report(*pairs, fold, folder, as_json=as_json, quiet=as_json, started=started)

    summary = train_folds(options, out, train_fold)
    lines = [
        f"Dice {code}, {options.folds} folds: "
        + ("n/a (no pixels)" if found["mean"] is None else f"{found['mean']:.3f}, deviation {found['sd']:.3f}")
        for code, found in summary["dice"].items()
    ]
    print_result({**summary, "out": str(out)}, *lines, f"results are in {out}", as_json=as_json)


@contextmanager
def _removal_in_one_line(out: Path) -> Iterator[None]:
    """Raise MissingError if something is not found because the folder of the run was removed."""
    try:
        yield
    except FileNotFoundError as error:
        if out.is_dir() or isinstance(error, MissingError):
            raise
        raise MissingError(f"{out}: the folder of the run was removed; choose a folder that stays") from None


def train_and_report(
    train_pairs: Pairs, valid_pairs: Pairs, options: TrainOptions, folder: RunFolder, *, as_json: bool,
    resume: bool = False, quiet: bool = False, started: float | None = None,
    and_then: Callable[[], tuple[dict[str, Any], str]] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Run the training, print the report unless `quiet`, and return it; exit with code 1 if it was interrupted.

    `and_then` is called after a whole training; it returns what to add to the printed report, and a line of text.
    """
    with warnings.catch_warnings():  # fastai's use of torch, which users cannot change
        warnings.simplefilter("ignore", FutureWarning)
        from patchaug.cli.training import resume_command, run_training  # takes seconds, so wrong use is reported first

    out = folder.path
    with messages_from(options.log_level), _removal_in_one_line(out):
        report = run_training(
            train_pairs, valid_pairs, options=options, folder=folder, bars=bars_wanted(as_json), resume=resume,
            started=started,
        )  # fmt: skip
    why = "by the time limit " if report["ended"] == "time limit" else ""
    done = f"stopped {why}after {report['epochs_done']} of {options.epochs} epochs; " if report["interrupted"] else ""
    more = f"; go on with: {resume_command(out)}" if report["interrupted"] else ""
    also, line = and_then() if and_then is not None and not report["interrupted"] else ({}, "")
    if not quiet:
        print_result(
            {**report, "out": str(out), **also},
            *(f"Dice {code}: {'n/a (no pixels)' if s is None else f'{s:.3f}'}" for code, s in report["dice"].items()),
            *report["remarks"],
            f"{report['patches_per_second']} patches a second, {report['seconds']} s in all",
            *([line] if line else []),
            f"{done}results are in {out}{more}",
            as_json=as_json,
        )
    if report["interrupted"]:
        raise typer.Exit(1)
    return report
