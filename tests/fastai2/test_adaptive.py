"""Adaptive windows in fastai: losses are recorded, state is saved, and a resumed run goes on with the same windows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from fastai.vision.all import Callback, Learner, MixUp, nn

from patchaug import ImportanceWeights, OptionError
from patchaug.fastai import Checkpoint, RandomPatch, SlideDataLoaders

MASK = np.zeros((96, 128), np.uint8)
MASK[20:34, 30:50] = 1
IMAGE = np.repeat((60 + 120 * MASK + np.arange(128) // 2)[..., None], 3, 2).astype(np.uint8)


def loaders(workers: int = 0, **options):
    """Loaders of two slides."""
    patch = RandomPatch(**{"size": 32, "per_slide": 8, "mode": "adaptive", "blocks": 3, **options})
    return SlideDataLoaders.from_lists(
        [(IMAGE, MASK), (IMAGE[::-1].copy(), MASK[::-1].copy())], [(IMAGE.copy(), MASK)], codes=["a", "b"],
        item_tfms=patch, bs=4, num_workers=workers,
    )  # fmt: skip


def learner(path: Path, dls=None, **options) -> Learner:
    """One convolution, the same each time."""
    torch.manual_seed(3)
    return Learner(loaders(**options) if dls is None else dls, nn.Conv2d(3, 2, 3, padding=1), path=path)


class Seen(Callback):
    """Windows and losses of all batches; asks a checkpoint to end the run after some."""

    def __init__(self, stop: int = 10**9, checkpoint: Checkpoint | None = None) -> None:
        self.stop, self.checkpoint, self.windows, self.losses = stop, checkpoint, [], []

    def after_loss(self) -> None:
        """Compute the loss of each window by hand."""
        if self.learn.training:
            dl = self.learn.dls.train
            self.windows += [dl.plan[index].window for index in dl.batch_weights.indices.tolist()]
            single = nn.functional.cross_entropy(self.learn.pred.detach(), self.learn.y.long(), reduction="none")
            self.losses += single.mean((1, 2)).tolist()

    def after_batch(self) -> None:
        """End the run."""
        if self.learn.training and len(self.windows) >= self.stop:
            self.checkpoint.stop()


def fit(learn: Learner, epochs: int, *cbs: Callback) -> None:
    """Train quietly."""
    with learn.no_bar(), learn.no_logging():
        learn.fit(epochs, 0.05, cbs=list(cbs))


@pytest.mark.parametrize("weights", [False, True])
def test_losses_of_each_batch_are_recorded(weights: bool, tmp_path: Path) -> None:
    """By hand, with and without weights; looking, finding a rate and validating leave the state as it is."""
    seen, learn = Seen(), learner(tmp_path, weights=weights)
    adaptation = learn.dls.train.plan.adaptation
    learn.dls.one_batch()
    with learn.no_bar(), learn.no_logging():
        learn.lr_find(show_plot=False, num_it=9)
        learn.validate(dl=learn.dls.train)
    assert adaptation.epoch == 0 and not any(cells.any() for cells in adaptation.state_dict()["cells"])
    fit(learn, 1, seen)
    sums = sum(int(cells[2].sum()) for cells in adaptation.state_dict()["cells"])
    assert sums / 2**20 == pytest.approx(sum(seen.losses), rel=1e-5) and len(seen.losses) == 16
    fit(learn, 2)
    assert adaptation.epoch == 2 and learn.dls.train.epoch == 3
    learn.dls.one_batch()
    assert adaptation.epoch == 2
    learn.dls.show_batch()
    if weights:
        assert learn.dls.train.importance.max_weight is None
        law = ImportanceWeights(learn.dls.train.plan)
        assert all(law(learn.dls.train.plan[index]) <= 10 for index in range(32, 48))


def test_workers_draw_the_windows_of_the_main_process(tmp_path: Path) -> None:
    """The same windows and losses with two workers, which are started anew in each epoch."""
    found = []
    for workers in (0, 2):
        seen = Seen()
        fit(learner(tmp_path, workers=workers), 3, seen)
        found.append((seen.windows, seen.losses))
    assert found[0][0] == found[1][0] and found[0][1] == pytest.approx(found[1][1], rel=1e-6)


@pytest.mark.parametrize("stop", [4, 16, 24])
def test_a_resumed_run_has_the_same_windows(stop: int, tmp_path: Path) -> None:
    """Ended within the first epoch, at its end, and within the second: windows and state are those of a whole run."""
    broken = Checkpoint(tmp_path)
    whole, first, rest = Seen(), Seen(stop, broken), Seen()
    learn = learner(tmp_path)
    fit(learn, 3, whole)
    fit(learner(tmp_path), 3, first, broken)
    again = learner(tmp_path)
    fit(again, 3, Checkpoint(tmp_path, resume=True), rest)
    assert first.windows + rest.windows == whole.windows
    states = [one.dls.train.plan.adaptation.state_dict() for one in (learn, again)]
    assert all((a == b).all() for a, b in zip(*(state["cells"] for state in states), strict=True))
    assert [state["epoch"] for state in states] == [2, 2]


def test_what_cannot_adapt_is_refused(tmp_path: Path) -> None:
    """Mixed windows, options of other modes, states without losses."""
    with pytest.raises(OptionError, match="MixUp mixes windows"):
        fit(learner(tmp_path), 1, MixUp())
    with pytest.raises(OptionError, match='foreground=0.5 is for mode="random"'):
        loaders(foreground=0.5)
    dls = loaders()
    state = dls.train.state_dict()
    state.pop("adaptation")
    with pytest.raises(OptionError, match="the state has no losses"):
        dls.train.load_state_dict(state)
