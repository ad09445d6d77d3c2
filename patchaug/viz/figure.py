"""A figure that notebooks show as it is."""

from __future__ import annotations

from io import BytesIO

from matplotlib.figure import Figure


class NotebookFigure(Figure):
    """matplotlib's figure; as the value of a notebook's cell it is a picture, whatever backend pyplot has."""

    def _repr_png_(self) -> bytes:
        file = BytesIO()
        self.savefig(file, format="png", dpi="figure")
        return file.getvalue()
