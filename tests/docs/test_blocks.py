"""Every code block of README.md and docs/ runs, or says why not."""

import re
from pathlib import Path

import pytest

from patchaug.synthetic import write_slide

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"(?:<!-- not run: (?P<reason>.+?) -->\n)?^```(?P<language>\w*)\n(?P<code>.*?)^```$", re.M | re.S)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that looks as after `patchaug demo`, with smaller slides."""
    root = tmp_path_factory.mktemp("docs")
    for number in range(3):
        write_slide(root / "patchaug-demo" / "slides", f"slide{number}", size=1024, seed=number)
    return root


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_blocks_run(page: Path, demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The python blocks of a page run one after the other in one namespace; others give a reason."""
    monkeypatch.chdir(demo)
    space: dict[str, object] = {"__name__": "__main__"}
    for block in BLOCK.finditer(page.read_text()):
        line = page.read_text()[: block.start()].count("\n") + 1
        if block["reason"]:
            continue
        assert block["language"] == "python", f"{page.name}:{line}: a block that neither runs nor says why not"
        exec(compile("\n" * line + block["code"], str(page), "exec"), space)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Files that a page links to are there."""
    for target in re.findall(r"\]\((?!https?://)([^)#]+)\)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_readme_shows_the_two_commands_that_ci_runs() -> None:
    """The test command stands in .ci/run word for word, but for pip's --quiet."""
    readme = (ROOT / "README.md").read_text()
    for command in (
        'python3 -m pip install ".[fastai]" && python3 -m patchaug demo',
        "python3 -m pip install tox tox-uv",
    ):
        assert command in readme
    assert "python3 -m pip install --quiet tox tox-uv && python3 -m tox" in (ROOT / ".ci" / "run").read_text()
