"""Pages of the site that are files elsewhere: the notebooks, CONTRIBUTING.md and CHANGELOG.md (a hook of mkdocs)."""

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
BESIDE = {"contributing.md": "CONTRIBUTING.md", "changelog.md": "CHANGELOG.md"}


def notebook_page(path: Path) -> str:
    """Return a notebook as Markdown, with a link to the notebook itself."""
    cells = json.loads(path.read_text())["cells"]
    parts = ["".join(cell["source"]) for cell in cells]
    shown = [
        part if cell["cell_type"] == "markdown" else f"```python\n{part}\n```"
        for cell, part in zip(cells, parts, strict=True)
    ]
    shown.insert(1, f"[Download the notebook]({path.name}), and run it to see its pictures.")
    return "\n\n".join(shown)


def on_files(files: Any, config: Any) -> Any:
    """Add the pages."""
    from mkdocs.structure.files import File

    for path in sorted((ROOT / "docs" / "notebooks").glob("*.ipynb")):
        files.append(File.generated(config, f"notebooks/{path.stem}.md", content=notebook_page(path)))
    for page, name in BESIDE.items():
        text = (ROOT / name).read_text().replace("](docs/", "](")
        files.append(File.generated(config, page, content=text))
    return files
