"""The examples in docstrings run; tests/test_docstrings.py explains how to write one."""

import doctest
from pathlib import Path

import pytest

from .examples import examples, run_example, write_files


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with three slides and their masks."""
    root = tmp_path_factory.mktemp("examples")
    write_files(root)
    return root


@pytest.mark.parametrize("example", examples(fastai1=False), ids=lambda example: example.name)
def test_examples_run(example: doctest.DocTest, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each in a folder of its own, with links to the slides."""
    (tmp_path / "slides").symlink_to(folder / "slides")
    monkeypatch.chdir(tmp_path)
    run_example(example)


def test_an_example_that_is_wrong_fails() -> None:
    """What it prints is compared."""
    parse = doctest.DocTestParser().get_doctest
    run_example(parse(">>> slide.dimensions\n(512, 512)", {}, "patchaug.errors", None, 0))
    with pytest.raises(AssertionError, match=r"\(512, 512\)"):
        run_example(parse(">>> slide.dimensions\n(512, 511)", {}, "patchaug.errors", None, 0))
