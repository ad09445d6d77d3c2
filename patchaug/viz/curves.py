"""Curves of a training run: losses, and Dice of each class, by epoch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from patchaug.viz.layout import DPI, Out, matplotlib_colour, save_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def show_curves(rows: Sequence[dict[str, Any]], codes: Sequence[str], *, out: Out = None) -> Figure:
    """Draw the losses and the Dice of each class by epoch.

    Args:
        rows: One dictionary for each epoch, with epoch, train_loss, valid_loss and "dice CODE", as in `history.csv`.
        codes: Names of the classes.
        out: PNG file to write, or None.

    Examples:
        >>> rows = [{"epoch": 1, "train_loss": 0.9, "valid_loss": 0.8, "dice nucleus": 0.4}]
        >>> len(show_curves(rows, ["background", "nucleus"]).axes)
        2
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.ticker import MaxNLocator

    from patchaug.viz.figure import NotebookFigure

    figure = NotebookFigure(figsize=(9, 4), dpi=DPI, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    epochs = [row["epoch"] for row in rows]
    for name, label, colour in (("train_loss", "training", "#444444"), ("valid_loss", "validation", "#d95f02")):
        left.plot(epochs, [_value(row.get(name)) for row in rows], marker="o", markersize=3, label=label, color=colour)
    for number, code in enumerate(codes):
        drawn = "#444444" if number == 0 else matplotlib_colour(number, None)
        values = [_value(row.get(f"dice {code}")) for row in rows]
        right.plot(epochs, values, marker="o", markersize=3, label=code if code[:1] != "_" else f" {code}", color=drawn)
    right.set_ylim(-0.02, 1.02)
    for axes, title in ((left, "loss"), (right, "Dice on validation windows")):
        axes.set(title=title, xlabel="epoch")
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return save_figure(figure, out)


def _value(value: Any) -> float:
    return float("nan") if value is None else float(value)
