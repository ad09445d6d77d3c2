"""Images of other types and channels than 8-bit RGB on fastai 1: loaded, trained on, exported, predicted, and shown."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
import tifffile
import torch
from fastai.basic_train import Learner, load_learner
from fastai.vision import get_transforms
from torch import nn

from patchaug import OptionError, PatchOptions, Window, open_slide
from patchaug.fastai import SlideInterpretation, SlideItemList

CODES = ["water", "land"]


def scene(seed: int, channels: int = 6, dtype: str = "uint16", size: int = 96) -> tuple[np.ndarray, np.ndarray]:
    """Return an image of values up to 4000, of 8 bits up to 250, and a mask that follows its channels."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((size, size), np.uint8)
    mask[:, rng.integers(20, 70) :] = 1
    image = rng.integers(0, 1000, (size, size, channels)) + 3000 * mask[..., None].astype(int)
    return (image // 16 if dtype == "uint8" else image).astype(dtype), mask


class Bright(nn.Module):
    """A model that takes what is bright in the mean over the channels for land."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 2, 1)
        nn.init.zeros_(self.conv.weight)
        nn.init.constant_(self.conv.weight[1], 10 / channels)
        self.conv.bias.data = torch.tensor([5.0, 0.0])

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.conv(images)


def data_of(scenes: list[tuple[Any, Any]], tfms: Any = None, codes: Any = CODES, **options: Any) -> Any:
    """Loaders of fastai 1; the last scene validates."""
    patch = PatchOptions(**{"size": 32, "per_slide": 8, "seed": 5, **options})
    images, masks = zip(*scenes, strict=True)
    last = len(images) - 1
    labelled = (
        SlideItemList.from_lists(images, patch=patch)
        .split_by_idx([last])
        .label_from_lists(masks[:last], masks[last:], classes=codes)
    )
    if tfms is not None:
        labelled = labelled.transform(tfms, tfm_y=True)
    return labelled.databunch(bs=4, num_workers=0, device="cpu")


@pytest.mark.parametrize(
    ("dtype", "scale"),
    [("uint16", (0, 4000)), ("int16", (-100, 900)), ("float32", (0, 4000)), ("uint8", None), ("uint8", (10, 90))],
)
@pytest.mark.parametrize("channels", [1, 2, 3, 6])
def test_batches_hold_the_values_of_the_file_by_scale(dtype: str, scale: Any, channels: int) -> None:
    """Each pixel is (value - low) / (high - low), as on fastai 2."""
    data = data_of([scene(1, channels, dtype), scene(2, channels, dtype)], scale=scale)
    images, masks = data.one_batch(denorm=False)
    image, mask = scene(1, channels, dtype)
    low, high = scale or (0, 255)
    assert images.shape == (4, channels, 32, 32)
    for place in range(4):
        window = data.train_ds.x.draw_at(place).window
        part = (slice(window.y, window.bottom), slice(window.x, window.right))
        expected = (image[part].astype(np.float64) - low) / (high - low)
        assert np.allclose(images[place].permute(1, 2, 0).numpy(), expected, atol=1e-5)
        assert np.array_equal(masks[place, 0].numpy(), mask[part])


def test_a_missing_scale_and_mixed_channels_are_errors() -> None:
    """Before training, with the words of fastai 2; the cure works."""
    with pytest.raises(OptionError, match="pixels are uint16, and no scale says") as caught:
        data_of([scene(1), scene(2)])
    scale = eval(re.search(r"scale=(\[.*?\]):", str(caught.value))[1])
    images = data_of([scene(1), scene(2)], scale=scale).one_batch()[0]
    assert images.shape[1] == 6
    grey, rgb = scene(1, 1, "uint8"), scene(2, 3, "uint8")
    with pytest.raises(OptionError, match=r"slides differ in their pixels: .* has 1 channels .* 3 of uint8.*n_in"):
        data_of([grey, rgb, rgb])
    with pytest.raises(OptionError, match="n_in"):
        data_of([grey, rgb])


def pictures(call: Any) -> list[np.ndarray]:
    """Pixels of all pictures that a call draws."""
    plt.close("all")
    call()
    axes = [one for number in plt.get_fignums() for one in plt.figure(number).axes if one.images]
    return [np.asarray(one.images[0].get_array()) for one in axes]


@pytest.mark.parametrize(
    ("channels", "dtype"), [(1, "uint8"), (1, "uint16"), (2, "uint16"), (6, "uint16"), (5, "uint8")]
)
def test_they_train_are_exported_predict_and_are_shown(tmp_path: Path, channels: int, dtype: str) -> None:
    """Channels and scale go with the exported learner; pictures are stretched, in grey or three channels."""
    for seed in (1, 2, 3):
        planes = scene(seed, channels, dtype)[0].transpose(2, 0, 1).copy()
        tifffile.imwrite(tmp_path / f"{seed}.tif", planes, planarconfig="separate" if channels > 1 else None,
                         photometric="minisblack", tile=(32, 32), metadata={"axes": "CYX"})  # fmt: skip
    chosen = list(range(channels))[::-1]
    data = data_of(
        [(tmp_path / f"{seed}.tif", scene(seed, channels, dtype)[1]) for seed in (1, 2)],
        get_transforms(flip_vert=True, max_rotate=None, max_zoom=1, max_warp=None, max_lighting=0.1),
        channels=chosen, scale=None if dtype == "uint8" else (0, 4000),
    )  # fmt: skip
    learn = Learner(data, Bright(channels), path=tmp_path)
    learn.fit(1, 1e-4)
    for call in (lambda: data.show_batch(rows=2), lambda: learn.show_results(rows=2)):
        for picture in pictures(call)[:2]:
            assert picture.ndim == (2 if channels == 1 else 3)
            assert picture.ndim == 2 or picture.shape[2] == 3
            assert 0 <= picture.min() < 0.2 < 0.8 < picture.max() <= 1  # stretched over the whole range
    assert pictures(lambda: SlideInterpretation.from_learner(learn).show_xyz(0))
    before = learn.predict_slide(tmp_path / "3.tif")
    learn.export("model.pkl")
    loaded = load_learner(tmp_path, "model.pkl")
    assert np.array_equal(loaded.predict_slide(tmp_path / "3.tif"), before)
    opened = open_slide(tmp_path / "3.tif", channels=chosen)
    assert np.array_equal(loaded.predict_slide(opened), before)
    assert (before == scene(3, channels, dtype)[1]).mean() > 0.99
    if channels > 1:
        with pytest.raises(OptionError, match=f"and the others, .* have {channels} of"):
            loaded.predict_slide(open_slide(tmp_path / "3.tif", channels=[0]))


def test_8_bit_rgb_is_shown_as_before() -> None:
    """Unstretched, by fastai's own image."""
    data = data_of([scene(1, 3, "uint8"), scene(2, 3, "uint8")])
    shown = pictures(lambda: data.show_batch(rows=1))[0]
    images = data.one_batch()[0]
    assert np.allclose(shown, images[0].permute(1, 2, 0), atol=1e-6)
    assert type(data.train_ds[0][0]).__name__ == "Image"


def test_codes_of_a_mapping_train_and_predict_class_numbers(tmp_path: Path) -> None:
    """255 in the file is class 1 in batches, in the exported learner, and in its maps."""
    scenes = [(image, mask * 255) for image, mask in (scene(1, 3, "uint8"), scene(2, 3, "uint8"))]
    data = data_of(scenes, codes={"water": 0, "land": 255})
    assert data.classes == CODES
    assert set(np.unique(data.one_batch()[1])) == {0, 1}
    learn = Learner(data, nn.Conv2d(3, 2, 1), path=tmp_path)
    learn.export("model.pkl")
    classes = load_learner(tmp_path, "model.pkl").predict_slide(scene(3, 3, "uint8")[0])
    assert set(np.unique(classes)) <= {0, 1}
    assert open_slide(*scenes[0], codes={"water": 0, "land": 255}).read(Window(0, 0, 96, 96)).mask.max() == 1
