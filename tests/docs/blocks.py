"""The code blocks of README.md and docs/, and which environment runs them."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / f"{name}.md" for name in ("README", "CHANGELOG", "CONTRIBUTING", "SECURITY")] + [
    *sorted((ROOT / "docs").rglob("*.md"))
]
_BLOCK = re.compile(
    r"(?:<!-- (?:not run: (?P<reason>.+?)|runs in: (?P<where>\w+)) -->\n)?^```(?P<language>\w*)\n(?P<code>.*?)^```$",
    re.M | re.S,
)


class Block(NamedTuple):
    """One block: its line, language, code, and the environments that run it; none where it says why not."""

    line: int
    language: str
    code: str
    runs_in: tuple[str, ...]


def blocks(page: Path) -> Iterator[Block]:
    """The blocks of a page. Those that say nothing run under fastai 2."""
    text = page.read_text()
    for block in _BLOCK.finditer(text):
        where = block["where"] or "fastai2"
        assert where in ("fastai1", "fastai2", "both"), f"{page.name}: there is no environment {where}"
        runs_in = () if block["reason"] else ("fastai1", "fastai2") if where == "both" else (where,)
        yield Block(text[: block.start("code")].count("\n"), block["language"], block["code"], runs_in)


def run(page: Path, environment: str) -> None:
    """Run the python blocks of a page that are for an environment, one after the other, in one namespace."""
    space: dict[str, object] = {"__name__": "__main__"}
    for block in blocks(page):
        if environment in block.runs_in:
            where = f"{page.name}:{block.line}"
            assert block.language == "python", f"{where}: a block that neither runs nor says why not"
            exec(compile("\n" * block.line + block.code, str(page), "exec"), space)
