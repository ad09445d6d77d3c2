"""Probabilities, symmetries and ensembles of predict_slide, with learners of fastai 1."""

from pathlib import Path

import numpy as np
import pytest
import torch
from fastai.basic_train import Learner
from fastai.callback import Callback

from patchaug import OptionError, PatchOptions, Window, open_slide
from patchaug.fastai import predict_slide
from patchaug.testing import coordinate_image, coordinate_mask

from .conftest import Places, bunch

SLIDE = coordinate_image(100, 90)


def learner(folder: Path, seed: int, mean: float) -> Learner:
    """A small model of normalized images, and windows that overlap."""
    torch.manual_seed(seed)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(8, 5, 3, padding=1)
    )
    data = bunch(folder, PatchOptions(32, overlap=8, per_slide=4), val_bs=3)
    data.normalize([torch.full((3,), mean), torch.full((3,), 0.5)])
    return Learner(data, model)


def test_probabilities_symmetries_and_ensembles(folder: Path, tmp_path: Path) -> None:
    """They agree with the classes, with the mean of single learners, and in every destination."""
    learns = [learner(folder, 1, 0.3), learner(folder, 2, 0.6)]
    alone = [learn.predict_slide(SLIDE, what="probabilities", tta="d4") for learn in learns]
    assert alone[0].shape == (5, 90, 100) and np.abs(alone[0].sum(0) - 1).max() < 1e-5
    assert (learns[0].predict_slide(SLIDE, tta="d4") == alone[0].argmax(0)).all()
    both = predict_slide(learns, SLIDE, what="probabilities", tta="d4")
    assert np.abs(both - np.mean(alone, axis=0)).max() < 1e-6
    assert predict_slide(learns, SLIDE, what="spread").max() > 0
    path = learns[0].predict_slide(SLIDE, out=tmp_path / "c.zarr", tta="d4")
    assert (open_slide(SLIDE, path).read(Window(0, 0, 100, 90)).mask == alone[0].argmax(0)).all()


def test_regions_workers_and_callbacks(folder: Path) -> None:
    """Only the windows of the region, each batch through the callbacks."""
    seen = []

    class Looks(Callback):
        def on_batch_begin(self, last_input, **kwargs) -> None:
            seen.append(len(last_input))

    learn = Learner(bunch(folder), Places(), callbacks=[Looks()])
    expected = coordinate_mask(100, 90)
    part = learn.predict_slide(SLIDE, region=Window(10, 5, 50, 40), workers=1)
    assert (part == expected[5:45, 10:60]).all() and sum(seen) == 4
    seen.clear()
    assert (learn.predict_slide(SLIDE, batch_size=2, what="probabilities").argmax(0) == expected).all()
    assert seen == [2, 2] * 3
    with pytest.raises(OptionError, match="what must be"):
        learn.predict_slide(SLIDE, what="scores")
