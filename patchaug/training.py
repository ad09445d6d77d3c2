"""A whole run: slides in, a trained learner, its pictures and its report out."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# All of it, since fit_one_cycle and the progress bar are patched in by modules of their own.
from fastai.vision.all import Callback, DiceMulti, aug_transforms, set_seed, unet_learner

from patchaug.fastai2.arch import SMALL, architecture
from patchaug.fastai2.evaluate import predict_slide
from patchaug.fastai2.factory import SlideDataLoaders
from patchaug.options import PatchOptions
from patchaug.scores import dice_by_class
from patchaug.show import show_patches, show_prediction, show_windows

MODEL, REPORT = "model.pkl", "report.json"
WINDOWS, BATCH, PREDICTION = "windows.png", "batch.png", "prediction.png"


def train(
    train_pairs: Sequence[tuple[Path, Path]],
    valid_pairs: Sequence[tuple[Path, Path]],
    *,
    codes: Sequence[str],
    options: PatchOptions,
    out: Path,
    arch: str = "small",
    epochs: int = 1,
    bs: int = 16,
    lr: float = 3e-3,
    workers: int | None = None,
    void: int | None = None,
    ram: int | str = "auto",
    pretrained: bool = False,
) -> dict[str, Any]:
    """Train a U-Net on windows of slides and leave everything in a folder.

    Written to `out`: the exported learner, pictures of the drawn windows, of a batch, and of the first validation slide
    with truth and prediction, and the report. Each file appears under its name when it is whole.

    Args:
        train_pairs: (image, mask) paths to train on.
        valid_pairs: (image, mask) paths to validate on, whole.
        codes: Class names in the order of the masks' integers.
        options: The windows.
        out: Folder for the results; made if it is not there.
        arch: "small", or an encoder of torchvision, such as "resnet18".
        epochs: Passes over the plan.
        bs: Patches in a batch.
        lr: Highest learning rate of the one-cycle schedule.
        workers: Processes that read; None lets fastai choose.
        void: Integer of the masks that means "no label".
        ram: Budget for decoded pixels, see `open_slide`.
        pretrained: Start from torchvision's weights, which are then looked up by torchvision.

    Returns:
        The report: options, seed, Dice per class over all validation slides, patches per second, seconds.

    Raises:
        PatchaugError: The data or the options are not usable; nothing was trained.
    """
    started = time.monotonic()
    encoder = architecture(arch)
    out.mkdir(parents=True, exist_ok=True)
    set_seed(options.seed)
    # Flips, quarter turns and light: none of them invents a pixel at the border, as free rotation would.
    geometry = {"max_rotate": 0.0, "max_zoom": 1.0, "max_warp": 0.0}
    dls = SlideDataLoaders.from_lists(
        train_pairs, valid_pairs, codes=codes, void=void, options=options, ram=ram, bs=bs, num_workers=workers,
        path=out, batch_tfms=aug_transforms(flip_vert=True, **geometry),
    )  # fmt: skip
    slides, plan = dls.train.slides, dls.train.plan
    draws = [draw.window for draw in plan.ordered(False) if draw.slide == 0]
    shown = draws[:100]  # more would hide the slide
    title = f"{slides[0].name}: {len(shown)} of the {len(draws)} windows of the first epoch"
    show_windows(slides[0], shown, out=out / WINDOWS, title=title)
    patches = [plan.read(plan[index]) for index in range(min(len(plan), 8))]
    show_patches(patches, codes=list(codes), out=out / BATCH, title="Patches of the first batch, with masks")

    pace = Pace()
    # The small encoder already works at full resolution: fastai's last block, a third of the whole time, adds nothing.
    decoder = {"last_cross": False} if arch == SMALL else {}
    learn = unet_learner(
        dls, encoder, n_out=len(codes), pretrained=pretrained, metrics=DiceMulti(), cbs=pace, path=out, **decoder
    )
    learn.fit_one_cycle(epochs, lr)
    learn.remove_cb(pace)

    valid = dls.valid.slides
    predictions = [predict_slide(learn, slide) for slide in valid]
    levels = [law.frame.level for law in dls.valid.plan.laws]
    dice = dice_by_class(valid, predictions, levels=levels)
    show_prediction(valid[0], predictions[0], level=levels[0], dice=dice, out=out / PREDICTION)
    learn.export(MODEL + ".part")
    os.replace(out / (MODEL + ".part"), out / MODEL)
    report = {
        "dice": dice,
        "patches_per_second": round(pace.patches / max(pace.seconds, 1e-9), 1),
        "seconds": round(time.monotonic() - started, 1),
        "seed": options.seed,
        "options": options.model_dump(),
        "arch": arch,
        "epochs": epochs,
        "bs": bs,
        "lr": lr,
        "codes": list(codes),
        "train": [str(image) for image, _ in train_pairs],
        "valid": [str(image) for image, _ in valid_pairs],
    }
    part = out / (REPORT + ".part")
    part.write_text(json.dumps(report, indent=2) + "\n")
    os.replace(part, out / REPORT)
    return report


class Pace(Callback):
    """Counts the patches of training and the seconds that it took, without validation."""

    run_valid = False

    def before_fit(self) -> None:
        """Start from nothing."""
        self.patches, self.seconds = 0, 0.0

    def before_train(self) -> None:
        """Start the clock."""
        self._since = time.monotonic()

    def after_batch(self) -> None:
        """Count the batch."""
        self.patches += len(self.learn.xb[0])

    def after_train(self) -> None:
        """Stop the clock."""
        self.seconds += time.monotonic() - self._since
