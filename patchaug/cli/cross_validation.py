"""Cross-validation: one run for each fold, and the scores of all."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

from patchaug.core.atomic import write_text
from patchaug.options.fields import TrainOptions

FOLDS = "folds.json"


def train_folds(
    options: TrainOptions, out: Path, train_fold: Callable[[TrainOptions, Path], dict[str, Any]]
) -> dict[str, Any]:
    """Train each fold in a folder of its own, `fold-1` and on, and write the scores of all.

    Args:
        options: Options of the run; `folds` is set.
        out: Folder of the folders.
        train_fold: Function that trains one fold and returns its report.

    Returns:
        Dice of each class by fold, its mean and standard deviation over the folds with a score.
    """
    assert options.folds is not None
    reports = [
        train_fold(options.model_copy(update={"fold": fold}), out / f"fold-{fold}")
        for fold in range(1, options.folds + 1)
    ]
    summary = summarize([report["dice"] for report in reports])
    write_text(out / FOLDS, json.dumps(summary, indent=2) + "\n", "scores of the folds")
    return summary


def summarize(scores: Sequence[dict[str, float | None]]) -> dict[str, Any]:
    """Return for each class its Dice in each fold, the mean and the standard deviation; None without a score."""
    found: dict[str, Any] = {}
    for code in scores[0]:
        by_fold = [fold.get(code) for fold in scores]
        known = [score for score in by_fold if score is not None]
        found[code] = {
            "folds": by_fold,
            "mean": fmean(known) if known else None,
            "sd": pstdev(known) if known else None,
        }
    return {"dice": found}
