"""Every code block of the pages runs, or gives the reason why not."""

import re
from pathlib import Path

import pytest

from patchaug.testing.synthetic_slides import write_slide

from .blocks import PAGES, ROOT, run


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the folder that `patchaug demo` makes, with smaller slides."""
    root = tmp_path_factory.mktemp("docs")
    for number in range(3):
        write_slide(root / "patchaug-demo" / "slides", f"slide{number}", size=1024, seed=number)
    return root


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_blocks_run(page: Path, demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In order, in one namespace, with fewer windows; the tests of fastai 1 run its own blocks."""
    monkeypatch.chdir(demo)
    run(page, "fastai2")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    """Files that a page links to exist."""
    for target in re.findall(r"\]\((?!https?://)([^)#]+)\)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_readme_shows_the_two_commands_that_ci_runs() -> None:
    """.ci/run has the test command of the README, with pip's --quiet."""
    readme = (ROOT / "README.md").read_text()
    for command in (
        'python3 -m pip install ".[fastai]" && python3 -m patchaug demo',
        "python3 -m pip install tox tox-uv",
    ):
        assert command in readme
    assert "python3 -m pip install --quiet tox tox-uv && python3 -m tox" in (ROOT / ".ci" / "run").read_text()
