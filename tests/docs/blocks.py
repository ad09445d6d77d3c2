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
    """One block: its line, language and code, and the environments that run it; empty where it is not run."""

    line: int
    language: str
    code: str
    runs_in: tuple[str, ...]


def blocks(page: Path) -> Iterator[Block]:
    """Yield the blocks of a page. A block without a comment runs under fastai 2."""
    text = page.read_text()
    for block in _BLOCK.finditer(text):
        where = block["where"] or "fastai2"
        assert where in ("fastai1", "fastai2", "both"), f"{page.name}: {where} is not an environment"
        runs_in = () if block["reason"] else ("fastai1", "fastai2") if where == "both" else (where,)
        yield Block(text[: block.start("code")].count("\n"), block["language"], block["code"], runs_in)


def shorter(code: str) -> str:
    """Return code with an eighth of the main script's windows: test_first_scripts.py trains with all of them."""
    return code.replace("per_slide=128", "per_slide=16")


def run(page: Path, environment: str) -> None:
    """Run the python blocks of a page for one environment, in order, in one namespace."""
    space: dict[str, object] = {"__name__": "__main__"}
    for block in blocks(page):
        if environment in block.runs_in:
            where = f"{page.name}:{block.line}"
            assert block.language == "python", f"{where}: a block must run, or give the reason why not"
            exec(compile("\n" * block.line + shorter(block.code), str(page), "exec"), space)
