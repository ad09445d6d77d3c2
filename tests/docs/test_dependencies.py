"""Every dependency has its reason in docs/dependencies.md."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_each_dependency_is_explained() -> None:
    """For the package, its extras, and the tests."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *(e for extra in project["optional-dependencies"].values() for e in extra)]
    names = {re.split(r"[<>=\[; ]", entry)[0].lower() for entry in wanted}
    text = (ROOT / "docs" / "dependencies.md").read_text().lower()
    assert not {name for name in names if not re.search(rf"\b{re.escape(name)}\b", text)}
