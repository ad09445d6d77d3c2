"""Which windows a learner trains on: new ones in every pass, whatever ends it, and none for what only looks."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from fastai.vision.all import (
    Callback,
    CancelEpochException,
    CancelFitException,
    CSVLogger,
    CutMix,
    DataLoaders,
    EarlyStoppingCallback,
    GradientAccumulation,
    Learner,
    LRFinder,
    MixedPrecision,
    ReduceLROnPlateau,
    SaveModelCallback,
    ShortEpochCallback,
)

from patchaug import OptionError
from patchaug.fastai import RandomPatch

from .conftest import Places, loaders

BATCHES = 12


def made(folder: Path) -> DataLoaders:
    """Three slides of 16 windows in batches of 4."""
    return loaders(folder, RandomPatch(16, per_slide=16, seed=5))


def digest(images: torch.Tensor) -> str:
    """The hash of a batch of images."""
    return hashlib.sha256(images.as_subclass(torch.Tensor).cpu().numpy().tobytes()).hexdigest()


def epoch(folder: Path, number: int) -> list[str]:
    """The batches of an epoch, from a loader that has made no pass."""
    loader = made(folder).train
    loader.epoch = number
    return [digest(images) for images, _ in loader]


class Trained(Callback):
    """Records the batches that were trained on, before other callbacks change them."""

    order = -99

    def __init__(self) -> None:
        self.passes: list[list[str]] = []

    def before_train(self) -> None:
        self.passes.append([])

    def before_batch(self) -> None:
        if self.training:
            self.passes[-1].append(digest(self.x))


class Break(Callback):
    """Raises an exception in a batch of the training."""

    def __init__(self, error: type[BaseException], at: int) -> None:
        self.error, self.at = error, at

    def after_batch(self) -> None:
        if self.training and self.iter == self.at:
            raise self.error("stop")


@pytest.fixture
def trained(folder: Path, tmp_path: Path) -> Learner:
    """A learner that records what it trains on, as `trained.passes`."""
    learn = Learner(made(folder), Places(), path=tmp_path, cbs=Trained())
    with learn.no_bar(), learn.no_logging():
        yield learn


CALLBACKS: dict[str, tuple[Callable[[], Callback], list[int]]] = {
    "short": (lambda: ShortEpochCallback(pct=0.25), [4, 4, 4]),
    "early": (lambda: EarlyStoppingCallback(monitor="valid_loss", comp=lambda *_: False, patience=2), [12, 12]),
    "save": (SaveModelCallback, [12, 12, 12]),
    "plateau": (ReduceLROnPlateau, [12, 12, 12]),
    "accumulate": (lambda: GradientAccumulation(8), [12, 12, 12]),
    "mixed precision": (MixedPrecision, [12, 12, 12]),
    "cut mix": (CutMix, [12, 12, 12]),
    "csv": (CSVLogger, [12, 12, 12]),
    "cancel epoch": (lambda: Break(CancelEpochException, 2), [3, 3, 3]),
    "cancel fit": (lambda: Break(CancelFitException, 6), [7]),
    "none": (lambda: Callback(), [12, 12, 12]),
}


@pytest.mark.parametrize("name", CALLBACKS)
def test_each_pass_is_an_epoch_of_its_own(folder: Path, trained: Learner, name: str) -> None:
    """Pass k trains on the first batches of epoch k, and the state says where the next fit begins."""
    make, batches = CALLBACKS[name]
    trained.fit(3, 1e-4, cbs=make())
    done = len(batches)
    assert trained.trained.passes == [epoch(folder, k)[:count] for k, count in enumerate(batches)]
    assert trained.dls.train.state_dict() == {"seed": 5, "epoch": done, "batch": 0, "bs": 4, "windows": 48}
    trained.fit(1, 1e-4)
    assert trained.trained.passes[-1] == epoch(folder, done)


LOOKS: dict[str, Callable[[Learner], object]] = {
    "lr_find": lambda learn: learn.lr_find(num_it=30, show_plot=False),
    "lr_find, short": lambda learn: learn.lr_find(num_it=7, show_plot=False),
    "an LRFinder": lambda learn: learn.fit(1, cbs=LRFinder(num_it=7)),
    "tta": lambda learn: learn.tta(ds_idx=0, n=1),
    "validate": lambda learn: learn.validate(ds_idx=0),
    "validate, loader": lambda learn: learn.validate(dl=learn.dls.train),
    "get_preds": lambda learn: learn.get_preds(ds_idx=0),
    "get_preds, loader": lambda learn: learn.get_preds(dl=learn.dls.train),
    "get_preds, loader, as it comes": lambda learn: learn.get_preds(dl=learn.dls.train, reorder=False),
    "one_batch": lambda learn: learn.dls.train.one_batch(),
    "show_batch": lambda learn: learn.dls.train.show_batch(max_n=2),
    "show_results": lambda learn: learn.show_results(ds_idx=0, max_n=2),
    "summary": lambda learn: learn.summary(),
}


@pytest.mark.parametrize(("name", "start"), [("lr_find", (0, 0)), *((name, (1, 5)) for name in LOOKS)])
def test_looking_leaves_the_run(folder: Path, trained: Learner, name: str, start: tuple[int, int]) -> None:
    """The state is the same, and the next fit trains on what it would have trained on; also within an epoch."""
    state = {"seed": 5, "epoch": start[0], "batch": start[1], "bs": 4, "windows": 48}
    trained.dls.train.load_state_dict(state)
    LOOKS[name](trained)
    assert trained.dls.train.state_dict() == state
    trained.trained.passes.clear()
    trained.fit(1, 1e-4)
    assert trained.trained.passes == [epoch(folder, start[0])[start[1] :]]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_fit_goes_on_with_new_windows(folder: Path, trained: Learner, error: type) -> None:
    """Also while the error, which keeps the old pass alive, is at hand; in another process as here."""
    with pytest.raises(error) as kept:
        trained.fit(2, 1e-4, cbs=Break(error, 4))
    assert kept.tb is not None
    state = trained.dls.train.state_dict()
    assert (state["epoch"], state["batch"]) == (1, 0)
    trained.remove_cb(Break)
    trained.fit(2, 1e-4)
    del kept
    assert trained.trained.passes == [epoch(folder, 0)[:5], epoch(folder, 1), epoch(folder, 2)]
    other = made(folder).train
    other.load_state_dict(state)
    assert [digest(images) for images, _ in other] == epoch(folder, 1)


def test_start_epoch_draws_its_windows(folder: Path, trained: Learner) -> None:
    """In a new process, and again in the same one; a state within that epoch stays, another one is an error."""
    trained.fit(4, 1e-4, start_epoch=2)
    trained.fit(3, 1e-4, start_epoch=2)
    assert trained.trained.passes == [epoch(folder, 2), epoch(folder, 3), epoch(folder, 2)]
    state = {"seed": 5, "epoch": 2, "batch": 9, "bs": 4, "windows": 48}
    trained.dls.train.load_state_dict(state)
    with pytest.raises(OptionError, match="start_epoch=1, but the state that was loaded continues epoch 2 after batch"):
        trained.fit(3, 1e-4, start_epoch=1)
    trained.fit(3, 1e-4, start_epoch=2)
    assert trained.trained.passes[-1] == epoch(folder, 2)[9:]


def test_a_loop_without_a_learner_counts_too(folder: Path) -> None:
    """A pass that is left early has used its epoch; passes that run side by side repeat nothing."""
    loader = made(folder).train
    seen = [digest(images) for (images, _), _ in zip(loader, range(5), strict=False)]
    assert loader.state_dict()["epoch"] == 1 and seen[:5] == epoch(folder, 0)[:5]
    pairs = [(digest(a), digest(b)) for (a, _), (b, _) in zip(loader, loader, strict=True)]
    assert [a for a, _ in pairs] == epoch(folder, 1) and [b for _, b in pairs] == epoch(folder, 2)
    assert loader.epoch > 2 and len(loader) == BATCHES


def test_a_look_within_a_pass_leaves_it(folder: Path) -> None:
    """one_batch in the middle of a pass: the pass goes on, and so does its state."""
    loader = made(folder).train
    batches = []
    for number, (images, _) in enumerate(loader):
        loader.one_batch()
        assert loader.state_dict()["batch"] == number + 1
        batches.append(digest(images))
    assert batches == epoch(folder, 0) and loader.epoch == 1


def test_a_validation_that_ends_early_is_the_same_again(folder: Path, trained: Learner) -> None:
    """Its windows never change."""
    whole = [digest(images) for images, _ in trained.dls.valid]
    trained.fit(1, 1e-4, cbs=ShortEpochCallback(pct=0.25))
    assert [digest(images) for images, _ in trained.dls.valid] == whole
