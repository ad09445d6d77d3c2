"""predict_slide sees what get_preds sees: callbacks, precision, and the mode of each layer."""

from pathlib import Path

import numpy as np
import pytest
import torch
from fastai.vision.all import (
    Callback,
    CancelBatchException,
    CSVLogger,
    Learner,
    MixedPrecision,
    SaveModelCallback,
    ShortEpochCallback,
    noop,
)

from patchaug import OptionError, open_slide
from patchaug.fastai import RandomPatch

from .conftest import images_of, loaders, mask_of


class Inverted(Callback):
    """Changes the images, and the classes of the answer."""

    def before_batch(self) -> None:
        self.learn.xb = (1 - self.xb[0],)

    def after_pred(self) -> None:
        self.learn.pred = self.pred.roll(1, dims=1)


class Brain(Callback):
    """Weights and images in bfloat16."""

    def before_fit(self) -> None:
        self.learn.model.bfloat16()

    def before_batch(self) -> None:
        self.learn.xb = (self.xb[0].bfloat16(),)


CALLBACKS = {"none": Callback, "inverted": Inverted, "bf16": Brain, "fp16": MixedPrecision}


@pytest.fixture
def learn(folder: Path, tmp_path: Path) -> Learner:
    """A convolution of several classes, and windows that do not overlap."""
    torch.manual_seed(2)
    model = torch.nn.Sequential(torch.nn.InstanceNorm2d(3), torch.nn.Conv2d(3, 5, 3, padding=1), torch.nn.Dropout(0.5))
    learn = Learner(loaders(folder, RandomPatch(64, per_slide=4), bs=3), model, path=tmp_path)
    with learn.no_bar(), learn.no_logging():
        yield learn


def stitched(learn: Learner, path: Path) -> np.ndarray:
    """The map by get_preds."""
    loader = learn.dls.test_dl([path])
    classes = learn.get_preds(dl=loader, act=noop)[0].argmax(dim=1).numpy()
    found = np.empty((256, 256), np.uint8)
    for draw, part in zip(loader.plan, classes, strict=True):
        found[draw.window.y : draw.window.bottom, draw.window.x : draw.window.right] = part
    return found


@pytest.mark.parametrize("name", CALLBACKS)
def test_it_is_the_map_of_get_preds(learn: Learner, folder: Path, name: str) -> None:
    """Pixel by pixel; what changes images or weights changes the map."""
    path = images_of(folder)[0]
    plain = learn.predict_slide(path)
    learn.add_cb(CALLBACKS[name]())
    found = learn.predict_slide(path)
    assert (found == stitched(learn, path)).all() and len(np.unique(found)) > 1
    assert (name != "inverted") or (found != plain).mean() > 0.5
    assert name != "bf16" or next(learn.model.parameters()).dtype == torch.bfloat16


def test_it_leaves_the_records_and_files_of_the_training(learn: Learner, folder: Path, tmp_path: Path) -> None:
    """Values, losses, and the history of a logger."""
    learn.add_cbs([CSVLogger(), SaveModelCallback()])
    learn.fit(2, 1e-3)
    history, record = (tmp_path / "history.csv").read_text(), learn.final_record
    values, losses = list(learn.recorder.values), list(learn.recorder.losses)
    smooth = float(learn.recorder.smooth_loss.value)
    learn.model.train()
    learn.predict_slide(images_of(folder)[0])
    assert learn.recorder.values == values and learn.recorder.losses == losses and learn.final_record is record
    assert float(learn.recorder.smooth_loss.value) == smooth and not hasattr(learn, "gather_preds")
    assert (tmp_path / "history.csv").read_text() == history and learn.model.training and learn.dl is None


@pytest.mark.parametrize("event", ["after_batch", "after_epoch"])
def test_a_callback_may_predict_within_a_fit(folder: Path, tmp_path: Path, event: str) -> None:
    """The training goes on as without it."""
    slide = open_slide(images_of(folder)[0], mask_of(images_of(folder)[0]))
    maps = []

    def losses(*callbacks: Callback) -> list[float]:
        torch.manual_seed(3)
        model = torch.nn.Sequential(torch.nn.BatchNorm2d(3), torch.nn.Conv2d(3, 5, 1))
        learn = Learner(loaders(folder, RandomPatch(64, per_slide=4), bs=6), model, path=tmp_path, cbs=[*callbacks])
        with learn.no_bar(), learn.no_logging():
            learn.to_fp16().fit(2, 1e-2)
        return [float(value) for value in learn.recorder.losses] + [
            value for row in learn.recorder.values for value in row
        ]

    def predict(callback: Callback) -> None:
        if event != "after_batch" or callback.training:
            maps.append(callback.learn.predict_slide(slide))

    look = type("Look", (Callback,), {event: predict, "order": 70})()
    assert losses(look) == losses()
    assert len(maps) == {"after_batch": 4, "after_epoch": 2}[event]


class Endless(Callback):
    """Predicts in an event of the prediction."""

    def after_fit(self) -> None:
        self.learn.predict_slide(self.slide)


def test_a_prediction_within_itself_is_an_error(learn: Learner, folder: Path) -> None:
    """fastai's lock would wait for ever."""
    callback = Endless()
    callback.slide = images_of(folder)[0]
    learn.add_cb(callback)
    with pytest.raises(OptionError, match="in an event that predict_slide runs itself, such as after_fit; call it in"):
        learn.fit(1, 1e-3)
    learn.remove_cb(callback)
    assert learn.predict_slide(callback.slide).shape == (256, 256)


class Skips(Callback):
    """Leaves out each batch."""

    def before_batch(self) -> None:
        raise CancelBatchException


@pytest.mark.parametrize(
    ("callback", "text"), [(Skips, "left out a batch"), (lambda: ShortEpochCallback(0.1), "ended the prediction")]
)
def test_no_window_is_missing(learn: Learner, folder: Path, callback: type, text: str) -> None:
    """A map with holes would be another result."""
    learn.add_cb(callback())
    with pytest.raises(OptionError, match=f"a callback has {text} of"):
        learn.predict_slide(images_of(folder)[0])
    learn.remove_cb(learn.cbs[-1])
    assert learn.predict_slide(images_of(folder)[0]).shape == (256, 256)
