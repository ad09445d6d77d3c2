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
from patchaug.cli.ranks import launch_name, one_voice
from patchaug.cli.run_folder import DEFAULT, OPTIONS, RunFolder
from patchaug.cli.split_pairs import Pairs, pairs_of
from patchaug.core.messages import messages_from
from patchaug.core.ranks import Ranks, read_ranks
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

    Four processes: torchrun --nproc-per-node 4 -m patchaug train --bs 32 ...; bs is the batch of all of them together.
    """
    require(
        not (resume and overwrite), "--resume goes on with a run, and --overwrite removes it; leave one of them out"
    )
    require(not resume or options.file is None, "--resume reads the options of the run; leave --options out")
    with one_voice(as_json=json) as ranks:
        settings = None if resume else options()
        if settings is not None and settings.folds is not None and settings.fold is None:
            with closing(_folder(ranks, out, overwrite=overwrite)[0]) as folder:
                _train_folds(settings, folder.path, ranks, overwrite=overwrite, as_json=json)
            return
        pairs = None if settings is None else pairs_of(settings)
        folder, resume = _folder(ranks, out, overwrite=overwrite, resume=resume)
        with closing(folder):
            if resume:
                settings = options(file=folder.path / OPTIONS)
                pairs = pairs_of(settings)
            assert settings is not None
            assert pairs is not None
            train_and_report(*pairs, settings, folder, as_json=json, resume=resume)


def _folder(ranks: Ranks, out: str | Path | None, *, overwrite: bool, resume: bool = False) -> tuple[RunFolder, bool]:
    """Claim the folder of a run on rank 0; return it, and whether its run goes on.

    A run that torchrun starts again goes on in its folder.
    """
    folder, launch = None, launch_name()
    if ranks.is_first:
        folder = RunFolder.reopen(out) if resume else RunFolder.of_launch(DEFAULT if out is None else out, launch)
        resume = folder is not None
        if folder is None:
            folder = RunFolder.claim(DEFAULT if out is None else out, overwrite=overwrite, launch=launch)
    if ranks.world_size == 1:
        assert folder is not None
        return folder, resume
    from patchaug.data.rank_job import value_of_first_rank  # it loads torch

    path, resume = value_of_first_rank(None if folder is None else (folder.path, resume))
    return RunFolder.of_first_rank(path) if folder is None else folder, resume


def _train_folds(options: TrainOptions, out: Path, ranks: Ranks, *, overwrite: bool, as_json: bool) -> None:
    """Train all folds, and print the Dice of each class: its mean, deviation and folds."""
    started = time.monotonic()  # the time limit is that of all folds

    def train_fold(fold: TrainOptions, path: Path) -> dict[str, Any]:
        pairs = pairs_of(fold)
        folder, resume = _folder(ranks, path, overwrite=overwrite)
        with closing(folder):
            return train_and_report(
                *pairs, fold, folder, as_json=as_json, quiet=as_json, started=started, resume=resume
            )

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
    level = options.log_level if read_ranks().is_first else "error"
    with messages_from(level), _removal_in_one_line(out):
        report = run_training(
            train_pairs, valid_pairs, options=options, folder=folder, bars=bars_wanted(as_json), resume=resume,
            started=started,
        )  # fmt: skip
    if not read_ranks().is_first:
        if report["interrupted"]:
            raise typer.Exit(1)
        return report
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
