"""`patchaug train` broken off and resumed, as processes."""

from __future__ import annotations

import csv
import json
import shutil
import signal
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

from patchaug.cli import main

from .test_cli import COMMON, TINY, slides  # noqa: F401 - a fixture

LONG = ["--valid-slides", "s2*", "--per-slide", "24", "--epochs", "2", "--checkpoint-minutes", "0.001"]


def run(*words: object, cwd: Path) -> tuple[int, str]:
    """Exit code and stderr of `patchaug ...` in this process, which saves the seconds of starting one."""
    with pytest.MonkeyPatch.context() as patch, redirect_stderr(StringIO()) as stderr, redirect_stdout(StringIO()):
        patch.chdir(cwd)
        patch.setattr(sys, "argv", ["patchaug", *map(str, words)])
        with pytest.raises(SystemExit) as stopped:
            main()
    return int(stopped.value.code or 0), stderr.getvalue()


def broken_off(
    cwd: Path, out: Path, number: signal.Signals, workers: int, after: str = "epoch 1"
) -> tuple[int, str, str]:
    """Exit code and output of a run that gets a signal after a line on stderr."""
    words = [*COMMON, *TINY, *LONG, "--workers", workers, "--out", out]
    with subprocess.Popen(
        [sys.executable, "-m", "patchaug", "train", *map(str, words)], cwd=cwd, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:  # fmt: skip
        try:
            assert process.stderr is not None
            while not (line := process.stderr.readline()).startswith(after):
                assert line, "ended before the line"
            process.send_signal(number)
            out_text, err_text = process.communicate(timeout=120)
        finally:
            process.kill()
    return process.returncode, out_text, err_text


@pytest.fixture(scope="module")
def unbroken(slides: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: F811
    """The folder of a run without an interruption."""
    out = tmp_path_factory.mktemp("unbroken") / "out"
    code, text = run("train", *COMMON, *TINY, *LONG, "--out", out, cwd=slides)
    assert code == 0, text
    return out


def weights(out: Path) -> dict[str, bytes]:
    """Weights of the exported model, as bytes."""
    from fastai.vision.all import load_learner

    model = load_learner(out / "model.pkl").model
    return {name: value.numpy().tobytes() for name, value in model.state_dict().items()}


def history(out: Path) -> list[dict[str, str]]:
    """Rows of the history without the seconds."""
    with (out / "history.csv").open() as file:
        return [{key: v for key, v in row.items() if "seconds" not in key} for row in csv.DictReader(file)]


@pytest.mark.parametrize(("number", "workers"), [(signal.SIGTERM, 2), (signal.SIGKILL, 0)])
def test_resumed_runs_end_alike(slides: Path, unbroken: Path, tmp_path: Path, number, workers) -> None:  # noqa: F811
    """The same weights, history and scores; with another number of workers and from another folder."""
    out = tmp_path / "out"
    code, stdout, stderr = broken_off(slides, out, number, workers)
    assert (out / "checkpoint.pt").is_file() and "Traceback" not in stderr
    if number == signal.SIGTERM:
        assert code == 1 and f"go on with: patchaug train --resume --out {out}" in stdout
        assert "SIGTERM: the run ends after this batch and saves its state" in stderr
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
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    code, _, stderr = broken_off(slides, out, signal.SIGINT, 0, after="each of")
    assert code == 1 and "Traceback" not in stderr
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert (tmp_path / "out-2").is_dir()


def test_what_has_changed_is_named(slides: Path, tmp_path: Path) -> None:  # noqa: F811
    """Options and data of the run; options that change nothing may change."""
    data = tmp_path / "data"
    shutil.copytree(slides, data)
    out = tmp_path / "out"
    broken_off(data, out, signal.SIGTERM, 0)
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
