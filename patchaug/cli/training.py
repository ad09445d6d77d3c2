"""A whole run: slides in, a trained learner, its pictures and its report out."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# All of it, since fit_one_cycle and the progress bar are patched in by modules of their own.
from fastai.vision.all import Callback, DiceMulti, aug_transforms, set_seed, unet_learner

from patchaug.core.atomic import write_text
from patchaug.core.progress import bars
from patchaug.fastai2.dataloaders import SlideDataLoaders
from patchaug.fastai2.encoders import SMALL, architecture
from patchaug.fastai2.learner import predict_slide
from patchaug.options.fields import TrainOptions
from patchaug.predict.metrics import dice_by_class
from patchaug.viz import show_patches, show_prediction, show_windows

MODEL, REPORT, OPTIONS = "model.pkl", "report.json", "options.json"
_LOW, _FEW = 0.5, 200  # a Dice that is worth a remark, and batches that are few
WINDOWS, BATCH, PREDICTION = "windows.png", "batch.png", "prediction.png"


def run_training(
    train_pairs: Sequence[tuple[Path, Path]],
    valid_pairs: Sequence[tuple[Path, Path]],
    *,
    options: TrainOptions,
    out: Path,
    bars: bool = False,
) -> dict[str, Any]:
    """Train a U-Net on windows of slides and leave everything in a folder.

    Written to `out`: the options, pictures of the drawn windows and of a batch, the exported learner, a picture of the
    first validation slide with truth and prediction, and the report. Each file appears under its name when it is whole.
    Ctrl-C ends the training: the learner is exported as it is then, and the report says so.

    Args:
        train_pairs: (image, mask) paths to train on.
        valid_pairs: (image, mask) paths to validate on, whole.
        options: Windows, classes and schedule.
        out: Folder for the results; made if it is not there.
        bars: Show a bar on stderr.

    Returns:
        The report: options, seed, Dice per class over all validation slides, remarks on classes that were not learnt,
        patches per second, seconds.

    Raises:
        PatchaugError: The data or the options are not usable; nothing was trained.
        KeyboardInterrupt: The run was stopped before its first batch was trained.
    """
    started = time.monotonic()
    encoder = architecture(options.arch)
    out.mkdir(parents=True, exist_ok=True)
    set_seed(options.seed)
    # Flips, quarter turns and light: none of them invents a pixel at the border, as free rotation would.
    geometry = {"max_rotate": 0.0, "max_zoom": 1.0, "max_warp": 0.0}
    dls = SlideDataLoaders.from_lists(
        train_pairs, valid_pairs, codes=options.codes, ignore_index=options.ignore_index, options=options,
        bs=options.bs, num_workers=options.workers, path=out, batch_tfms=aug_transforms(flip_vert=True, **geometry),
    )  # fmt: skip
    absolute = {name: str(Path(getattr(options, name)).resolve()) for name in ("images", "masks")}
    options.model_copy(update=absolute).save(out / OPTIONS)
    _pictures_of_windows(dls.train, options, out)

    pace = Pace(options.epochs, bars)
    _say(_outlook(dls, options))
    # The small encoder already works at full resolution: fastai's last block, a third of the whole time, adds nothing.
    decoder = {"last_cross": False} if options.arch == SMALL else {}
    learn = unet_learner(
        dls, encoder, n_out=len(options.codes), pretrained=options.pretrained, metrics=DiceMulti(), cbs=pace, path=out,
        **decoder,
    )  # fmt: skip
    interrupted = False
    try:
        with learn.no_bar(), learn.no_logging():  # fastai's own are for notebooks, and write to stdout
            learn.fit_one_cycle(options.epochs, options.lr)
    except KeyboardInterrupt:
        interrupted = True
        if not pace.patches:
            raise
    finally:
        pace.after_fit()  # which fastai does not call then
    learn.remove_cb(pace)
    learn.export(MODEL)
    dice: dict[str, float | None] = {}
    if not interrupted:
        dice = _scored(learn, out)
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
    """What to try where a class was not learnt: a line for each whose Dice is below 0.5.

    Args:
        dice: Dice of each class over the validation slides; None for a class without a score.
        batches: Batches trained, of all epochs.
        patches: Patches in them.
    """
    cure = (
        f"{batches} batches ({patches} windows) are few to train on: try more --per-slide or --epochs"
        if batches < _FEW
        else f"look at {BATCH}, whether masks and images fit, and at {PREDICTION}; a larger --foreground or --size, or "
        f"slides more like those of the validation, may help"
    )
    low = {code: score for code, score in dice.items() if score is not None and score < _LOW}
    return [f'the Dice of "{code}" on the validation slides is {score:.3f}: {cure}' for code, score in low.items()]


def _outlook(dls: Any, options: TrainOptions) -> str:
    """What is about to happen, so that nobody waits for they know not what."""
    (train, batches), (valid, _) = ((dl.n, len(dl)) for dl in dls.loaders[:2])
    long = valid > 3 * train and options.valid == "grid"
    return (
        f"each of {options.epochs} epochs: {train} windows in {batches} batches to train on, {valid} to validate"
        + long * '; "--valid random" validates on fewer, and the last score is of whole slides all the same'
    )


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _pictures_of_windows(loader: Any, options: TrainOptions, out: Path) -> None:
    slides, plan = loader.slides, loader.plan
    draws = [draw.window for draw in plan.ordered(False) if draw.slide == 0]
    shown = draws[:100]  # more would hide the slide
    of = f"{len(shown)} of the {len(draws)}" if len(shown) < len(draws) else f"the {len(draws)}"
    title = f"{slides[0].name}: {of} windows of the first epoch"
    show_windows(slides[0], shown, out=out / WINDOWS, title=title)
    patches = [plan.read(plan[index]) for index in range(min(len(plan), 8))]
    show_patches(patches, codes=options.codes, out=out / BATCH, title="Patches of the first batch, with masks")


def _scored(learn: Any, out: Path) -> dict[str, float | None]:
    """Dice of each class over the whole validation slides, and a picture of the first."""
    valid = learn.dls.valid.slides
    predictions = [predict_slide(learn, slide) for slide in valid]
    levels = [law.domain.level for law in learn.dls.valid.plan.distributions]
    dice = dice_by_class(valid, predictions, levels=levels)
    show_prediction(valid[0], predictions[0], level=levels[0], dice=dice, out=out / PREDICTION)
    return dice


class Pace(Callback):
    """Counts patches, seconds and epochs of training; shows them, and says each epoch's losses and metrics on stderr.

    Args:
        epochs: Epochs in all.
        show: Show a bar.
    """

    order = 60  # after fastai's Recorder, whose values it tells
    run_valid = False

    def __init__(self, epochs: int, show: bool) -> None:
        self.epochs, self.show = epochs, show

    def before_fit(self) -> None:
        """Start from nothing."""
        self.patches, self.batches, self.seconds, self.epochs_done = 0, 0, 0.0, 0
        self._since = time.monotonic()
        self._bars = bars(self.show)
        self._bars.start()
        self._task = self._bars.add_task("training, patches", total=self.epochs * self.learn.dls.train.n)

    def before_train(self) -> None:
        """Start the clock."""
        self._since = time.monotonic()

    def after_batch(self) -> None:
        """Count the batch and its time."""
        now = time.monotonic()
        self.patches, self.batches = self.patches + len(self.learn.xb[0]), self.batches + 1
        self.seconds, self._since = self.seconds + now - self._since, now
        self._bars.update(self._task, completed=self.patches)

    def after_epoch(self) -> None:
        """Say how it went."""
        self.epochs_done += 1
        names, values = self.learn.recorder.metric_names[1:-1], self.learn.recorder.values[-1]
        scores = ", ".join(f"{name} {value:.4f}" for name, value in zip(names, values, strict=True))
        _say(f"epoch {self.epochs_done} of {self.epochs}: {scores}")

    def after_fit(self) -> None:
        """Take the bar away."""
        self._bars.stop()
