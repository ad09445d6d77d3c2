"""Report of an evaluation: scores of each slide and of all, with intervals, as JSON and CSV store them."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from patchaug.core.validation import SEED
from patchaug.predict.bootstrap import SAMPLES, bootstrap_intervals
from patchaug.predict.evaluation import SlideEvaluation, WorstWindow
from patchaug.predict.scores import ScoreCounts, as_number, as_report, scores_of, sum_counts

COVERAGE = 0.95


def evaluation_report(slides: Sequence[SlideEvaluation], *, seed: int = SEED) -> dict[str, Any]:
    """Return the scores of slides, and of all of them together, with bootstrap intervals over slides.

    Args:
        slides: Evaluations of slides with the same classes, at least one.
        seed: Seed of the intervals.

    Returns:
        "classes" (names), "overall", "slides" and "intervals"; a score that does not exist is None.

    Examples:
        >>> from patchaug.predict.evaluation import evaluate_slide
        >>> from patchaug.predict.evaluation_report import evaluation_report
        >>> report = evaluation_report([evaluate_slide(learn, slide)])
        >>> sorted(report["overall"]["scores"]["nucleus"])[:2], report["slides"][0]["slide"]
        (['dice', 'iou'], 'case')
    """
    codes = slides[0].frame.codes
    counts = [one.counts for one in slides]
    overall = _entry(sum_counts(counts), codes)
    intervals = bootstrap_intervals(counts, seed=seed)
    overall["intervals"] = {
        code: {name: _pair(both[:, number]) for name, both in intervals.items()} for number, code in enumerate(codes)
    }
    return {
        "classes": list(codes),
        "overall": overall,
        "intervals": {
            "method": "percentile bootstrap over slides", "coverage": COVERAGE, "samples": SAMPLES, "seed": seed,
        },
        "slides": [_slide(one) for one in slides],
    }  # fmt: skip


def report_csv(report: dict[str, Any]) -> str:
    """Return the scores of each slide and of all as CSV: a line for each slide and class."""
    names = list(next(iter(report["overall"]["scores"].values())))
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["slide", "class", "labelled_px", *names])
    for slide, entry in [*((one["slide"], one) for one in report["slides"]), ("all", report["overall"])]:
        for number, code in enumerate(report["classes"]):
            values = [entry["scores"][code][name] for name in names]
            labelled = sum(entry["confusion"][number])
            table.writerow([slide, code, labelled, *("" if value is None else f"{value:.6g}" for value in values)])
    return text.getvalue()


def _slide(one: SlideEvaluation) -> dict[str, Any]:
    frame = one.frame
    return {
        "slide": one.slide.name, "path": one.slide.path, "width": frame.width, "height": frame.height,
        "level": frame.level, "mpp": frame.mpp, **_entry(one.counts, frame.codes),
        "worst": [_window(window) for window in one.worst],
    }  # fmt: skip


def _entry(counts: ScoreCounts, codes: Sequence[str]) -> dict[str, Any]:
    scores = scores_of(counts)
    return {
        "accuracy": as_number(counts.accuracy()),
        "scores": {
            code: as_report([values[number] for values in scores.values()], scores) for number, code in enumerate(codes)
        },
        "confusion": counts.confusion.tolist(),
        "boundary": None if counts.boundary is None else counts.boundary.tolist(),
        "objects": None if counts.objects is None else counts.objects.tolist(),
    }


def _window(one: WorstWindow) -> dict[str, Any]:
    window = {name: getattr(one.window, name) for name in ("x", "y", "width", "height", "level")}
    return {**window, "wrong": one.wrong, "labelled": one.labelled}


def _pair(both: Any) -> list[float] | None:
    return None if np.isnan(both).any() else [float(value) for value in both]
