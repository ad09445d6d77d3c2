"""A slice of `benchmarks/zero_wrong.py`, and that a wrong window is found; the whole of it in the long profile."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from patchaug import open_slide

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "zero_wrong.py"
LONG = os.environ.get("HYPOTHESIS_PROFILE") == "long"
# Processes that start from nothing take seconds each: the quick slice starts them for one reader.
SLICES = (
    [["--windows", "100000"]]
    if LONG
    else [
        ["--windows", "2400", "--starts", "fork", "--workers", "2"],
        ["--windows", "200", "--starts", "spawn", "--workers", "1", "--readers", "OpenSlide"],
    ]
)


@pytest.mark.parametrize("options", SLICES, ids=" ".join)
def test_no_window_is_wrong(options: list[str]) -> None:
    """As many windows as were asked for, in each cell some, and none of them wrong."""
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *options], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(SCRIPT.parents[1])},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    total, cells = re.search(r"^([\d,]+) windows in (\d+) cells, 0 wrong;", done.stdout, re.MULTILINE).groups()
    assert int(total.replace(",", "")) >= int(options[1])
    assert done.stdout.count("\n| ") == int(cells)


def test_a_wrong_window_is_found(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    """A slide that is a pixel off, and one whose mask is: counted, and the exit code is 1."""
    spec = importlib.util.spec_from_file_location("zero_wrong", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    image, mask = module.IMAGES[0], module.MASKS[0]
    pairs = {"right": (image, mask), "image": (image[:, 1:], mask[:, :-1]), "mask": (image[:, :-1], mask[:, 1:])}
    for name, pair in pairs.items():
        monkeypatch.setitem(module.READERS, name, lambda folder, ram, pair=pair: open_slide(*pair, name="slide"))
        code = module.main(["--windows", "60", "--workers", "0", "--readers", name])
        told = capsys.readouterr().out
        assert code == (name != "right")
        assert re.search(r"^60 windows in 2 cells, (\d+) wrong", told, re.MULTILINE)[1] == ("60" if code else "0")
