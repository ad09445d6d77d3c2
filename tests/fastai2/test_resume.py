"""`patchaug train` broken off and resumed, as processes."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from .test_cli import COMMON, TINY, run_inside, slides  # noqa: F401 - a fixture

ROOT = Path(__file__).resolve().parents[2]
LONG = ["--valid-slides", "s2*", "--per-slide", "24", "--epochs", "2", "--checkpoint-minutes", "0.001"]


def run(*words: object, cwd: Path) -> tuple[int, str]:
    """Exit code and stderr of `patchaug ...` in this process."""
    code, _, stderr = run_inside(*words, cwd=cwd)
    return code, stderr


def broken_off(cwd: Path, out: Path, number: signal.Signals, workers: int, moment: str) -> tuple[int, str, str]:
    """Exit code and output of a run that gets a signal at a moment of `broken_run`."""
    words = [*COMMON, *TINY, *LONG, "--workers", workers, "--out", out]
    command = [sys.executable, "-m", "tests.fastai2.broken_run", moment, int(number), "train", *words]
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [*map(str, command)], cwd=cwd, env={**os.environ, "PYTHONPATH": paths}, text=True, capture_output=True,
        check=False, timeout=280,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def unbroken(slides: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: F811
    """The folder of a run without an interruption."""
    out = tmp_path_factory.mktemp("unbroken") / "out"
    code, text = run("train", *COMMON, *TINY, *LONG, "--out", out, cwd=slides)
    assert code == 0, text
    return out


def contents(out: Path) -> dict[str, bytes]:
    """All files below a folder."""
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}


def weights(out: Path) -> dict[str, bytes]:
    """Weights of the exported model, as bytes."""
    from fastai.vision.all import load_learner

    model = load_learner(out / "model.pkl").model
    return {name: value.numpy().tobytes() for name, value in model.state_dict().items()}


def history(out: Path) -> list[dict[str, str]]:
    """Rows of the history without the seconds."""
    with (out / "history.csv").open() as file:
        return [{key: v for key, v in row.items() if "seconds" not in key} for row in csv.DictReader(file)]


@pytest.mark.parametrize(
    ("number", "workers", "moment"),
    [
        (signal.SIGTERM, 2, "batch 17"),
        (signal.SIGHUP, 0, "line epoch 1 of 2"),
        (signal.SIGKILL, 0, "batch 17"),
    ],
)
def test_resumed_runs_end_alike(slides: Path, unbroken: Path, tmp_path: Path, number, workers, moment) -> None:  # noqa: F811
    """The same weights, history and scores; with another number of workers and from another folder."""
    if signal.getsignal(number) == signal.SIG_IGN:
        pytest.skip(f"{number.name} is ignored, by `nohup pytest` perhaps")
    out = tmp_path / "out"
    code, stdout, stderr = broken_off(slides, out, number, workers, moment)
    assert (out / "checkpoint.pt").is_file() and "Traceback" not in stderr, stderr
    if number == signal.SIGKILL:
        assert code == -number
    else:
        assert code == 1 and f"go on with: patchaug train --resume --out {out}" in stdout
        assert f"{number.name}: the run ends after this batch and saves its state" in stderr
    code, text = run("train", "--resume", "--out", out, "--workers", 2 - workers, cwd=tmp_path)
    assert code == 0, text
    assert weights(out) == weights(unbroken)
    first, second = (json.loads((folder / "report.json").read_text()) for folder in (unbroken, out))
    assert first["dice"] == second["dice"] and first["best"] == second["best"] and not second["interrupted"]
    rows = [
        [
            {k: v for k, v in row.items() if "seconds" not in k}
            for row in csv.DictReader((folder / "history.csv").open())
        ]
        for folder in (unbroken, out)
    ]
    assert rows[0] == rows[1] and len(rows[0]) == 2
    assert {path.name for path in out.iterdir()} == {path.name for path in unbroken.iterdir()}
    code, text = run("train", "--resume", "--out", out, cwd=tmp_path)
    assert code == 2 and "has finished; start another one without --resume" in text


def test_an_early_ctrl_c_leaves_the_first_run(slides: Path, unbroken: Path, tmp_path: Path) -> None:  # noqa: F811
    """A second run with the same --out has a folder of its own, whatever becomes of it."""
    out = tmp_path / "out"
    shutil.copytree(unbroken, out)
    before = contents(out)
    code, _, stderr = broken_off(slides, out, signal.SIGINT, 0, "line each of")
    assert code == 1 and "Traceback" not in stderr, stderr
    assert contents(out) == before
    assert (tmp_path / "out-2").is_dir()


def test_what_has_changed_is_named(slides: Path, tmp_path: Path) -> None:  # noqa: F811
    """Options and data of the run; options that change nothing may change."""
    data = tmp_path / "data"
    shutil.copytree(slides, data)
    out = tmp_path / "out"
    broken_off(data, out, signal.SIGTERM, 0, "batch 17")
    code, stderr = run("train", "--resume", "--out", out, "--epochs", 7, "--lr", 0.5, cwd=tmp_path)
    text = "--resume goes on with the options of the run: epochs was 2, now 7, lr was 0.003, now 0.5; leave them out"
    assert code == 2 and text in stderr and stderr.count("\n") == 1
    for words, text in (
        (["--overwrite"], "leave one of them out"),
        (["--options", out / "options.json"], "leave --options out"),
    ):
        assert text in run("train", "--resume", "--out", out, *words, cwd=tmp_path)[1]
    mask = data / "masks" / "s1_mask.tiff"
    mask.write_bytes(mask.read_bytes() + b" ")
    code, stderr = run("train", "--resume", "--out", out, cwd=tmp_path)
    assert code == 2 and "1 files of the data have changed since the run began" in stderr
    assert "s1_mask.tiff" in stderr


def test_the_report_says_what_it_depends_on(unbroken: Path) -> None:
    """Versions, git, command, data, best epoch, history; the CSV is the history, and the curves are a picture."""
    from PIL import Image

    from patchaug.core.signature import is_signed

    report = json.loads((unbroken / "report.json").read_text())
    assert {"python", "patchaug", "torch", "fastai", "numpy"} <= set(report["versions"])
    assert len(report["data"]) == 6 and all(entry["size"] > 0 for entry in report["data"].values())
    assert "train" in report["command"] and "git" in report and 1 <= report["best"]["epoch"] <= 2
    rows = list(csv.DictReader((unbroken / "history.csv").open()))
    assert [int(row["epoch"]) for row in rows] == [1, 2] and [row["epoch"] for row in report["history"]] == [1, 2]
    for row in report["history"]:
        assert {"train_loss", "valid_loss", "lr", "windows"} <= set(row)
        for code in ("background", "nucleus"):
            dice, iou = row[f"dice {code}"], row[f"iou {code}"]
            assert iou == pytest.approx(dice / (2 - dice))
        assert row["seconds model"] > 0 and row["seconds reading"] >= 0 and row["seconds validation"] > 0
    assert report["history"][-1]["windows"] == 2 * 48
    assert min(Image.open(unbroken / "curves.png").size) > 300
    assert is_signed(unbroken / "report.json", "report") and is_signed(unbroken / "model.pkl", "learner")
