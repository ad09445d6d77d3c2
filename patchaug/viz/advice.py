"""Figure of `patchaug advise`: Dice, contents, error at the border and speed against the size of patches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from patchaug.viz.layout import DPI, Out, matplotlib_colour, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_STYLES = ("-", "--", ":", "-.")


def show_advice(
    rows: Sequence[dict[str, Any]], edges: dict[str, Any], *, chosen: str, title: str, out: Out = None
) -> Figure:  # fmt: skip
    """Draw four panels: Dice, what a patch holds, error at the border, and speed.

    Args:
        rows: One dictionary for each candidate, as in `advice.json`.
        edges: Error at the border by resolution, as in `advice.json`.
        chosen: Name of the recommended candidate.
        title: Title of the figure.
        out: PNG file to write, or None.

    Examples:
        >>> row = {
        ...     "name": "64 px, level 0", "size": 64, "dice": [0.8, 0.7, 0.9], "ceiling": [1.0, 1.0, 1.0],
        ...     "effective_field": 0.5, "cut_objects": {"nucleus": [0.2, 0.1, 0.3]}, "foreground": [0.1, 0.0, 0.2],
        ...     "reads_per_second": [99.0, 90.0, 110.0], "step_seconds": [0.1, 0.1, 0.1], "batch": 8,
        ... }
        >>> len(show_advice([row], {}, chosen="64 px, level 0", title="slides").axes)
        4
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    from patchaug.viz.figure import NotebookFigure

    figure = NotebookFigure(figsize=(11, 8), dpi=DPI, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=12, parse_math=False)
    panels = figure.subplots(2, 2).ravel()
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in sorted(rows, key=lambda one: one["size"]):
        groups.setdefault(row["name"].partition(", ")[2], []).append(row)
    _dice(panels[0], groups, chosen)
    _contents(panels[1], groups)
    _edges(panels[2], edges)
    _speed(panels[3], groups)
    sizes = sorted({row["size"] for row in rows})
    for axes in (panels[0], panels[1], panels[3]):
        axes.set_xscale("log", base=2)
        axes.set_xticks(sizes, [str(size) for size in sizes])
        axes.minorticks_off()
        axes.set_xlabel("size of a patch, px")
    for axes in panels:
        axes.grid(alpha=0.3)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=False, fontsize=8)
    return save_figure(figure, out)


def _dice(axes: Axes, groups: dict[str, list[dict[str, Any]]], chosen: str) -> None:
    trained = False
    for number, (resolution, rows) in enumerate(groups.items()):
        colour = matplotlib_colour(number + 1, None)
        known = [row for row in rows if row["dice"] is not None and row["dice"][0] is not None]
        trained |= bool(known)
        values = [row["dice"][0] for row in known]
        limits = [
            [abs(row["dice"][0] - (row["dice"][k] if row["dice"][k] is not None else row["dice"][0])) for row in known]
            for k in (1, 2)
        ]  # fmt: skip
        sizes = [row["size"] for row in known]
        axes.errorbar(sizes, values, yerr=limits, color=colour, marker="o", capsize=3, label=resolution)
        ceilings = [(row["size"], row["ceiling"][0]) for row in rows if row["ceiling"][0] is not None]
        axes.plot(*zip(*ceilings, strict=True) if ceilings else ([], []), color=colour, linestyle=":", linewidth=1)
        for row in known:
            if row["name"] == chosen:
                axes.plot(row["size"], row["dice"][0], marker="*", markersize=16, color=colour, markeredgecolor="black")
    what = "Dice on the same pixels, 95 %; dotted: labels alone" if trained else "no training; dotted: labels alone"
    axes.set(title=what, ylabel="Dice", ylim=(-0.02, 1.04))


def _contents(axes: Axes, groups: dict[str, list[dict[str, Any]]]) -> None:
    colours = {"full context (95 % of the gradient)": "#0072b2", "whole objects": "#009e73", "foreground": "#d55e00"}
    for number, rows in enumerate(groups.values()):
        style, sizes = _STYLES[number % len(_STYLES)], [row["size"] for row in rows]
        cut = [[one[0] for one in row["cut_objects"].values() if one[0] is not None] for row in rows]
        lines = (
            [row["effective_field"] for row in rows],
            [1 - sum(one) / len(one) if one else float("nan") for one in cut],
            [float("nan") if row["foreground"][0] is None else row["foreground"][0] for row in rows],
        )
        for values, (label, colour) in zip(lines, colours.items(), strict=True):
            axes.plot(
                sizes, values, style, marker="o", markersize=3, color=colour, label=None if number else label
            )  # fmt: skip
    axes.set(title=f"share of a patch{_styles(groups)}", ylabel="share", ylim=(-0.02, 1.04))


def _styles(groups: dict[str, list[dict[str, Any]]]) -> str:
    """Describe which line is which resolution."""
    if len(groups) < 2:
        return ""
    named = zip(("solid", "dashed", "dotted", "dash-dotted"), groups, strict=False)
    return "; " + ", ".join(f"{style}: {resolution}" for style, resolution in named)


def _edges(axes: Axes, edges: dict[str, Any]) -> None:
    for number, (resolution, edge) in enumerate(edges.items()):
        colour = matplotlib_colour(number + 1, None)
        known = [(d, one) for d, one in enumerate(edge["by_distance"]) if one[0] is not None]
        at = [d for d, _ in known]
        axes.plot(at, [one[0] for _, one in known], color=colour, label=resolution)
        low, high = ([one[0] if one[k] is None else one[k] for _, one in known] for k in (1, 2))
        axes.fill_between(at, low, high, color=colour, alpha=0.2, linewidth=0)
        if edge["vanishes_at"] is not None:
            axes.axvline(edge["vanishes_at"], color=colour, linestyle=":")
    axes.axhline(0, color="black", linewidth=0.8)
    what = "error that the border adds; dotted: where it ends" if edges else "error at the border: no trained model"
    axes.set(title=what, xlabel="distance from the border, px", ylabel="share of wrong pixels, added")


def _speed(axes: Axes, groups: dict[str, list[dict[str, Any]]]) -> None:
    for number, rows in enumerate(groups.values()):
        style, sizes = _STYLES[number % len(_STYLES)], [row["size"] for row in rows]
        area = [row["size"] ** 2 / 1e6 for row in rows]
        reads = [row["reads_per_second"][0] * mpx for row, mpx in zip(rows, area, strict=True)]
        steps = [row["batch"] / row["step_seconds"][0] * mpx for row, mpx in zip(rows, area, strict=True)]
        axes.plot(sizes, reads, style, marker="o", markersize=3, color="#56b4e9", label=None if number else "read")
        axes.plot(sizes, steps, style, marker="o", markersize=3, color="#d55e00", label=None if number else "trained")
    axes.set(title=f"speed{_styles(groups)}", ylabel="Mpx a second", yscale="log")
