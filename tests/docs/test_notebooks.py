"""The notebooks run from the first cell to the last, and are committed without outputs."""

from pathlib import Path

import pytest

nbclient = pytest.importorskip("nbclient", reason="notebooks run in the tox environment `docs`")
import nbformat

from .blocks import shorter

NOTEBOOKS = sorted((Path(__file__).resolve().parents[2] / "docs" / "notebooks").glob("*.ipynb"))


def test_there_are_notebooks() -> None:
    """A quick start and a tour."""
    assert [path.stem for path in NOTEBOOKS] == ["quick_start", "tour"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_run(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In their own folder, with fewer windows; a cell that fails makes the test fail."""
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in cells), "clear the outputs before you commit"
    for cell in cells:
        cell.source = shorter(cell.source)
    monkeypatch.delenv("MPLBACKEND", raising=False)  # pictures must appear below their cells
    nbclient.NotebookClient(
        notebook, timeout=240, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    pictures = [o for cell in cells for o in cell.outputs if "image/png" in o.get("data", {})]
    assert len(pictures) >= 2
