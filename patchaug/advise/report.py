"""The report: a table as text, and everything that was measured as JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from patchaug.advise.edge_error import EdgeError
from patchaug.advise.interval import Interval
from patchaug.advise.measurements import Measured, as_bytes
from patchaug.advise.receptive_field import ReceptiveField
from patchaug.advise.recommendation import Recommendation
from patchaug.advise.short_training import Scored

_UNKNOWN = "-"


def report_rows(
    every: Sequence[Measured], trained: Sequence[Scored], edges: dict[str, EdgeError], advice: Recommendation
) -> list[dict[str, Any]]:  # fmt: skip
    """Return the measurements of each candidate, as JSON writes them.

    Args:
        every: Measured candidates.
        trained: Those that were trained.
        edges: Error at the border by resolution.
        advice: The recommendation.
    """
    scored = {one.candidate: one for one in trained}
    rows = []
    for one in every:
        candidate, name = one.candidate, one.candidate.name
        edge = edges.get(candidate.resolution)
        training = scored.get(candidate)
        rows.append(
            {
                "name": name, "size": candidate.size, "level": candidate.level, "mpp": candidate.mpp,
                "batch": one.batch, "largest_batch": one.largest_batch,
                "step_bytes": round(one.memory.of(one.batch)), "step_bytes_margin": round(one.memory.margin, 3),
                "step_seconds": one.step.as_report(), "draws_per_second": round(one.pace.draws, 1),
                "reads_per_second": one.pace.reads.as_report(),
                "windows_per_second": round(one.windows_a_second, 2),
                "whole_field": one.whole_field, "effective_field": one.effective_field,
                "cut_objects": {code: cut.as_report() for code, cut in one.cut.items()},
                "foreground": one.balance.foreground.as_report(),
                "class_shares": [share.as_report() for share in one.balance.shares],
                "class_deviation_of_batches": [None if math.isnan(d) else d for d in one.balance.deviations],
                "batches_without_class": one.balance.without,
                "grid_windows": one.grid, "random_windows": one.random, "ceiling": one.ceiling.as_report(),
                "edge_error": None if edge is None else edge.of_patch(candidate.size).as_report(),
                "dice": advice.dice[name].as_report() if name in advice.dice else None,
                "dice_of_each": None if training is None else [None if math.isnan(d) else d for d in training.each],
                "steps": None if training is None else training.steps,
                "behind": advice.behind[name].as_report() if name in advice.behind else None,
            }
        )  # fmt: skip
    return rows


def report_field(field: ReceptiveField, edges: dict[str, EdgeError]) -> dict[str, Any]:
    """Return the receptive field and the errors at the border, as JSON writes them.

    Args:
        field: The receptive field.
        edges: Error at the border by resolution.
    """
    return {
        "receptive_field": {
            "down": [field.down.before, field.down.after], "across": [field.across.before, field.across.after],
            "reach": field.reach, "larger_than_measured": field.whole, "effective": field.effective,
            "effective_share": field.share,
        },
        "edge_error": {
            name: {
                "size": edge.size, "vanishes_at": edge.vanishes,
                "by_distance": [one.as_report() for one in edge.curve],
            }
            for name, edge in edges.items()
        },
    }  # fmt: skip


def table_lines(
    every: Sequence[Measured], edges: dict[str, EdgeError], advice: Recommendation, left_out: dict[str, str]
) -> list[str]:  # fmt: skip
    """Return the table of the candidates, one line each, with its head.

    Args:
        every: Measured candidates.
        edges: Error at the border by resolution.
        advice: The recommendation, whose line has a star.
        left_out: Why other candidates were not measured, by name.
    """
    head = ["", "patch", "batch", "largest", "memory", "step s", "reads/s", "context", "cut", "foreground", "windows",
            "ceiling", "edge", "Dice"]  # fmt: skip
    rows = [head]
    for one in every:
        edge = edges.get(one.candidate.resolution)
        name = one.candidate.name
        rows.append(
            [
                "*" if one is advice.measured else "", name, str(one.batch), str(one.largest_batch),
                as_bytes(one.memory.of(one.batch)), f"{one.step.value:.3g}", f"{one.pace.reads.value:.3g}",
                f"{one.effective_field:.0%}", " ".join(_percent(cut) for cut in one.cut.values()),
                _percent(one.balance.foreground), str(one.grid), _share(one.ceiling),
                _UNKNOWN if edge is None else _share(edge.of_patch(one.candidate.size)),
                _dice(advice.dice.get(name)),
            ]
        )  # fmt: skip
    widths = [max(len(row[k]) for row in rows) for k in range(len(head))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return [*lines, *(f"left out: {name}, {why}" for name, why in left_out.items())]


def field_sentence(field: ReceptiveField, edges: dict[str, EdgeError]) -> str:
    """Describe the receptive field, and where the error at the border ends, in one line.

    Args:
        field: The receptive field.
        edges: Error at the border by resolution.
    """
    reach = "at least " * field.whole + f"{field.reach} px"
    text = f"receptive field: {reach} to each side, {field.share:.0%} of the gradient within {field.effective} px"
    for name, edge in edges.items():
        far = len(edge.curve) if edge.vanishes is None else edge.vanishes
        text += f"; {name}: the border adds errors " + (
            f"beyond {far} px, the farthest that was measured" if edge.vanishes is None
            else f"up to {far} px" if far else "at no distance that the data show"
        )  # fmt: skip
    return text


def _percent(one: Interval) -> str:
    return _UNKNOWN if math.isnan(one.value) else f"{one.value:.0%}"


def _share(one: Interval) -> str:
    return _UNKNOWN if math.isnan(one.value) else f"{one.value:.3f}"


def _dice(one: Interval | None) -> str:
    if one is None:
        return _UNKNOWN
    limits = "" if math.isnan(one.low) else f" ({max(one.low, 0):.3f} to {min(one.high, 1):.3f})"
    return f"{one.value:.3f}{limits}"
