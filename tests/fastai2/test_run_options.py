"""Options of the learner in whole runs: what they do, and how broken runs end."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from fastai.callback.core import Callback
from fastai.vision.all import load_learner

import patchaug.cli.training as training
from patchaug.cli.run_folder import RunFolder
from patchaug.cli.split_pairs import pairs_of
from patchaug.fastai2.models import build_model
from patchaug.options.fields import TrainOptions

from .conftest import CODES

MODULE = """
from torch import nn

class Net(nn.Module):
    def __init__(self, n_in, n_out):
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(n_in, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
        self.head = nn.Conv2d(4, n_out, 1)

    def forward(self, x):
        return self.head(self.encoder(x))

def make(n_in, n_out):
    return Net(n_in, n_out)
"""


@pytest.fixture
def run(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Train with some options, in this process; `until` ends the run after so many batches, as a time limit."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_net.py").write_text(MODULE)

    def train(name: str, *, until: int | None = None, resume: bool = False, **values: Any) -> dict[str, Any]:
        class Limit(Callback):
            order = 99

            def __init__(self, checkpoint, seconds, started):
                self.checkpoint = checkpoint

            def after_batch(self):
                if self.learn.train_iter == until:
                    self.checkpoint.stop("time limit")

        monkeypatch.setattr(training, "TimeLimit", Limit)
        given = {"size": 32, "per_slide": 8, "bs": 4, "epochs": 3, "workers": 0, "codes": CODES, "lr": 0.01, "level": 0}
        options = TrainOptions(images=str(folder), valid_slides=["s3*"], time_limit="9h", **{**given, **values})
        with closing(RunFolder.reopen(name) if resume else RunFolder.claim(name)) as claimed:
            return training.run_training(*pairs_of(options), options=options, folder=claimed, resume=resume)

    return train


def weights(name: str, file: str = "model.pkl") -> dict[str, bytes]:
    """The weights of an exported learner."""
    learn = load_learner(Path(name, file))
    return {key: value.numpy().tobytes() for key, value in learn.model.state_dict().items()}


def rows(report: dict[str, Any]) -> list[dict[str, Any]]:
    """The history without times."""
    return [{key: value for key, value in row.items() if "second" not in key} for row in report["history"]]


ACCUMULATED = {
    "accumulate": 4, "early_stopping": 1, "loss": "focal", "class_weights": "balanced", "optimizer": "sgd",
    "schedule": "flat-cos", "epochs": 9, "lr": 1e-9, "metrics": ["accuracy", "recall"],
}  # fmt: skip
FINE_TUNED = {
    "model": "own_net:make", "init": "start.pth", "schedule": "fine-tune", "loss": "cross_entropy+dice", "amp": True,
    "optimizer": "adam", "augment": "flips",
}  # fmt: skip
CONSTANT = {
    "schedule": "constant", "loss": "dice", "class_weights": {"a": 1, "b": 2, "c": 0, "d": 1, "e": 3},
    "augment": "histology", "epochs": 2, "metrics": ["iou", "precision", "dice"],
}  # fmt: skip


@pytest.mark.parametrize(
    ("options", "batches"),
    [(ACCUMULATED, (3, 7)), (FINE_TUNED, (4, 9)), (CONSTANT, (8,))],
    ids=["acc", "fine", "const"],
)
def test_a_resumed_run_ends_like_an_unbroken_one(run, options: dict[str, Any], batches: tuple[int, ...]) -> None:
    """Weights bit for bit, records, and why it ended; `init` is not read again."""
    if "init" in options:
        torch.manual_seed(5)
        torch.save(build_model("own_net:make", 3, 5).state_dict(), "start.pth")
    whole = run("whole", **options)
    for number, batch in enumerate(batches):
        broken = run("broken", until=batch, resume=number > 0, **options)
        assert broken["interrupted"] and broken["ended"] == "time limit"
    Path("start.pth").unlink(missing_ok=True)
    resumed = run("broken", resume=True, **options)
    assert not resumed["interrupted"] and rows(resumed) == rows(whole)
    for file in ("model.pkl", "best.pkl"):
        assert weights("broken", file) == weights("whole", file)
    assert resumed["ended"] == whole["ended"] and resumed["class_weights"] == whole["class_weights"]
    saved = json.loads(Path("whole", "options.json").read_text())
    for name, value in options.items():
        assert saved[name] == (str(Path(value).resolve()) if name == "init" else value)
    if options is ACCUMULATED:  # nothing is learnt at this rate, so the epoch after the first is no better
        assert whole["ended"] == "early stopping" and whole["epochs_done"] == 2 < 9
        assert {"slide_accuracy", "slide_recall"} <= whole["history"][0].keys()
