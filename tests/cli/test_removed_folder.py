"""The folder of a run is removed while the run goes on."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from patchaug.cli.train import _removal_in_one_line
from patchaug.errors import MissingError


def test_what_is_not_found_then_is_one_error(tmp_path: Path) -> None:
    """Found by benchmarks/killed_runs.py: the system's own error for the free space of a folder that is gone."""
    out = tmp_path / "run"
    text = "run: the folder of the run was removed; choose a folder that stays"
    with pytest.raises(MissingError, match=text), _removal_in_one_line(out):
        shutil.disk_usage(out)


def test_other_files_keep_their_error(tmp_path: Path) -> None:
    """The folder is there."""
    with pytest.raises(FileNotFoundError) as caught, _removal_in_one_line(tmp_path):
        (tmp_path / "gone.txt").read_text()
    assert not isinstance(caught.value, MissingError)
