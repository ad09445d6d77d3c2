"""`patchaug advise`, whole: results, determinism, and mistakes that end in one line."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("fastai.vision.all", reason="needs fastai 2")

from patchaug import open_slide
from patchaug.cli import main
from patchaug.options.fields import TrainOptions

MODEL = """
from torch import nn

def make(n_in, n_out):
    return nn.Sequential(nn.Conv2d(n_in, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, n_out, 3, padding=1))
"""
CODES = ["--codes", "background,object"]
TIMED = {"step_seconds", "draws_per_second", "reads_per_second", "windows_per_second", "seconds", "sentences",
    "out"}  # fmt: skip


def write(folder: Path, name: str, side: int = 96, objects: int = 20) -> None:
    """Dark squares on a light ground."""
    rng = np.random.default_rng(len(name) + side)
    mask = np.zeros((side, side), np.uint8)
    for y, x in rng.integers(0, side - 6, (objects, 2)):
        mask[y : y + 6, x : x + 6] = 1
    image = np.where(mask[..., None] == 1, 60, 200) + rng.integers(-20, 20, (side, side, 3))
    for end, pixels in (("", image.astype(np.uint8)), ("_mask", mask)):
        Image.fromarray(pixels).save(folder / f"{name}{end}.png")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """`patchaug advise ...` in a folder with three slides; returns exit code, stdout and stderr."""
    (tmp_path / "slides").mkdir()
    for name in ("a", "bb", "ccc"):
        write(tmp_path / "slides", name)
    (tmp_path / "tiny_model.py").write_text(MODEL)
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["patchaug", "advise", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main()
        return int(stopped.value.code or 0), *capsys.readouterr()

    return call


USUAL = ["--images", "slides", *CODES, "--model", "tiny_model:make", "--sizes", "16,32", "--workers", 0]


def without_timings(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_timings(one) for key, one in value.items() if key not in TIMED}
    return [without_timings(one) for one in value] if isinstance(value, list) else value


def test_a_run_leaves_table_figure_report_and_options(here: Callable[..., Any]) -> None:
    """Trained within the minutes; the options start a training, and another run has a folder of its own."""
    code, out, err = here(*USUAL, "--minutes", 0.06, "--lr", 0.02)
    assert code == 0, err
    report = json.loads(Path("patchaug-advice/advice.json").read_text())
    assert {row["name"] for row in report["candidates"]} == {"16 px, level 0", "32 px, level 0"}
    chosen = report["recommendation"]
    options = TrainOptions.from_file("patchaug-advice/options.json")
    assert (options.size, options.level, options.bs) == (chosen["size"], chosen["level"], chosen["bs"])
    assert options.per_slide == "area" and options.model == "tiny_model:make"
    row = next(row for row in report["candidates"] if row["name"] == chosen["name"])
    assert options.windows == max(row["grid_windows"], row["batch"])
    assert report["receptive_field"]["reach"] == 2
    assert row["whole_field"] == pytest.approx((row["size"] - 4) ** 2 / row["size"] ** 2)
    assert 0 < row["foreground"][0] < 1 and 0 < row["cut_objects"]["object"][0] < 1 and row["ceiling"][0] == 1
    for sentence in (*chosen["sentences"], *chosen["doubts"]):
        assert sentence in out and sentence in Path("patchaug-advice/advice.txt").read_text()
    assert Image.open("patchaug-advice/advice.png").size == (1100, 800)
    assert chosen["doubts"]  # of one validation slide, or of no time to train


def test_measurements_are_the_same_but_for_timings(here: Callable[..., Any]) -> None:
    """Two runs without training print the same report, whatever the machine does meanwhile."""
    reports = []
    for _ in range(2):
        code, out, err = here(*USUAL, "--minutes", 0, "--memory", "2GB", "--bs", 4, "--json")
        assert code == 0, err
        reports.append(json.loads(out))
    assert [report["out"] for report in reports] == ["patchaug-advice", "patchaug-advice-2"]
    assert without_timings(reports[0]) == without_timings(reports[1])
    assert reports[0]["recommendation"]["bs"] == 4 and "No candidate was trained" in out


def test_one_slide_is_cut_in_two(here: Callable[..., Any]) -> None:
    """And so is it in the training that follows."""
    for path in [*Path("slides").glob("a*"), *Path("slides").glob("bb*")]:
        path.unlink()
    code, out, err = here(*USUAL, "--minutes", 0)
    assert code == 0 and "one slide: 20% of it is for validation" in err, err
    options = TrainOptions.from_file("patchaug-advice/options.json")
    assert options.split_region == 0.2


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--memory", "1KB"], "no candidate fits: .*more than the memory of"),
        (["--memory", "much"], '--memory must be "auto", or a size such as "8GB", got \'much\''),
        (["--sizes", "16,x"], "--sizes must be whole numbers from 8 on, with commas, got '16,x'"),
        (["--sizes", "256"], "level 0 has 96 x 96 px, in which no patch of 256 px fits.*--sizes up to 96"),
        (["--levels", "2"], "there is no level 2"),
        (["--mpps", "0.5"], "mpp=0.5 is asked for, and the file does not say"),
        (["--mpps", "0"], "--mpps must be micrometres per pixel above 0"),
        (["--minutes", "-1"], "--minutes must be 0 or more, got -1"),
        (["--bs", "0"], "--bs must be 1 or more, got 0"),
        (["--model", "tiny_model:mak"], "did you mean make?"),
        (["--codes", "background"], "the mask holds class 1"),
    ],
)  # fmt: skip
def test_mistakes_end_in_one_error(arguments: list[str], text: str, here: Callable[..., Any]) -> None:
    """And leave no folder behind."""
    code, out, err = here(*USUAL, "--minutes", 0, *arguments)
    assert code in (1, 2) and not out and re.search(f"patchaug: .*{text}", err, re.DOTALL), err
    assert not Path("patchaug-advice").exists()


def test_slides_without_foreground_are_told(here: Callable[..., Any]) -> None:
    """By the sampler's own error, or, with --empty uniform, as a Dice that does not exist."""
    for mask in Path("slides").glob("*_mask.png"):
        Image.fromarray(np.zeros((96, 96), np.uint8)).save(mask)
    code, _, err = here(*USUAL, "--minutes", 0)
    assert code == 1 and "no pixel of the classes" in err
    code, out, err = here(*USUAL, "--minutes", 0.05, "--empty", "uniform")
    assert code == 0 and ("no Dice exists" in out or "No candidate was trained" in out), err
    assert open_slide("slides/a.png").dimensions == (96, 96)
