"""Scenes with nodata and tiles that are not stored: trained on, validated, predicted and shown."""

from __future__ import annotations

import warnings
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from fastai.vision.all import Learner

from patchaug import LabelError, PatchOptions, open_slide
from patchaug.fastai import RandomPatch, SlideDataLoaders
from patchaug.sampling.statistics import measure

rasterio = pytest.importorskip("rasterio")
pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
matplotlib.use("Agg")
SIDE = 128


def scene(path: Path, nodata: float) -> Path:
    """Write two float bands of 0 to 1 with a nodata collar in tiles of 32 px, of which the last row is not stored."""
    bands = np.random.default_rng(3).random((2, SIDE, SIDE), np.float32)
    bands[:, :, :40] = nodata
    profile = {"width": SIDE, "height": SIDE, "count": 2, "dtype": "float32", "nodata": nodata, "sparse_ok": True}
    with rasterio.open(path, "w", driver="GTiff", tiled=True, blockxsize=32, blockysize=32, **profile) as file:
        file.write(bands[:, :96], window=((0, 96), (0, SIDE)))
    return path


@pytest.mark.parametrize("nodata", [np.nan, -9999.0])
def test_scenes_with_holes_train_and_predict(tmp_path: Path, nodata: float) -> None:
    """The loss is finite and counts valid pixels alone; windows have their share; prediction covers the scene."""
    pairs = [(scene(tmp_path / f"{name}.tif", nodata), np.ones((SIDE, SIDE), np.uint8)) for name in "ab"]
    options = PatchOptions(32, per_slide=8, foreground=0.5, min_valid=0.75, scale=(0.0, 1.0), seed=1)
    with pytest.warns(UserWarning, match="of 16 tiles are not stored") as told:
        dls = SlideDataLoaders.from_lists(
            pairs[:1], pairs[1:], codes=["water", "land"], ignore_index=255, options=options, bs=4, num_workers=0,
            device="cpu",
        )  # fmt: skip
    assert len(told) == 2  # once for each scene
    for _, labels in dls.train:
        assert ((labels != 255).float().mean(dim=(1, 2)) >= 0.75).all()
    learn = Learner(dls, torch.nn.Conv2d(2, 2, 3, padding=1))
    with learn.no_bar(), learn.no_logging(), warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*not stored")  # told already
        learn.fit(1, 1e-3)
        learn.show_results()
        dls.show_batch()
    assert np.isfinite(learn.recorder.values).all()
    images, labels = dls.valid.one_batch()
    assert torch.isfinite(images).all() and (labels == 255).any()
    with pytest.warns(UserWarning, match="not stored"):
        classes = learn.predict_slide(pairs[0][0])
    assert classes.shape == (SIDE, SIDE)
    with pytest.warns(UserWarning, match="not stored"):
        slide = open_slide(pairs[0][0])
    assert 0.4 < measure([slide], windows=8, size=64)[0].mean < 0.6  # without its nodata


def test_labels_of_invalid_pixels_need_an_ignore_index(tmp_path: Path) -> None:
    """The error names the cure, and the cure works."""
    pairs = [(scene(tmp_path / f"{name}.tif", -1.0), np.ones((SIDE, SIDE), np.uint8)) for name in "ab"]
    make = lambda **more: SlideDataLoaders.from_lists(  # noqa: E731
        pairs[:1], pairs[1:], codes=["water", "land"], bs=2, num_workers=0, device="cpu",
        options=PatchOptions(32, per_slide=4, scale=(0, 1)), **more,
    )  # fmt: skip
    with pytest.raises(LabelError, match=r"a.tif: 7 of 16 tiles hold no data.*set ignore_index=255"):
        make()
    with pytest.warns(UserWarning, match="not stored"):
        assert make(ignore_index=255).train.one_batch()[1].shape == (2, 32, 32)


def test_the_option_is_that_of_random_patch() -> None:
    """Also as text."""
    options = PatchOptions.layered({"size": "64", "min_valid": "0.9"})
    assert RandomPatch.from_options(options).samplers.train.min_valid == 0.9
    assert RandomPatch(64, min_valid=0.9).samplers.train == options.samplers().train
