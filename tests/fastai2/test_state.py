"""A run is a few integers: stop anywhere, go on in another process, and the batches are the same."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from fastai.vision.all import Callback, CancelFitException, Learner

from patchaug import OptionError
from patchaug.fastai import RandomPatch

from .conftest import Places, loaders
from .resumed import hashes, loader

ROOT = Path(__file__).resolve().parents[2]


def test_a_run_goes_on_after_any_batch(folder: Path) -> None:
    """Stopped after each of the 50 batches of an epoch: a new process, with 0, 1 or 2 workers, gives the rest of it."""
    dl = loader(folder)
    first, second, third = hashes(dl), hashes(dl), hashes(dl)
    assert not set(first) & set(second)
    dl.epoch = 1
    states = [json.dumps(dl.state_dict())]
    states += [json.dumps(dl.state_dict()) for _ in dl]
    assert len(states) == 51
    done = subprocess.run(
        [sys.executable, "-m", "tests.fastai2.resumed", folder], input=f"[{','.join(states)}]",
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=250,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for number, rest in enumerate(json.loads(done.stdout.splitlines()[-1])):
        whole = second[number:] if number < 50 else third  # saved after the last batch: the next epoch
        following = [] if number % 17 else third if number < 50 else hashes(loader_at(folder, 3))
        assert rest == whole + following, number


def loader_at(folder: Path, epoch: int):
    """The loader at the start of an epoch."""
    dl = loader(folder)
    dl.epoch = epoch
    return dl


def test_a_learner_that_was_stopped_goes_on(folder: Path, tmp_path: Path) -> None:
    """The state saved by a callback within an epoch; peeking at batches moves nothing."""

    class Stop(Callback):
        def after_batch(self) -> None:
            if self.training and self.iter == 6:
                self.learn.kept = self.dls.train.state_dict()
                raise CancelFitException

    both = loaders(folder, RandomPatch(16, per_slide=50, foreground=0.5, seed=11), bs=3)
    learn = Learner(both, Places(), path=tmp_path)
    with learn.no_bar(), learn.no_logging():
        learn.fit(1, cbs=Stop())
    assert learn.kept == {"seed": 11, "epoch": 0, "batch": 7, "bs": 3, "windows": 150}
    after = {**learn.kept, "epoch": 1, "batch": 0}  # the callback has ended the epoch
    assert both.train.state_dict() == after
    both.train.one_batch()
    assert both.train.state_dict() == after
    both.train.epoch = 0
    whole = hashes(both.train)
    again = loaders(folder, RandomPatch(16, per_slide=50, foreground=0.5, seed=11), bs=3).train
    again.load_state_dict(learn.kept)
    again.one_batch()
    assert again.state_dict() == learn.kept and len(again) == 43
    assert hashes(again) == whole[7:]
    assert again.state_dict() == after


def test_states_of_other_runs_are_refused(folder: Path) -> None:
    """Each difference by name, and what is no state."""
    state = loader(folder).state_dict()
    dl = loader(folder)
    for other, text in [
        ({"seed": 12}, "saved with seed=12, and this loader has 11"),
        ({"bs": 4}, "saved with bs=4, and this loader has 3"),
        ({"windows": 7}, "saved with windows=7, and this loader has 150"),
        ({"batch": 51}, r"batch of the state must be in 0..50, got 51"),
        ({"epoch": -1}, "epoch of the state must be in 0.."),
        ({"more": 1}, "a state holds seed, epoch, batch, bs, windows; got"),
    ]:
        with pytest.raises(OptionError, match=text):
            dl.load_state_dict({**state, **other})
    with pytest.raises(OptionError, match="got no keys"):
        dl.load_state_dict({})
    assert dl.state_dict() == state
