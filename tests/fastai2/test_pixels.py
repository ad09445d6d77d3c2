"""Images of other types and channels than 8-bit RGB: loaded, trained on, exported, predicted, and shown."""

from __future__ import annotations

import json
import re
from pathlib import Path

import albumentations
import matplotlib
import numpy as np
import pytest
import tifffile
import torch
from fastai.vision.all import Normalize, aug_transforms, load_learner, set_seed, unet_learner

from patchaug import OptionError, PatchOptions, Window, open_slide
from patchaug.fastai import RandomPatch, SlideDataLoaders
from patchaug.fastai2.encoders import architecture

matplotlib.use("Agg")
CODES = ["water", "land"]
OPTIONS = {"size": 32, "per_slide": 8, "seed": 5}


def scene(seed: int, channels: int = 6, dtype: str = "uint16", size: int = 96) -> tuple[np.ndarray, np.ndarray]:
    """Return an image of values up to 4000, and a mask that follows its channels."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((size, size), np.uint8)
    mask[:, rng.integers(20, 70) :] = 1
    image = rng.integers(0, 1000, (size, size, channels)) + 3000 * mask[..., None].astype(int)
    return image.astype(dtype), mask


def loaders(*, dtype: str = "uint16", channels: int = 6, **options) -> SlideDataLoaders:
    """Return loaders of two scenes."""
    train, valid = ([scene(seed, channels, dtype)] for seed in (1, 2))
    return SlideDataLoaders.from_lists(
        train, valid, codes=CODES, options=PatchOptions(**{**OPTIONS, **options}), bs=4, num_workers=0, device="cpu"
    )


@pytest.mark.parametrize(
    ("dtype", "scale"),
    [("uint16", (0, 4000)), ("int16", (-100, 900)), ("float32", (0, 4000)), ("float16", (0.5, 4000)), ("uint8", None),
     ("uint8", (10, 90))],
)  # fmt: skip
@pytest.mark.parametrize("channels", [1, 2, 3, 6])
def test_batches_hold_the_values_of_the_file_by_scale(dtype: str, scale, channels: int) -> None:
    """Each pixel is (value - low) / (high - low), in float32."""
    dls = loaders(dtype=dtype, channels=channels, scale=scale)
    image, mask = scene(1, channels, dtype)
    low, high = scale or (0, 255)
    images, masks = dls.train.one_batch()
    assert images.dtype == torch.float32 and images.shape == (4, channels, 32, 32)
    for place in range(4):
        window = dls.train.plan[place].window
        part = (slice(window.y, window.bottom), slice(window.x, window.right))
        expected = (image[part].astype(np.float64) - low) / (high - low)
        assert np.allclose(images[place].permute(1, 2, 0).numpy(), expected, atol=1e-5)
        assert np.array_equal(masks[place].numpy(), mask[part])


def test_one_pair_a_channel() -> None:
    """In the order of the channels that are read."""
    dls = loaders(channels=2, scale=[(0, 4000), (1000, 2000)])
    images = dls.train.one_batch()[0]
    window = dls.train.plan[0].window
    part = scene(1, 2)[0][window.y : window.bottom, window.x : window.right].astype(float)
    assert np.allclose(images[0].permute(1, 2, 0).numpy(), (part - [0, 1000]) / [4000, 1000], atol=1e-5)
    with pytest.raises(OptionError, match="has 3 channels, and scale has 2 pairs"):
        loaders(channels=3, scale=[(0, 4000), (1000, 2000)])


@pytest.mark.parametrize("dtype", ["uint16", "int16", "float32"])
def test_a_missing_scale_is_an_error_with_the_line_to_paste(dtype: str) -> None:
    """Measured on the slide; the line works."""
    with pytest.raises(OptionError, match=f"array 0: pixels are {dtype}, and no scale") as caught:
        loaders(dtype=dtype)
    scale = json.loads(re.search(r"scale=(\[.*?\]):", str(caught.value))[1])  # the cure, followed
    images = loaders(dtype=dtype, scale=scale).train.one_batch()[0]
    assert -0.1 < images.min() < 0.1 < 0.9 < images.max() < 1.1


@pytest.mark.parametrize("scale", [(4, 4), (5, 1), (0, float("inf")), (1,), "0-1", [(0, 1), 7]])
def test_a_bad_scale_is_refused(scale) -> None:
    """When the options are made."""
    with pytest.raises(OptionError, match="scale"):
        PatchOptions(32, scale=scale)


@pytest.mark.parametrize("second", [(6, "uint8"), (3, "uint16")])
def test_slides_of_several_formats_stop_before_training(second: tuple[int, str]) -> None:
    """Within a split, and between training and validation; the text names n_in."""
    one, other = scene(1), scene(2, *second)
    for train, valid in (([one, other], [one]), ([one], [other])):
        with pytest.raises(OptionError, match="n_in"):
            SlideDataLoaders.from_lists(
                train, valid, codes=CODES, options=PatchOptions(**OPTIONS, scale=(0, 4000)), bs=4, num_workers=0
            )


def test_six_bands_train_export_predict_and_show(tmp_path: Path) -> None:
    """Channels and scale go with the exported learner."""
    for seed in (1, 2, 3):
        planes = scene(seed)[0].transpose(2, 0, 1).copy()
        tifffile.imwrite(tmp_path / f"{seed}.tif", planes, planarconfig="separate", photometric="minisblack",
                         tile=(32, 32))  # fmt: skip
    pairs = [(tmp_path / f"{seed}.tif", scene(seed)[1]) for seed in (1, 2)]
    options = PatchOptions(**OPTIONS, channels=[5, 0, 3, 1], scale=(0, 4000))
    dls = SlideDataLoaders.from_lists(
        pairs[:1], pairs[1:], codes=CODES, options=options, bs=4, num_workers=0, device="cpu", path=tmp_path,
        batch_tfms=[*aug_transforms(flip_vert=True, max_rotate=0, max_zoom=1, max_warp=0, max_lighting=0.1),
                    Normalize.from_stats([0.5] * 4, [0.3] * 4)],
    )  # fmt: skip
    set_seed(1)
    for pretrained in (False, True):
        with pytest.raises(OptionError, match="the slides have 4 channels, .* made for 3; pass n_in=4 to unet_learner"):
            unet_learner(dls, architecture("resnet18"), n_out=2, pretrained=pretrained)
    learn = unet_learner(dls, architecture("small"), n_in=4, n_out=2, pretrained=False, normalize=False)
    with learn.no_bar(), learn.no_logging():
        learn.fit_one_cycle(6, 5e-3)
    before = learn.predict_slide(tmp_path / "3.tif")
    dls.show_batch(max_n=4)
    learn.show_results(max_n=2, show=True)
    learn.export(tmp_path / "model.pkl")
    loaded = load_learner(tmp_path / "model.pkl")
    with loaded.no_bar():
        classes = loaded.predict_slide(tmp_path / "3.tif")
        assert (classes == before).all()
        assert (classes == scene(3)[1]).mean() > 0.8
        assert np.array_equal(classes, learn.predict_slide(open_slide(tmp_path / "3.tif", channels=[5, 0, 3, 1])))
        with pytest.raises(OptionError, match="has 6 channels of uint16, and the others.*have 4"):
            loaded.predict_slide(open_slide(tmp_path / "3.tif"))


def test_transforms_that_need_8_bit_rgb_are_refused_by_name() -> None:
    """What moves pixels is fine for all types; what changes values is named."""
    moved = albumentations.Compose([albumentations.D4(p=1), albumentations.Affine(rotate=(-45, 45), p=1)])
    pairs = [scene(1, 6, "uint16", 160)]

    def made(augment):
        return SlideDataLoaders.from_lists(
            pairs, pairs[:0] or [scene(2, 6, "uint16", 160)], codes=CODES, bs=2, num_workers=0, scale=(0, 4000),
            item_tfms=RandomPatch(32, per_slide=4, augment=augment),
        )  # fmt: skip

    images = made(moved).train.one_batch()[0]
    assert images.shape == (2, 6, 32, 32)
    assert images.min() >= 0
    assert images.max() <= 1
    for name in ("RandomBrightnessContrast", "HueSaturationValue"):
        with pytest.raises(OptionError, match=f"{name} of albumentations needs 8-bit RGB.*6 channels of uint16"):
            made(getattr(albumentations, name)())
    with pytest.raises(OptionError, match="HueSaturationValue.*5 channels of uint8"):
        SlideDataLoaders.from_lists(
            [scene(1, 5, "uint8")], [scene(2, 5, "uint8")], codes=CODES, bs=2, num_workers=0,
            item_tfms=RandomPatch(32, augment=albumentations.HueSaturationValue()),
        )  # fmt: skip


def test_an_open_slide_is_read_as_it_was_opened() -> None:
    """Options that name other channels are an error, and its cure works."""
    (one, mask), (other, other_mask) = scene(1), scene(2)
    options = PatchOptions(**OPTIONS, channels=[5, 0], scale=(0, 4000))
    words = {"codes": CODES, "options": options, "bs": 4, "num_workers": 0, "device": "cpu"}
    with pytest.raises(OptionError, match=r"open slide of 6 channels, .*channels=\[5, 0\] names 2"):
        SlideDataLoaders.from_lists([(open_slide(one), mask)], [(other, other_mask)], **words)
    slides = [open_slide(image, channels=[5, 0]) for image in (one, other)]
    opened = SlideDataLoaders.from_lists([(slides[0], mask)], [(slides[1], other_mask)], **words)
    plain = SlideDataLoaders.from_lists([(one, mask)], [(other, other_mask)], **words)
    assert opened.one_batch()[0].shape == plain.one_batch()[0].shape == (4, 2, 32, 32)


def test_windows_are_equal_in_workers() -> None:
    """Batches of 16-bit scenes are the same with and without processes that read."""
    train, valid = [scene(1)], [scene(2)]
    batches = []
    for workers in (0, 2):
        dls = SlideDataLoaders.from_lists(
            train, valid, codes=CODES, options=PatchOptions(**OPTIONS, scale=(0, 4000)), bs=4, num_workers=workers,
            device="cpu",
        )  # fmt: skip
        batches.append([images.numpy().copy() for images, _ in dls.train])
    assert all(np.array_equal(a, b) for a, b in zip(*batches, strict=True))
    assert open_slide(train[0][0]).read(Window(0, 0, 9, 9)).image.dtype == np.uint16
