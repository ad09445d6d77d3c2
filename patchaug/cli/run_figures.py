"""Figures of a run, its scores on whole slides, and advice on them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from patchaug.cli.run_folder import BATCH, PREDICTION, WINDOWS
from patchaug.core.windows import Window
from patchaug.options.fields import TrainOptions
from patchaug.predict.metrics import dice_by_class
from patchaug.predict.predict_slide import predict_slide
from patchaug.slides.slide import Slide
from patchaug.viz import show_patches, show_prediction, show_windows

_LOW, _FEW = 0.5, 200  # a Dice below which to remark, and a small number of batches


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


def write_figures(loader: Any, options: TrainOptions, out: Path) -> None:
    """Draw the windows of the first training slide, and the patches of the first batch."""
    slides, plan = loader.slides, loader.plan
    first = next(number for number, count in enumerate(plan.counts) if count)
    draws = [draw.window for draw in plan.ordered(False) if draw.slide == first]
    shown = draws[:100]  # more would cover the slide
    of = f"{len(shown)} of the {len(draws)}" if len(shown) < len(draws) else f"the {len(draws)}"
    title = f"{slides[first].name}: {of} windows of the first epoch"
    show_windows(slides[first], shown, out=out / WINDOWS, title=title)
    patches = [plan.read(plan[index]) for index in range(min(len(plan), 8))]
    show_patches(patches, codes=options.class_names, out=out / BATCH, title="Patches of the first batch, with masks")


def _part(slide: Slide, level: int) -> Window | str:
    """Return the rectangle of a level that plans read; "all" for the whole slide."""
    left, top, right, bottom = slide.bounds(level)
    return "all" if slide.frame is None else Window(left, top, right - left, bottom - top, level)


def evaluate(learn: Any, out: Path) -> dict[str, float | None]:
    """Return the Dice of each class over the validation slides, and write a figure of the first."""
    plan = learn.dls.valid.plan
    used = [number for number, count in enumerate(plan.counts) if count]  # the others are smaller than a window
    valid = [plan.slides[number] for number in used]
    levels = [plan.distributions[number].domain.level for number in used]
    # Of slides that are cut in parts the validation part; of the first, which the figure shows, all.
    predictions = [
        predict_slide(learn, slide, region=_part(slide, level) if number else "all")
        for number, (slide, level) in enumerate(zip(valid, levels, strict=True))
    ]
    dice = dice_by_class(valid, predictions, levels=levels)
    show_prediction(valid[0], predictions[0], level=levels[0], dice=dice, out=out / PREDICTION)
    return dice
