"""Training run: from slides to a trained learner, figures and a report."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

# fastai.vision.all, because its modules patch the progress bar into Learner.
from fastai.vision.all import set_seed

from patchaug.cli.class_pixels import absent_remark, balanced_weights, class_pixels
from patchaug.cli.learner import describe_compute, make_callbacks, make_learner, make_loaders, make_loss, require_model
from patchaug.cli.pace import Pace
from patchaug.cli.provenance import changed_files, command_line, data_manifest, git_state, versions
from patchaug.cli.run_figures import evaluate, remarks, write_figures
from patchaug.cli.run_folder import BEST_MODEL, CURVES, EVENTS, HISTORY, LOSSES, MODEL, OPTIONS, REPORT, RunFolder
from patchaug.cli.split_pairs import region_files
from patchaug.core.atomic import write_text
from patchaug.core.messages import print_message
from patchaug.core.ranks import read_ranks
from patchaug.core.stop_signals import on_stop_signal, print_in_handler
from patchaug.data.rank_job import lost_rank
from patchaug.errors import MissingError, OptionError, PatchaugError, WriteError
from patchaug.fastai2.checkpoint import BEST, CHECKPOINT, Checkpoint
from patchaug.fastai2.checkpoint_files import load_best
from patchaug.fastai2.event_log import EventLog, require_tensorboard
from patchaug.fastai2.history import History
from patchaug.fastai2.model_folder import save_model
from patchaug.fastai2.rank_training import RankTraining
from patchaug.fastai2.run_limits import EarlyStopping, TimeLimit
from patchaug.fastai2.schedules import fit_schedule
from patchaug.options.fields import TrainOptions
from patchaug.options.learner_fields import PIPELINES
from patchaug.readers.urls import as_url
from patchaug.viz.curves import show_curves

# Options that may change when a run is resumed: neither windows nor weights change, but for a device's rounding.
FREE = {
    "workers", "ram", "index_cache", "index_workers", "checkpoint_minutes", "device", "time_limit", "log", "log_level",
}  # fmt: skip
_COPIES = 10  # of the weights, that a run may need on the disk at a time: checkpoints hold two averages besides them


def run_training(
    train_pairs: Sequence[tuple[Path, Path]],
    valid_pairs: Sequence[tuple[Path, Path]],
    *,
    options: TrainOptions,
    folder: RunFolder,
    bars: bool = False,
    resume: bool = False,
    started: float | None = None,
) -> dict[str, Any]:
    """Train a U-Net, or a model of the user's, on windows of slides, and write the results to a folder.

    The folder receives the options, figures of the drawn windows and of a batch, checkpoints and `history.csv` while
    the run goes on, curves, the exported learners of the last and the best epoch, a figure of the first validation
    slide with truth and prediction, and the report. Files are written atomically. Ctrl-C, SIGTERM and the time limit
    end the training after a batch: its state is saved, the learner is exported, and the report has `interrupted` set.

    Args:
        train_pairs: (image, mask) paths to train on.
        valid_pairs: (image, mask) paths to validate on, whole.
        options: Windows, classes and schedule.
        folder: Claimed folder for the results.
        bars: Show a progress bar on stderr.
        resume: Go on from the checkpoint in the folder.
        started: `time.monotonic()` from which the time limit counts; default: now.

    Returns:
        The report: options, seed, Dice per class over all validation slides, remarks on poorly learnt classes, patches
        per second, seconds, and what the result depends on.

    Raises:
        PatchaugError: The data or the options are invalid, or the results cannot be written.
        KeyboardInterrupt: The run was interrupted before the first batch was trained.
    """
    began, out, ranks = time.monotonic(), folder.path, read_ranks()
    if options.log == "tensorboard":
        require_tensorboard()
    if not resume:
        require_model(options)
    set_seed(options.seed)
    dls = make_loaders(train_pairs, valid_pairs, options, out)
    compute_cbs = make_callbacks(dls, options)
    learn = make_learner(dls, options, out, resume=resume)
    _require_space(learn.model, out)
    pipelines = [Path(options.augment)] if options.augment.lower().endswith(PIPELINES) else []
    regions = region_files(options, [image for image, _ in (*train_pairs, *valid_pairs)])
    named = ["images", "masks", "table", "init"] + ["augment"] * len(pipelines)
    paths = {name: getattr(options, name) for name in named + ["region"] * (options.region != "tissue")}
    absolute = {name: as_url(path) or str(Path(path).resolve()) for name, path in paths.items() if path is not None}
    options = options.model_copy(update=absolute)
    extra = {
        "options": options.model_dump(mode="json"),
        "data": data_manifest(path for group in (*train_pairs, *valid_pairs, pipelines, regions) for path in group),
    }
    checkpoint = Checkpoint(out, minutes=options.checkpoint_minutes, resume=resume, extra=extra)
    if resume:
        _require_same_run(checkpoint.extra, extra)
    elif ranks.is_first:
        folder.remove_results()
        options.save(out / OPTIONS)
        write_figures(dls.train, options, out)

    pixels = class_pixels(dls.train, len(options.codes))
    absent = [code for code, count in zip(options.class_names, pixels, strict=True) if not count]
    remark = absent_remark(absent, len(dls.train.slides))
    if remark is not None:
        print_message(remark, "warning")
    weights = options.numbers_of_classes(options.codes)
    if options.class_weights == "balanced":
        weights = balanced_weights(pixels)
        numbers = ", ".join(f"{code} {weight:.4g}" for code, weight in zip(options.class_names, weights, strict=True))
        print_message(f"class weights: {numbers}")
    history = History(out / HISTORY, options.class_names, options.ignore_index)
    pace = Pace(history, options.epochs, bars)
    print_message(_summary(dls, options))
    learn.loss_func = make_loss(options, weights)
    computed = describe_compute(learn, options)
    print_message(computed, "info" if options.amp else "debug")
    cbs = [*compute_cbs, history, pace, checkpoint]
    if ranks.world_size > 1:
        cbs.append(RankTraining())
    if options.log == "tensorboard" and ranks.is_first:
        cbs.append(EventLog(out / EVENTS, history))
    if options.time_limit_seconds is not None:
        cbs.append(TimeLimit(checkpoint, options.time_limit_seconds, began if started is None else started))
    early = None if options.early_stopping is None else EarlyStopping(checkpoint, options.early_stopping)
    interrupted = _fit(learn, options, [*cbs, *([] if early is None else [early])], checkpoint, pace)
    if early is not None and early.stopped:
        print_message(f"no better {checkpoint.monitor} since epoch {early.best_epoch}: the run ends early")
    if interrupted and not history.batches:
        raise KeyboardInterrupt
    if not ranks.is_first:  # rank 0 writes the results
        return {"interrupted": interrupted}
    try:
        if checkpoint.clean:
            _write_model(learn, options, MODEL)
        if history.rows:
            show_curves(history.rows, options.class_names, out=out / CURVES)
        if dls.train.adaptation is not None:
            dls.train.adaptation.save(out / LOSSES)
        dice: dict[str, float | None] = {}
        if not interrupted:
            dice = evaluate(learn, out)
            if checkpoint.best is not None and (out / BEST).is_file():
                load_best(out / BEST, learn.model)
                _write_model(learn, options, BEST_MODEL)
        seconds = sum(row["seconds reading"] + row["seconds model"] for row in history.rows)
        seconds += history.seconds["reading"] + history.seconds["model"]
        report = {
            "dice": dice,
            "remarks": [
                *([remark] if remark is not None else []),
                *remarks({code: s for code, s in dice.items() if code not in absent}, history.batches, history.patches),
            ],
            "patches_per_second": round(history.patches / max(seconds, 1e-9), 1),
            "seconds": round(time.monotonic() - began, 1),
            "epochs_done": len(history.rows),
            "interrupted": interrupted,
            "ended": checkpoint.stopped or ("early stopping" if early is not None and early.stopped else "all epochs"),
            "class_weights": weights,
            "compute": computed,
            "best": checkpoint.best,
            "history": history.rows,
            "seed": options.seed,
            "options": options.model_dump(),
            "train": [str(image) for image, _ in train_pairs],
            "valid": [str(image) for image, _ in valid_pairs],
            "versions": versions(),
            "git": git_state(),
            "command": command_line(),
            "data": checkpoint.extra["data"],
        }
        write_text(out / REPORT, json.dumps(report, indent=2) + "\n", "report")
    except (WriteError, MissingError) as error:
        if not out.is_dir():
            raise WriteError(f"{out} was removed while the run was going, and its results with it") from None
        raise WriteError(f"{error}; {checkpoint.left()}; then go on with: {resume_command(out)}") from None
    except KeyboardInterrupt:
        print_message(f"stopped before all results were written; go on with: {resume_command(out)}")
        raise
    if not interrupted:
        for name in (CHECKPOINT, BEST):
            with suppress(FileNotFoundError):
                (out / name).unlink()
    return report


def _write_model(learn: Any, options: TrainOptions, name: str) -> None:
    """Write a model twice: as a learner that fastai loads, and as data, which runs no code when it is loaded."""
    learn.export(name)
    if find_spec("safetensors") is None:
        print_message(
            "the model is written as a pickle only; for a folder of weights as data: pip install safetensors", "warning"
        )
    elif options.model is None or options.model.startswith("smp:"):  # a model of the user's own needs code
        arch = options.arch if options.model is None else options.model
        save_model(learn, Path(learn.path, name).with_suffix(""), arch=arch, options=options)


def resume_command(out: Path) -> str:
    """Return the command that goes on with a run."""
    return f"patchaug train --resume --out {out}"


def _fit(learn: Any, options: TrainOptions, cbs: list[Any], checkpoint: Checkpoint, pace: Pace) -> bool:
    """Train; return True if the run was interrupted, with its state saved."""

    def stop(name: str) -> None:
        checkpoint.stop(name)
        if read_ranks().is_first:
            print_in_handler(f"{name}: the run ends after this batch and saves its state")

    with learn.added_cbs(cbs):  # they outlast `fit`, which takes the learner from its own callbacks after an error
        try:
            grace = 10 * (read_ranks().world_size > 1)
            with on_stop_signal(stop, grace=grace), learn.no_bar(), learn.no_logging():  # fastai's are for notebooks
                fit_schedule(learn, options.schedule, options.epochs, options.lr, [])
        except BaseException as error:
            if isinstance(error, WriteError):
                raise
            saved = _save_after(checkpoint)
            if not isinstance(error, KeyboardInterrupt) and (checkpoint.stopped is None or lost_rank(error)):
                if saved:
                    print_message(
                        f"the state of {checkpoint.place()} is saved; go on with: {resume_command(learn.path)}",
                        "warning",
                    )
                raise
            if not saved:
                print_message(f"the last batch was not saved; {checkpoint.left()}", "warning")
            return True
        finally:
            pace.after_fit()  # fastai skips it after an error
    return checkpoint.stopped is not None


def _save_after(checkpoint: Checkpoint) -> bool:
    """Save the state after an error between two batches, such as a worker that was killed."""
    if not checkpoint.clean or not checkpoint.learn.train_iter:
        return False
    try:
        checkpoint.save()
    except PatchaugError:
        return False
    return True


def _require_same_run(saved: dict[str, Any], now: dict[str, Any]) -> None:
    """Raise OptionError if options or data differ from those of the run that is resumed."""
    changed = [
        name for name in now["options"] if name not in FREE and saved["options"].get(name) != now["options"][name]
    ]
    if changed:
        changes = ", ".join(
            f"{name} was {saved['options'].get(name)!r}, now {now['options'][name]!r}" for name in changed
        )
        raise OptionError(
            f"--resume goes on with the options of the run: {changes}; leave them out, or start a new run"
        )
    files = changed_files(saved["data"], now["data"])
    if files:
        raise OptionError(
            f"{len(files)} files of the data have changed since the run began: {', '.join(files[:3])}; the rest of the "
            f"run would train on other pixels: put them back, or start a new run"
        )


def _require_space(model: Any, out: Path) -> None:
    """Raise WriteError if the disk has too little space for the results."""
    weights = sum(value.numel() * value.element_size() for value in model.state_dict().values())
    free = shutil.disk_usage(out).free
    if free < _COPIES * weights:
        raise WriteError(
            f"{out}: checkpoints and models of this run need about {_COPIES * weights / 2**20:.0f} MiB, and the disk "
            f"has {free / 2**20:.0f} MiB left; free some space, or choose another disk with --out"
        )


def _summary(dls: Any, options: TrainOptions) -> str:
    """Summarize the planned run in one line."""
    (train, batches), (valid, _) = ((dl.n, len(dl)) for dl in dls.loaders[:2])
    long = valid > 3 * train and options.valid == "grid"
    return (
        f"each of {options.epochs} epochs: {train} training windows in {batches} batches, {valid} validation windows"
        + long * '; "--valid random" validates on fewer windows, and the final score still uses whole slides'
    )
