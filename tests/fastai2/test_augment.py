"""Augmentation behind fastai: albumentations under the key, and batch transforms on patches with a halo."""

from pathlib import Path

import albumentations as alb
import numpy as np
import pytest
import torch
from fastai.vision.all import DataBlock, IndexSplitter, Normalize, TensorImage, TensorMask, Zoom, aug_transforms

from patchaug import Augment, OptionError, PatchOptions
from patchaug.fastai import RandomPatch, SlideBlock, SlideMaskBlock

from .conftest import loaders
from .test_loader import passes, pixels

TURN = alb.Compose([alb.Affine(rotate=(-180, 180), scale=(0.8, 1.2), p=1), alb.HorizontalFlip(p=0.5)])


def test_augmented_batches_are_pure(folder: Path) -> None:
    """0, 1, 2 workers: equal bytes over three epochs, and no batch twice."""

    def run(workers: int) -> list[list[str]]:
        return passes(loaders(folder, RandomPatch(32, per_slide=4, augment=TURN), num_workers=workers).train, 3)

    alone = run(0)
    assert alone == run(1) == run(2)
    everything = [h for epoch in alone for h in epoch]
    assert len(set(everything)) == len(everything)


def test_validation_is_not_augmented(folder: Path) -> None:
    """Its patches are those without augmentation, and its grid covers the border."""
    plain, augmented = (loaders(folder, RandomPatch(32, per_slide=4, augment=a)) for a in (None, TURN))
    assert passes(plain.valid) == passes(augmented.valid)
    assert augmented.train.plan.halo == Augment(TURN).needed(32, 32) and augmented.valid.plan.halo == (0, 0)
    train = augmented.train.plan
    assert all(d.window.x >= train.halo[1] and d.window.right <= 256 - train.halo[1] for d in train)


def ones(halo: int, batch_tfms: list, bs: int = 8):
    """Loaders of two slides of 200 and ones whose windows may touch the border."""
    items = [np.full((256, 256, 3), 200, np.uint8) for _ in range(2)]
    block = DataBlock(
        blocks=(SlideBlock, SlideMaskBlock(["a", "b"])),
        get_y=lambda image: np.ones(image.shape[:2], np.uint8),
        splitter=IndexSplitter([1]),
        item_tfms=RandomPatch(64, per_slide=64, halo=halo),
        batch_tfms=batch_tfms,
    )
    return block.dataloaders(items, bs=bs, num_workers=0)


@pytest.mark.parametrize("halo", [0, 64])
def test_batch_transforms_invent_no_pixel(halo: int) -> None:
    """fastai's rotation, zoom and warp, with zeros for what they invent: some without a halo, none with it."""
    transforms = aug_transforms(
        do_flip=True, flip_vert=True, max_rotate=45, min_zoom=0.8, max_zoom=1.2, max_warp=0.05, p_affine=1.0,
        max_lighting=0, pad_mode="zeros",
    )  # fmt: skip
    dls = ones(halo, transforms)
    invented = 0
    for images, masks in dls.train:
        assert images.shape[-2:] == masks.shape[-2:] == (64, 64)
        assert isinstance(images, TensorImage) and isinstance(masks, TensorMask)
        invented += int((masks.as_subclass(torch.Tensor) != 1).sum())
        if halo:
            assert (pixels(images) == 200).all()
    assert (invented == 0) is bool(halo)
    for images, _ in dls.valid:
        assert images.shape[-2:] == (64, 64)


def test_the_crop_comes_last(folder: Path) -> None:
    """After Normalize, and image and mask still show one place."""
    patch = RandomPatch(32, per_slide=8, halo=12)
    plain = loaders(folder, patch).train
    images, masks = next(iter(loaders(folder, patch, batch_tfms=[Normalize(), Zoom(p=0)]).train))
    expected, labels = next(iter(plain))
    assert torch.equal(masks.as_subclass(torch.Tensor), labels.as_subclass(torch.Tensor))
    assert images.shape == expected.shape == (4, 3, 32, 32)
    draw = plain.plan[0]
    whole = plain.slides[draw.slide].read(draw.window)
    assert (pixels(expected)[0] == whole.image).all() and (labels[0].numpy() == whole.mask).all()


def test_options_hold_the_halo(folder: Path) -> None:
    """As numbers and words; the transform itself is no option."""
    options = PatchOptions(32, halo=9, edge="reflect")
    patch = RandomPatch.from_options(options, augment=TURN)
    assert patch.samplers.augment.halo == 9 and patch.samplers.edge == "reflect"
    with pytest.raises(OptionError, match="halo=5 differs from the halo of Augment"):
        RandomPatch(32, augment=Augment(TURN, halo=4), halo=5)
    with pytest.raises(OptionError, match="edge must be .shift. or .reflect., got 'wrap'"):
        loaders(folder, RandomPatch(32, edge="wrap"))
