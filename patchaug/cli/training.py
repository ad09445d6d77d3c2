"""Training run: from slides to a trained learner, figures and a report."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# fastai.vision.all, because its modules patch fit_one_cycle and the progress bar into Learner.
from fastai.vision.all import Callback, aug_transforms, set_seed, unet_learner

from patchaug.cli.split_pairs import with_pixel_size
from patchaug.core.atomic import write_text
from patchaug.core.progress import bars
from patchaug.fastai2.dataloaders import SlideDataLoaders
from patchaug.fastai2.encoders import SMALL, architecture
from patchaug.fastai2.metrics import SlideDice
from patchaug.options.fields import TrainOptions
from patchaug.predict.metrics import dice_by_class
from patchaug.predict.predict_slide import predict_slide
from patchaug.viz import show_patches, show_prediction, show_windows

MODEL, REPORT, OPTIONS = "model.pkl", "report.json", "options.json"
_LOW, _FEW = 0.5, 200  # a Dice below which to remark, and a small number of batches
WINDOWS, BATCH, PREDICTION = "windows.png", "batch.png", "prediction.png"


def run_training(
    train_pairs: Sequence[tuple[Path, Path]],
    valid_pairs: Sequence[tuple[Path, Path]],
    *,
    options: TrainOptions,
    out: Path,
    bars: bool = False,
) -> dict[str, Any]:
    """Train a U-Net on windows of slides, and write the results to a folder.

    The folder receives the options, figures of the drawn windows and of a batch, the exported learner, a figure of the
    first validation slide with truth and prediction, and the report. Files are written atomically. Ctrl-C ends the
    training; the learner is exported in its current state, and the report has `interrupted` set.

    Args:
        train_pairs: (image, mask) paths to train on.
        valid_pairs: (image, mask) paths to validate on, whole.
        options: Windows, classes and schedule.
        out: Folder for the results; created if missing.
        bars: Show a progress bar on stderr.

    Returns:
        The report: options, seed, Dice per class over all validation slides, remarks on poorly learnt classes, patches
        per second, and seconds.

    Raises:
        PatchaugError: The data or the options are invalid; nothing was trained.
        KeyboardInterrupt: The run was interrupted before the first batch was trained.
    """
    started = time.monotonic()
    encoder = architecture(options.arch)
    out.mkdir(parents=True, exist_ok=True)
    set_seed(options.seed)
    # Flips, quarter turns and light: unlike free rotation, they invent no pixels at the border.
    geometry = {"max_rotate": 0.0, "max_zoom": 1.0, "max_warp": 0.0}
    dls = SlideDataLoaders.from_lists(
        with_pixel_size(train_pairs, options), with_pixel_size(valid_pairs, options), **options.label_arguments(),
        mpp=options.mpp_of_slides, options=options, bs=options.bs, num_workers=options.workers, path=out,
        batch_tfms=aug_transforms(flip_vert=True, **geometry),
    )  # fmt: skip
    paths = {name: getattr(options, name) for name in ("images", "masks", "table")}
    absolute = {name: str(Path(path).resolve()) for name, path in paths.items() if path is not None}
    options.model_copy(update=absolute).save(out / OPTIONS)
    _write_figures(dls.train, options, out)

    pace = Pace(options.epochs, bars)
    _print_message(_summary(dls, options))
    # The small encoder works at full resolution: fastai's last block would add a third of the time and change nothing.
    decoder = {"last_cross": False} if options.arch == SMALL else {}
    learn = unet_learner(
        dls, encoder, n_in=dls.train.slides[0].channels, n_out=len(options.codes),
        pretrained=options.pretrained, metrics=SlideDice(), cbs=pace, path=out,
        **decoder,
    )  # fmt: skip
    interrupted = False
    try:
        with learn.no_bar(), learn.no_logging():  # fastai's are for notebooks, and write to stdout
            learn.fit_one_cycle(options.epochs, options.lr)
    except KeyboardInterrupt:
        interrupted = True
        if not pace.patches:
            raise
    finally:
        pace.after_fit()  # fastai skips it after an interrupt
    learn.remove_cb(pace)
    learn.export(MODEL)
    dice: dict[str, float | None] = {}
    if not interrupted:
        dice = _evaluate(learn, out)
    report = {
        "dice": dice,
        "remarks": remarks(dice, pace.batches, pace.patches),
        "patches_per_second": round(pace.patches / max(pace.seconds, 1e-9), 1),
        "seconds": round(time.monotonic() - started, 1),
        "epochs_done": pace.epochs_done,
        "interrupted": interrupted,
        "seed": options.seed,
        "options": options.model_dump(),
        "train": [str(image) for image, _ in train_pairs],
        "valid": [str(image) for image, _ in valid_pairs],
    }
    write_text(out / REPORT, json.dumps(report, indent=2) + "\n", "report")
    return report


def remarks(dice: Mapping[str, float | None], batches: int, patches: int) -> list[str]:
    """Give advice for each class with a Dice below 0.5.

    Args:
        dice: Dice of each class over the validation slides; None for a class without a score.
        batches: Number of batches trained in all epochs.
        patches: Number of patches in them.
    """
    cure = (
        f"{batches} batches ({patches} windows) are few to train on: try more --per-slide or --epochs"
        if batches < _FEW
        else f"look at {BATCH}, whether masks and images fit, and at {PREDICTION}; a larger --foreground or --size, or "
        f"slides more like those of the validation, may help"
    )
    low = {code: score for code, score in dice.items() if score is not None and score < _LOW}
    return [f'the Dice of "{code}" on the validation slides is {score:.3f}: {cure}' for code, score in low.items()]


def _summary(dls: Any, options: TrainOptions) -> str:
    """Summarize the planned run in one line."""
    (train, batches), (valid, _) = ((dl.n, len(dl)) for dl in dls.loaders[:2])
    long = valid > 3 * train and options.valid == "grid"
    return (
        f"each of {options.epochs} epochs: {train} training windows in {batches} batches, {valid} validation windows"
        + long * '; "--valid random" validates on fewer windows, and the final score still uses whole slides'
    )


def _print_message(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _write_figures(loader: Any, options: TrainOptions, out: Path) -> None:
    slides, plan = loader.slides, loader.plan
    draws = [draw.window for draw in plan.ordered(False) if draw.slide == 0]
    shown = draws[:100]  # more would cover the slide
    of = f"{len(shown)} of the {len(draws)}" if len(shown) < len(draws) else f"the {len(draws)}"
    title = f"{slides[0].name}: {of} windows of the first epoch"
    show_windows(slides[0], shown, out=out / WINDOWS, title=title)
    patches = [plan.read(plan[index]) for index in range(min(len(plan), 8))]
    show_patches(patches, codes=options.class_names, out=out / BATCH, title="Patches of the first batch, with masks")


def _evaluate(learn: Any, out: Path) -> dict[str, float | None]:
    """Return the Dice of each class over the validation slides, and write a figure of the first."""
    valid = learn.dls.valid.slides
    predictions = [predict_slide(learn, slide) for slide in valid]
    levels = [law.domain.level for law in learn.dls.valid.plan.distributions]
    dice = dice_by_class(valid, predictions, levels=levels)
    show_prediction(valid[0], predictions[0], level=levels[0], dice=dice, out=out / PREDICTION)
    return dice


class Pace(Callback):
    """Count patches, seconds and epochs of training, and print losses and metrics of each epoch on stderr.

    Args:
        epochs: Number of epochs.
        show: Show a progress bar.
    """

    order = 60  # after fastai's Recorder, whose values it prints
    run_valid = False

    def __init__(self, epochs: int, show: bool) -> None:
        self.epochs, self.show = epochs, show

    def before_fit(self) -> None:
        """Reset the counters."""
        self.patches, self.batches, self.seconds, self.epochs_done = 0, 0, 0.0, 0
        self._since = time.monotonic()
        self._bars = bars(self.show)
        self._bars.start()
        self._task = self._bars.add_task("training, patches", total=self.epochs * self.learn.dls.train.n)

    def before_train(self) -> None:
        """Start the clock."""
        self._since = time.monotonic()

    def after_batch(self) -> None:
        """Count the batch and its seconds."""
        now = time.monotonic()
        self.patches, self.batches = self.patches + len(self.learn.xb[0]), self.batches + 1
        self.seconds, self._since = self.seconds + now - self._since, now
        self._bars.update(self._task, completed=self.patches)

    def after_epoch(self) -> None:
        """Print the losses and metrics of the epoch."""
        self.epochs_done += 1
        names, values = self.learn.recorder.metric_names[1:-1], self.learn.recorder.values[-1]
        scores = ", ".join(f"{name} {value:.4f}" for name, value in zip(names, values, strict=True))
        _print_message(f"epoch {self.epochs_done} of {self.epochs}: {scores}")

    def after_fit(self) -> None:
        """Remove the bar."""
        self._bars.stop()
