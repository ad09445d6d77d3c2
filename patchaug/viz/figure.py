"""Figure that notebooks display directly."""

from __future__ import annotations

from io import BytesIO

from matplotlib.figure import Figure


class NotebookFigure(Figure):
    """matplotlib figure that a notebook displays as PNG, with any pyplot backend."""

    def _repr_png_(self) -> bytes:
        file = BytesIO()
        self.savefig(file, format="png", dpi="figure")
        return file.getvalue()
