"""The blocks of the documents that are for fastai 1 run under it, and the examples in its docstrings."""

import doctest
from pathlib import Path

import pytest

from tests.docs.blocks import PAGES, blocks, run
from tests.docs.examples import examples, run_example, write_files


@pytest.mark.parametrize(
    "page", [p for p in PAGES if any("fastai1" in block.runs_in for block in blocks(p))], ids=lambda page: page.name
)
def test_blocks_for_fastai_1_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One after the other, in one namespace."""
    monkeypatch.chdir(tmp_path)
    run(page, "fastai1")


def test_there_are_such_pages() -> None:
    """The thread's answer and the way to fastai 2 are shown under fastai 1 too."""
    assert {"thread.md", "migrate.md"} <= {p.name for p in PAGES if any("fastai1" in b.runs_in for b in blocks(p))}


@pytest.mark.parametrize("example", examples(fastai1=True), ids=lambda example: example.name)
def test_examples_run(example: doctest.DocTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each in a folder of its own with three slides."""
    write_files(tmp_path)
    monkeypatch.chdir(tmp_path)
    run_example(example)
