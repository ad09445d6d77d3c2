"""Every code block of README.md and docs/ runs, or says why not."""

import re
from pathlib import Path

import pytest

from patchaug.testing.synthetic_slides import write_slide

from .blocks import PAGES, ROOT, run


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that looks as after `patchaug demo`, with smaller slides."""
    root = tmp_path_factory.mktemp("docs")
    for number in range(3):
        write_slide(root / "patchaug-demo" / "slides", f"slide{number}", size=1024, seed=number)
    return root


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_blocks_run(page: Path, demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One after the other in one namespace; those for fastai 1 alone are run by its tests."""
    monkeypatch.chdir(demo)
    run(page, "fastai2")


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
