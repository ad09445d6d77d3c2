"""The same windows in the same order from the same seed, on both majors of fastai."""

import runpy
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("script.py")
GOLDEN = [
    "files  a44462c712a04dcca8b121ab88d817f4439d46de3c319410b806f3783044a552",
    "arrays 17f024fc833b7c00453652864014f60cac2699a4dcb9f4009b35392dd161c65f",
    "turned 18e64c8a5b31413801327ada96de402bca8adfffc5033c9184e4f205ad7d427e",
]


@pytest.mark.parametrize("workers", [0, 2])
def test_one_script_prints_the_same_on_both(tmp_path, monkeypatch, capsys, workers: int) -> None:
    """Windows, pixels and labels of two epochs and the validation windows; files, arrays, `augment=`; any workers."""
    (tmp_path / "masks").mkdir()
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), str(tmp_path), str(workers)])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    assert capsys.readouterr().out.splitlines() == GOLDEN
