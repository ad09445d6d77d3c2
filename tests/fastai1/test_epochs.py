"""Which windows the next training pass has, after every way to begin and to end a pass."""

from pathlib import Path

import numpy as np
import pytest
import torch
from fastai.basic_data import DatasetType
from fastai.basic_train import Learner, LearnerCallback
from fastai.callback import Callback
from fastai.callbacks import (
    CSVLogger,
    EarlyStoppingCallback,
    ReduceLROnPlateauCallback,
    SaveModelCallback,
    TrackEpochCallback,
)  # fmt: skip

from patchaug import OptionError

from .conftest import Places, bunch


class Windows(Callback):
    """Hash of the images of each training batch, by pass; stops a pass after some batches, or training by an error."""

    def __init__(self, stop_after: int | None = None, error: type[BaseException] | None = None) -> None:
        self.stop_after, self.error, self.passes = stop_after, error, []

    def on_epoch_begin(self, **kwargs) -> None:
        self.passes.append([])

    def on_batch_begin(self, last_input, train, **kwargs) -> None:
        if train:
            self.passes[-1].append(hash(last_input.numpy().tobytes()))

    def on_batch_end(self, train, **kwargs):
        if train and self.stop_after is not None and len(self.passes[-1]) >= self.stop_after:
            if self.error is not None:
                raise self.error
            return {"stop_epoch": True}
        return None


def plain(folder: Path, tmp_path: Path, **kwargs) -> Learner:
    """A learner with a small model; training passes of 6 batches."""
    torch.manual_seed(0)
    return Learner(bunch(folder, **kwargs), torch.nn.Conv2d(3, 5, 1), path=tmp_path)


@pytest.fixture(scope="module")
def epochs(folder: Path) -> list[list[int]]:
    """The batches of six epochs."""
    data = bunch(folder)
    return [[hash(x.numpy().tobytes()) for x, _ in data.train_dl] for _ in range(6)]


@pytest.mark.parametrize("workers", [0, 2])
def test_short_passes_have_windows_of_their_own(folder: Path, tmp_path: Path, epochs, workers: int) -> None:
    """A quarter of each epoch: four times other windows, and the next fit goes on."""
    learn, seen = plain(folder, tmp_path, num_workers=workers), Windows(stop_after=2)
    learn.fit(4, callbacks=[seen])
    assert seen.passes == [one[:2] for one in epochs[:4]] and learn.data.epoch == 4
    learn.fit(1, callbacks=[whole := Windows()])
    assert whole.passes == [epochs[4]] and learn.data.epoch == 5


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_what_was_trained_on_counts(folder: Path, tmp_path: Path, epochs, error: type) -> None:
    """Ctrl-C or an error in a pass; a pass without any batch leaves the epoch."""
    learn, seen = plain(folder, tmp_path), Windows(3, error)
    with pytest.raises(error):
        learn.fit(2, callbacks=[seen])
    assert learn.data.epoch == 1
    learn.fit(1, callbacks=[after := Windows()])
    assert after.passes == [epochs[1]]

    class Early(Callback):
        def on_epoch_begin(self, **kwargs) -> None:
            raise error

    with pytest.raises(error):
        learn.fit(1, callbacks=[Early()])
    assert learn.data.epoch == 2


LOOKS = {
    "lr_find": lambda learn: learn.lr_find(num_it=9),
    "lr_find that stops": lambda learn: learn.lr_find(start_lr=1e3, end_lr=1e9, num_it=30),
    "validate": lambda learn: learn.validate(learn.data.train_dl),
    "get_preds": lambda learn: learn.get_preds(DatasetType.Train),
    "get_preds of two batches": lambda learn: learn.get_preds(DatasetType.Train, n_batch=2),
    "one_batch": lambda learn: learn.data.one_batch(),
    "show_batch": lambda learn: learn.data.show_batch(rows=1),
    "show_results": lambda learn: learn.show_results(DatasetType.Train, rows=1),
    "fixed": lambda learn: learn.get_preds(DatasetType.Fix),
}


@pytest.mark.parametrize("name", LOOKS)
def test_looks_leave_the_run_where_it_is(folder: Path, tmp_path: Path, epochs, name: str) -> None:
    """Before the first epoch and between two."""
    learn, seen = plain(folder, tmp_path), Windows()
    LOOKS[name](learn)
    assert learn.data.epoch == 0
    learn.fit(1, callbacks=[seen])
    LOOKS[name](learn)
    assert learn.data.epoch == 1
    learn.fit(1, callbacks=[seen])
    assert seen.passes == epochs[:2]


def test_validation_on_training_windows_inside_a_fit(folder: Path, tmp_path: Path, epochs) -> None:
    """A callback that scores the training loader in the middle of a pass."""

    class Scores(LearnerCallback):
        def on_batch_end(self, train, num_batch, **kwargs) -> None:
            if train and num_batch == 2:
                self.learn.get_preds(DatasetType.Train)

    learn, seen = plain(folder, tmp_path), Windows()
    learn.fit(2, callbacks=[Scores(learn), seen])
    assert seen.passes == epochs[:2] and learn.data.epoch == 2


CALLBACKS = {
    "EarlyStopping": lambda learn: EarlyStoppingCallback(learn, monitor="valid_loss", min_delta=100.0, patience=0),
    "SaveModel": lambda learn: SaveModelCallback(learn, every="improvement"),
    "ReduceLROnPlateau": lambda learn: ReduceLROnPlateauCallback(learn, patience=0),
    "CSVLogger": lambda learn: CSVLogger(learn),
}


@pytest.mark.parametrize("name", CALLBACKS)
def test_callbacks_keep_the_order_of_epochs(folder: Path, tmp_path: Path, epochs, name: str) -> None:
    """As many epochs as were trained, one after the other, and then the next."""
    learn, seen = plain(folder, tmp_path), Windows()
    learn.fit(3, callbacks=[CALLBACKS[name](learn), seen])
    trained = len(seen.passes)
    assert trained == (2 if name == "EarlyStopping" else 3) and seen.passes == epochs[:trained]
    learn.fit(1, callbacks=[after := Windows()])
    assert after.passes == [epochs[trained]]


def test_a_later_start_draws_the_windows_of_its_epoch(folder: Path, tmp_path: Path, epochs) -> None:
    """fit_one_cycle(start_epoch=2) in a new process, and fastai's callback that remembers the epoch in a file."""
    learn, seen = plain(folder, tmp_path), Windows()
    learn.fit_one_cycle(4, callbacks=[seen], start_epoch=2)
    assert seen.passes[:2] == epochs[2:4]
    learn = plain(folder, tmp_path)
    learn.fit(2, callbacks=[TrackEpochCallback(learn)])
    again = plain(folder, tmp_path)
    again.fit(4, callbacks=[TrackEpochCallback(again), seen := Windows()])
    assert seen.passes[0] == epochs[2]


def test_tta_is_refused(folder: Path, tmp_path: Path) -> None:
    """fastai's own averages pictures that it has moved."""
    learn = Learner(bunch(folder), Places(), path=tmp_path)
    with pytest.raises(OptionError, match=r"TTA averages .* use learn.predict_slide"):
        learn.TTA()


def test_predict_slide_sees_the_callbacks(folder: Path, tmp_path: Path) -> None:
    """One that mirrors the images and mirrors the scores back, as get_preds runs it; made by a function or given."""

    class Mirrored(Callback):
        def on_batch_begin(self, last_input, **kwargs):
            return {"last_input": last_input.flip(-1)}

        def on_loss_begin(self, last_output, **kwargs):
            return {"last_output": last_output.flip(-1) if self.back else last_output}

        def __init__(self, back: bool) -> None:
            self.back = back

    from patchaug.testing import coordinate_mask

    path, truth = folder / "images" / "s0.tiff", coordinate_mask(256, 256)
    for extra in ({"callbacks": [Mirrored(True)]}, {"callback_fns": [lambda learn: Mirrored(True)]}):
        learn = Learner(bunch(folder), Places(), path=tmp_path, **extra)
        assert (learn.predict_slide(path) == truth).all()
    learn = Learner(bunch(folder), Places(), path=tmp_path, callbacks=[Mirrored(False)])
    wrong = learn.predict_slide(path)
    assert (wrong[:, :32] == truth[:, 31::-1]).all()
    recorder = object()
    learn.recorder = recorder
    learn.predict_slide(path)
    assert learn.recorder is recorder
    assert np.array_equal(wrong, learn.predict_slide(path))
