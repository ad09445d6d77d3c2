"""`History` and `Pace`: scores counted by brute force, counters, the CSV, and what stderr shows."""

from __future__ import annotations

import csv
import re
import time
from pathlib import Path

import pytest
import torch
from fastai.vision.all import Learner, nn, set_seed

from patchaug.cli.pace import Pace
from patchaug.fastai import RandomPatch, SlideDice
from patchaug.fastai2.history import History

from .conftest import CODES, loaders

IGNORED = 3


@pytest.fixture(scope="module")
def trained(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Learner, History, Path, float]:
    """A learner after two epochs on 3 slides of 8 windows, its history, the CSV, and the seconds it took."""
    set_seed(5)
    path = tmp_path_factory.mktemp("history") / "history.csv"
    patch = RandomPatch(32, per_slide=8, foreground=0.5, seed=7)
    learn = Learner(loaders(folder, patch), nn.Conv2d(3, 5, 1), metrics=SlideDice())
    history, started = History(path, CODES, IGNORED), time.monotonic()
    with learn.no_bar(), learn.no_logging():
        learn.fit(2, 0.1, cbs=history)
    return learn, history, path, time.monotonic() - started


def test_scores_are_those_of_the_validation_windows(trained) -> None:
    """Dice and IoU of each class by brute force over all pixels that are not ignored."""
    learn, history, _, _ = trained
    both, guess, truth = torch.zeros(3, len(CODES))
    with torch.no_grad():
        for x, y in learn.dls.valid:
            answer = learn.model(x.as_subclass(torch.Tensor)).argmax(1)
            for number in range(len(CODES)):
                counted = y.as_subclass(torch.Tensor) != IGNORED
                both[number] += ((answer == number) & (y == number) & counted).sum()
                guess[number] += ((answer == number) & counted).sum()
                truth[number] += ((y == number) & counted).sum()
    row = history.rows[-1]
    for number, code in enumerate(CODES):
        either = guess[number] + truth[number] - both[number]
        dice = 2 * both[number] / (guess[number] + truth[number]) if either else None
        assert row[f"dice {code}"] == (None if dice is None else pytest.approx(float(dice)))
        assert row[f"iou {code}"] == (None if dice is None else pytest.approx(float(both[number] / either)))
    assert any(0 < row[f"dice {code}"] < 1 for code in CODES if row[f"dice {code}"] is not None)


def test_counters_and_seconds(trained) -> None:
    """Windows and batches of all epochs; no second is counted twice."""
    learn, history, _, took = trained
    assert [row["epoch"] for row in history.rows] == [1, 2]
    assert [row["windows"] for row in history.rows] == [24, 48]
    assert (history.batches, history.patches) == (12, 48)
    names = [f"seconds {name}" for name in ("reading", "model", "validation")]
    assert all(row[name] >= 0 for row in history.rows for name in names)
    assert 0 < sum(row[name] for row in history.rows for name in names) <= took
    assert history.rows[-1]["valid_loss"] == pytest.approx(learn.recorder.values[-1][1])
    assert history.rows[-1]["lr"] == pytest.approx(0.1)


def test_the_csv_holds_the_rows(trained) -> None:
    """An empty cell is a class without pixels."""
    _, history, path, _ = trained
    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert [list(row) for row in rows] == [list(row) for row in history.rows]
    for row, expected in zip(rows, history.rows, strict=True):
        assert {key: None if v == "" else float(v) for key, v in row.items()} == pytest.approx(expected)


def test_the_state_goes_on(trained, tmp_path: Path) -> None:
    """Rows and counters in another object; the saved state is not changed by it."""
    _, history, _, _ = trained
    again = History(tmp_path / "history.csv", CODES, IGNORED)
    again.load_state_dict(history.state_dict())
    assert again.state_dict() == history.state_dict()
    again.seconds["model"] += 1
    assert again.seconds != history.seconds


@pytest.mark.parametrize("text", ["the user's", None])
def test_a_file_that_cannot_be_written_stops_no_training(folder: Path, tmp_path: Path, capsys, text) -> None:
    """A file of the user stays, with one line an epoch; a folder that is gone is reported by the checkpoint."""
    path = tmp_path / "gone" / "history.csv" if text is None else tmp_path / "history.csv"
    if text is not None:
        path.write_text(text)
    learn = Learner(loaders(folder, RandomPatch(32, per_slide=2)), nn.Conv2d(3, 5, 1))
    history = History(path, CODES)
    with learn.no_bar(), learn.no_logging():
        learn.fit(2, 0.1, cbs=history)
    lines = capsys.readouterr().err.splitlines()
    assert len(history.rows) == 2 and len(lines) == (0 if text is None else 2)
    assert all(re.match("history not written: .*did not write it.*; training goes on", line) for line in lines)
    assert text is None or path.read_text() == text


def test_pace_prints_a_line_for_each_epoch(folder: Path, tmp_path: Path, capsys) -> None:
    """Losses and metrics as recorded; no bar where none is asked for."""
    learn = Learner(loaders(folder, RandomPatch(32, per_slide=2)), nn.Conv2d(3, 5, 1), metrics=SlideDice())
    history = History(tmp_path / "history.csv", CODES)
    with learn.no_bar(), learn.no_logging():
        learn.fit(2, 0.1, cbs=[history, Pace(history, 2, show=False)])
    lines = capsys.readouterr().err.splitlines()
    for number, (line, values) in enumerate(zip(lines, learn.recorder.values, strict=True), 1):
        scores = dict(zip(["train_loss", "valid_loss", "slide_dice"], values, strict=True))
        assert line == f"epoch {number} of 2: " + ", ".join(f"{name} {value:.4f}" for name, value in scores.items())
