"""Options of the learner in whole runs: what they do, and how broken runs end."""

from __future__ import annotations

import json
import re
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from fastai.callback.core import Callback
from fastai.vision.all import load_learner

import patchaug.cli.training as training
from patchaug import OptionError, PatchaugError, open_slide
from patchaug.cli import app
from patchaug.cli.run_folder import RunFolder
from patchaug.cli.split_pairs import pairs_of
from patchaug.core.messages import messages_from
from patchaug.fastai2.model_folder import load_model
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

def plain(n_in, n_out):
    return nn.Conv2d(n_in, n_out, 1)
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


def test_a_model_of_smp_with_tensorboard(run, capsys: pytest.CaptureFixture[str]) -> None:
    """The model is written as data too, and predicts the same; events hold what history.csv holds."""
    pytest.importorskip("segmentation_models_pytorch")
    loading = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    options = {"model": "smp:Unet/resnet18", "log": "tensorboard", "epochs": 1, "per_slide": 4}
    with messages_from("warning"):
        report = run("smp", **options)
    assert capsys.readouterr().err == ""
    slide = open_slide(report["valid"][0])
    expected = load_learner("smp/model.pkl").predict_slide(slide)
    assert np.array_equal(load_model("smp/model").predict_slide(slide), expected)
    events = loading.EventAccumulator("smp/tensorboard").Reload()
    row = report["history"][0]
    for name in ("train_loss", "slide_dice", "iou e"):
        if row[name] is not None:
            assert [event.value for event in events.Scalars(f"epoch/{name}")] == pytest.approx([row[name]])
    assert [event.step for event in events.Scalars("batch/lr")] == [1, 2, 3]
    with closing(RunFolder.claim("smp", overwrite=True)) as folder:
        folder.remove_results()
    assert not any(Path("smp/tensorboard").iterdir())


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"model": "own_net:mak"}, "has no 'mak'; did you mean make?"),
        ({"init": "none.pth"}, "there is no file none.pth"),
        ({"init": "start.pth"}, "does not fit the model"),
        ({"accumulate": 50}, "accumulate=50 batches make one step, and the run has 18 in all"),
        ({"augment": "no.yaml"}, "no pipeline or file is named 'no.yaml'"),
        ({"augment": "bad.json"}, "bad.json is not a file of albumentations.save"),
        ({"schedule": "fine-tune", "model": "own_net:plain"}, "the model has one group of parameters"),
        ({"device": "cuda:99"}, "device cuda:99"),
    ],
)
def test_what_cannot_train_is_one_error_before_training(run, options: dict[str, Any], text: str) -> None:
    """No result is left in the folder."""
    torch.save({"a": torch.zeros(1)}, "start.pth")
    Path("bad.json").write_text('{"transform": {"__class_fullname__": "os.system"}}')
    with pytest.raises(PatchaugError, match=re.escape(text)):
        run("out", **options)
    assert not Path("out", "model.pkl").exists() and not Path("out", "history.csv").exists()


def test_pipelines_from_files(run) -> None:
    """JSON and YAML of albumentations train the same model; another file of the same name is not resumed."""
    import albumentations as alb

    pipeline = alb.Compose([alb.HorizontalFlip(p=0.5), alb.RandomBrightnessContrast(p=0.5)])
    alb.save(pipeline, "p.json")
    alb.save(pipeline, "p.yaml", data_format="yaml")
    short = {"epochs": 1, "model": "own_net:make"}
    for name in ("json", "yaml"):
        run(name, augment=f"p.{name}", **short)
    assert weights("json") == weights("yaml")
    assert not Path("json", "model").exists()  # a model of one's own needs its code
    run("broken", until=2, augment="p.json", **short)
    alb.save(alb.Compose([alb.VerticalFlip()]), "p.json")
    with pytest.raises(OptionError, match=r"1 files of the data have changed since the run began: .*p.json"):
        run("broken", resume=True, augment="p.json", **short)


def test_balanced_weights_and_absent_classes(run, capsys: pytest.CaptureFixture[str]) -> None:
    """A class without a pixel is named, and has the weight 1; the others weigh by their pixels in the masks."""
    options = {"epochs": 1, "codes": [*CODES, "ghost"], "class_weights": "balanced", "model": "own_net:make"}
    report = run("out", **options)
    masks = [tifffile.imread(path.replace("images", "masks"), series=0, level=0) for path in report["train"]]
    counts = np.bincount(np.concatenate([mask.ravel() for mask in masks]), minlength=6)
    assert counts[5] == 0 and (counts[:5] > 0).all()
    assert report["class_weights"] == pytest.approx([*(counts.sum() / (5 * counts[:5])), 1.0])
    text = capsys.readouterr().err
    assert 'no mask of the 3 training slides holds "ghost"' in text and "class weights: a " in text


def test_folds_share_a_time_limit(folder: Path, tmp_path: Path) -> None:
    """The first fold ends after a batch and can be resumed; no other one begins."""
    with pytest.raises(SystemExit) as stopped:
        app(["train", "--images", str(folder), "--codes", ",".join(CODES), "--size", "32", "--per-slide", "8",
             "--workers", "0", "--folds", "2", "--time-limit", "0.01s", "--loss", "focal", "--out", str(tmp_path / "o"),
             "--json", "--early-stopping", "1"])  # fmt: skip
    assert stopped.value.code == 1
    assert sorted(path.name for path in (tmp_path / "o").iterdir() if path.is_dir()) == ["fold-1"]
    report = json.loads((tmp_path / "o" / "fold-1" / "report.json").read_text())
    assert report["ended"] == "time limit" and report["options"]["loss"] == "focal" and report["interrupted"]
    assert (tmp_path / "o" / "fold-1" / "checkpoint.pt").is_file()
