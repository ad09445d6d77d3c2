"""A run that is broken off anywhere and resumed ends with the weights, records and schedule of an unbroken one."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fastai.callback.core import Callback as FastaiCallback
from fastai.vision.all import (
    CancelFitException,
    EarlyStoppingCallback,
    FlipItem,
    GradientAccumulation,
    Learner,
    aug_transforms,
    nn,
    set_seed,
)  # fmt: skip

from patchaug.errors import MissingError, OptionError, ReadError, WriteError
from patchaug.fastai import Checkpoint, RandomPatch

from .conftest import loaders

EPOCHS = 3


class Noisy(FastaiCallback):
    """Draw from all global generators at many events, as transforms and other callbacks do."""

    order = 20

    def __init__(self) -> None:
        self.drawn: list[float] = []

    def _draw(self) -> None:
        self.drawn.append(random.random() + np.random.rand() + float(torch.rand(())))

    def before_epoch(self) -> None:
        self._draw()

    before_train = before_batch = after_batch = before_validate = after_epoch = before_epoch


class Break(FastaiCallback):
    """End `fit` at an event of an epoch and batch, in the middle of everything, or by a request to stop."""

    order = 101

    def __init__(self, epoch: int, batch: int, training: bool = True, ask: Checkpoint | None = None) -> None:
        self.at, self.ask = (epoch, batch, training), ask

    def before_batch(self) -> None:
        if (self.learn.epoch, self.learn.iter, self.learn.training) == self.at:
            if self.ask is None:
                raise CancelFitException
            self.ask.stop("SIGTERM")


def learner(folder: Path, path: Path, workers: int = 0, **kwargs: Any) -> Learner:
    """A small model with dropout and batch norm, on 3 slides of 8 windows: 6 batches an epoch."""
    set_seed(3, reproducible=True)
    dls = loaders(
        folder, RandomPatch(32, per_slide=8, foreground=0.5, seed=7), bs=4, num_workers=workers,
        item_tfms=[FlipItem(0.5)], batch_tfms=aug_transforms(flip_vert=True, max_rotate=0, max_zoom=1, max_warp=0),
    )  # fmt: skip
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Dropout(0.3), nn.Conv2d(4, 5, 1))
    learn = Learner(dls, model, path=path, cbs=[Noisy(), *kwargs.pop("cbs", [])], **kwargs)
    learn.create_mbar, learn.logger = False, lambda *args: None
    return learn


def one_cycle(learn: Learner, checkpoint: Checkpoint, *cbs: Any) -> None:
    """The usual schedule."""
    with learn.no_bar():
        learn.fit_one_cycle(EPOCHS, 1e-2, cbs=[checkpoint, *cbs])


def fine_tune(learn: Learner, checkpoint: Checkpoint, *cbs: Any) -> None:
    """Two calls of fit with one checkpoint."""
    with learn.no_bar():
        learn.fit_one_cycle(1, 1e-2, cbs=[checkpoint, *cbs])
        learn.fit_flat_cos(2, 1e-3, cbs=[checkpoint, *cbs])


def result(learn: Learner) -> tuple[dict[str, bytes], list[Any], list[Any], list[Any]]:
    """Weights as bytes, and the records."""
    weights = {name: value.numpy().tobytes() for name, value in learn.model.state_dict().items()}
    recorder = learn.recorder
    return (
        weights,
        [list(row) for row in recorder.values],
        list(map(float, recorder.lrs)),
        list(map(float, recorder.losses)),
    )


@pytest.fixture(scope="module")
def unbroken(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """The result of a run without an interruption, made once."""
    made: dict[Any, Any] = {}

    def make(fit: Any = one_cycle, cbs: Any = None) -> Any:
        if (fit, cbs) not in made:
            path = tmp_path_factory.mktemp("unbroken")
            learn = learner(folder, path, cbs=cbs() if cbs else [])
            fit(learn, Checkpoint(path))
            made[fit, cbs] = result(learn)
        return made[fit, cbs]

    return make


def resumed(folder: Path, path: Path, fit: Any = one_cycle, cbs: Any = None, workers: int = 0) -> Any:
    """The result of the rest of the run, in what might be another process."""
    set_seed(99)
    learn = learner(folder, path, workers, cbs=cbs() if cbs else [])
    fit(learn, Checkpoint(path, resume=True))
    return result(learn)


@pytest.mark.parametrize(
    ("epoch", "batch", "training"),
    [(0, 0, True), (0, 3, True), (1, 0, True), (1, 5, True), (2, 5, True), (0, 1, False), (2, 0, False)],
)
def test_a_request_to_stop_loses_nothing(folder, tmp_path, unbroken, epoch, batch, training):
    """First, middle and last batches of training, and within validation."""
    checkpoint = Checkpoint(tmp_path)
    learn = learner(folder, tmp_path)
    one_cycle(learn, checkpoint, Break(epoch, batch, training, checkpoint))
    assert checkpoint.stopped == "SIGTERM"
    place = torch.load(checkpoint.path, weights_only=True)["place"]
    assert (place["epoch"], place["batch"]) == (epoch, batch + 1 if training else 6)
    assert resumed(folder, tmp_path, workers=batch % 3) == unbroken()


@pytest.mark.parametrize(("epoch", "batch"), [(1, 0), (1, 4), (2, 2)])
def test_a_crash_loses_what_was_trained_since_the_last_checkpoint(folder, tmp_path, unbroken, epoch, batch):
    """The end of the epoch before; the weights are the same in the end."""
    one_cycle(learner(folder, tmp_path), Checkpoint(tmp_path), Break(epoch, batch))
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["place"]["epoch"] == epoch
    assert resumed(folder, tmp_path) == unbroken()


def test_minutes_save_within_an_epoch(folder, tmp_path, unbroken):
    """After each batch, where so little time is asked for."""
    one_cycle(learner(folder, tmp_path), Checkpoint(tmp_path, minutes=1e-9), Break(1, 4))
    place = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["place"]
    assert (place["epoch"], place["batch"]) == (1, 4)
    assert resumed(folder, tmp_path, workers=2) == unbroken()


@pytest.mark.parametrize(("fits", "epoch", "batch"), [(0, 0, 2), (1, 0, 0), (1, 1, 3)])
def test_two_calls_of_fit(folder, tmp_path, unbroken, fits, epoch, batch):
    """As in `fine_tune`: what was done is not done again."""
    checkpoint = Checkpoint(tmp_path)
    learn = learner(folder, tmp_path)
    ends = Break(epoch, batch, True, checkpoint)
    with learn.no_bar():
        learn.fit_one_cycle(1, 1e-2, cbs=[checkpoint, *([ends] if fits == 0 else [])])
        if fits:
            learn.fit_flat_cos(2, 1e-3, cbs=[checkpoint, ends])
    assert resumed(folder, tmp_path, fine_tune) == unbroken(fine_tune)


def others() -> list[Any]:
    """Callbacks of fastai with a state of their own."""
    return [GradientAccumulation(8), EarlyStoppingCallback(patience=2)]


def test_gradients_that_wait_for_a_step_are_saved(folder, tmp_path, unbroken):
    """And the state of fastai's own callbacks."""
    for batch in (0, 1):
        checkpoint = Checkpoint(tmp_path)
        learn = learner(folder, tmp_path, cbs=others())
        one_cycle(learn, checkpoint, Break(1, batch, True, checkpoint))
        assert resumed(folder, tmp_path, cbs=others) == unbroken(cbs=others)
        checkpoint.path.unlink()


def test_the_best_epoch_is_kept(folder, tmp_path):
    """Its weights, not the last ones; the monitored value is the least loss."""
    from patchaug.fastai2.checkpoint_files import load_best

    seen = {}

    class Keep(FastaiCallback):
        order = 90

        def after_epoch(self) -> None:
            loss = self.learn.recorder.values[-1][1]
            seen[self.learn.epoch + 1] = loss, {k: v.clone() for k, v in self.learn.model.state_dict().items()}

    learn = learner(folder, tmp_path)
    checkpoint = Checkpoint(tmp_path)
    with learn.no_bar():
        learn.fit(EPOCHS, 0.3, cbs=[checkpoint, Keep()])
    best = min(seen, key=lambda epoch: seen[epoch][0])
    assert checkpoint.best == {"monitor": "valid_loss", "epoch": best, "value": seen[best][0]}
    load_best(tmp_path / "best.pt", learn.model)
    assert all(torch.equal(value, seen[best][1][name]) for name, value in learn.model.state_dict().items())


def test_wrong_use_is_one_error(folder, tmp_path):
    """No checkpoint, a damaged one, another run, another file, an unknown monitor."""
    with pytest.raises(MissingError, match="there is no checkpoint"):
        Checkpoint(tmp_path, resume=True)
    (tmp_path / "checkpoint.pt").write_bytes(b"no")
    with pytest.raises(ReadError, match="is damaged, or not a checkpoint"):
        Checkpoint(tmp_path, resume=True)
    learn = learner(folder, tmp_path)
    checkpoint = Checkpoint(tmp_path)
    with pytest.raises(WriteError, match=r"did not write it.*there is no checkpoint yet|the last checkpoint is"):
        one_cycle(learn, checkpoint, Break(0, 1, True, checkpoint))
    assert (tmp_path / "checkpoint.pt").read_bytes() == b"no"
    (tmp_path / "checkpoint.pt").unlink()
    one_cycle(learner(folder, tmp_path), checkpoint := Checkpoint(tmp_path), Break(0, 1, True, checkpoint))
    with pytest.raises(OptionError, match="belongs to 3 epochs of 6 batches, and this run has 4 of 6"):
        learner(folder, tmp_path).fit(4, cbs=Checkpoint(tmp_path, resume=True))
    with pytest.raises(OptionError, match="monitor='dice' is not recorded; there are train_loss, valid_loss"):
        learner(folder, tmp_path).fit(1, cbs=Checkpoint(tmp_path, monitor="dice"))
    with pytest.raises(OptionError, match="must be above 0, got 0"):
        Checkpoint(tmp_path, minutes=0)


def test_a_removed_folder_ends_the_run_and_a_full_disk_does_not(folder, tmp_path, monkeypatch, capsys):
    """In one line each; the full disk keeps the last checkpoint, and names it at the end."""
    import patchaug.fastai2.checkpoint as module

    write, calls = module.write_checkpoint, []

    def full(path, state):
        calls.append(path.name)
        if path.name == "checkpoint.pt" and calls.count("checkpoint.pt") > 1:
            raise WriteError(f"{path} cannot be written: No space left on device; free some space")
        write(path, state)

    monkeypatch.setattr(module, "write_checkpoint", full)
    checkpoint = Checkpoint(tmp_path / "a")
    (tmp_path / "a").mkdir()
    text = r"No space left on device; free some space; the last checkpoint is .*checkpoint.pt \(epoch 2 of 3, batch 0\)"
    with pytest.raises(WriteError, match=text):
        one_cycle(learner(folder, tmp_path), checkpoint, Break(2, 2, True, checkpoint))
    assert capsys.readouterr().err.count("training goes on") == 1
    monkeypatch.setattr(module, "write_checkpoint", write)
    with pytest.raises(WriteError, match="b was removed while the run was going, and its results with it"):
        one_cycle(learner(folder, tmp_path), Checkpoint(tmp_path / "b"))
