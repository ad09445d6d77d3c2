"""fastai 1's transforms with and without a halo, by values: red and green of each pixel are its column and row."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from fastai.vision import ImageDataBunch, get_transforms
from fastai.vision.image import Image, ImageSegment, TfmPixel
from fastai.vision.transform import (
    brightness,
    contrast,
    crop,
    crop_pad,
    cutout,
    dihedral,
    dihedral_affine,
    flip_affine,
    flip_lr,
    jitter,
    pad,
    perspective_warp,
    rand_crop,
    rand_pad,
    rand_resize_crop,
    rand_zoom,
    rgb_randomize,
    rotate,
    skew,
    squish,
    symmetric_warp,
    tilt,
    zoom,
)  # fmt: skip

from patchaug import OptionError, PatchOptions
from patchaug.fastai import SlideItemList

CODES = list("abcde")
SIDE, SIZE = 256, 40
COLUMNS, ROWS = np.meshgrid(np.arange(SIDE), np.arange(SIDE))


def class_at(columns: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The class of each pixel, another one than those of its four neighbours."""
    return (columns + 2 * rows) % 5


RAMP = np.stack([COLUMNS, ROWS, np.full_like(ROWS, 128)], axis=-1).astype(np.uint8)
MASK = class_at(COLUMNS, ROWS).astype(np.uint8)


def bunch(tfms: list, halo: int | str = "auto", *, augment=None, per_slide: int = 12, **options) -> ImageDataBunch:
    """One ramp to train on and one to validate, the validation grid without transforms that do anything."""
    patch = PatchOptions(SIZE, per_slide=per_slide, halo=halo, seed=3, **options)
    lists = SlideItemList.from_arrays([RAMP, RAMP.copy()], names=["t", "v"], patch=patch, augment=augment)
    labelled = lists.split_by_idx([1]).label_from_lists([MASK], [MASK], classes=CODES)
    return labelled.transform((tfms, [crop_pad()]), tfm_y=True).databunch(bs=4, num_workers=0)


def items(data: ImageDataBunch) -> list[tuple[np.ndarray, np.ndarray]]:
    """Image (3, height, width) in 0..255 and mask (height, width) of each training patch."""
    pairs = [data.train_ds[i] for i in range(len(data.train_ds))]
    return [(image.data.numpy() * 255, mask.data.numpy()[0]) for image, mask in pairs]


def orientation(image: np.ndarray) -> np.ndarray:
    """Signed area (height - 1, width - 1) of each pixel on the slide; its sign turns where pixels are mirrored."""
    (xj, xi), (yj, yi) = ((np.diff(c, axis=1)[:-1], np.diff(c, axis=0)[:, :-1]) for c in image[:2])
    return xj * yi - xi * yj


MOVING = {
    "flip_lr": (lambda: [flip_lr(p=0.5)], 0),
    "flip_affine": (lambda: [flip_affine(p=0.5)], 0),
    "dihedral": (lambda: [dihedral()], 0),
    "dihedral_affine": (lambda: [dihedral_affine()], 0),
    "rotate": (lambda: [rotate(degrees=(-180, 180), p=1.0)], 9),
    "zoom out": (lambda: [zoom(scale=(0.7, 0.9), p=1.0)], 18),
    "zoom in": (lambda: [rand_zoom(scale=(1.0, 1.5), p=1.0)], 0),
    "squish": (lambda: [squish(scale=(0.7, 1.3), row_pct=(0.0, 1.0), p=1.0)], 0),
    "symmetric_warp": (lambda: [symmetric_warp(magnitude=(-0.2, 0.2), p=1.0)], 20),
    "perspective_warp": (lambda: [perspective_warp(magnitude=(-0.15, 0.15), p=1.0)], 20),
    "tilt": (lambda: [tilt(direction=(0, 3), magnitude=(-0.2, 0.2), p=1.0)], 20),
    "skew": (lambda: [skew(direction=(0, 7), magnitude=(-0.2, 0.2), p=1.0)], 20),
    "rand_crop": (lambda: [rand_crop()], 0),
    "all": (lambda: get_transforms(flip_vert=True, max_rotate=45.0, max_lighting=0.0)[0], 30),
}


@pytest.mark.parametrize("halo", ["none", "enough"])
@pytest.mark.parametrize("name", MOVING)
def test_moving_transforms_pair_and_invent_nothing(name: str, halo: str) -> None:
    """The mask of each pixel is that of its place; with the halo, and where none is needed, nothing is mirrored."""
    make, needed = MOVING[name]
    torch.manual_seed(0)
    mirrored = 0
    for image, mask in items(bunch(make(), needed if halo == "enough" else "auto")):
        assert image.shape == (3, SIZE, SIZE) and mask.shape == (SIZE, SIZE)
        places = image[:2]
        between = (np.abs(places - np.floor(places) - 0.5) < 0.02).any(axis=0)  # two pixels are equally near
        columns, rows = np.rint(places).astype(int)
        # Mirrored pixels are next to a kink, where the place of a pixel is the mean of two.
        area = orientation(image)
        kinks = np.zeros((SIZE, SIZE), bool)
        kinks[:-1, :-1] = np.sign(area) != np.sign(np.median(area))
        kinks = kinks | np.roll(kinks, 1, 0) | np.roll(kinks, 1, 1) | np.roll(kinks, (1, 1), (0, 1))
        right = (mask == class_at(columns, rows)) | between
        if halo == "enough" or not needed:
            assert right.all() and not kinks.any()
        else:
            assert right[~kinks].mean() > 0.97
        mirrored += int(kinks.any())
    if needed and halo == "none":
        assert mirrored, "without a halo this transform mirrors pixels, so the test above means something"


@pytest.mark.parametrize("degrees", [10.0, 45.0, 90.0, 133.0])
def test_a_rotation_shows_the_slide_itself(degrees: float) -> None:
    """Each pixel comes from its rotated place around the centre of the window; validation is read as it is."""
    data = bunch([rotate(degrees=(degrees, degrees), p=1.0)], 9)
    angle, offset = np.deg2rad(degrees), np.arange(SIZE) - (SIZE - 1) / 2
    x, y = np.meshgrid(offset, offset)
    plan = data.train_ds.x.plan
    for index, (image, _) in enumerate(items(data)):
        window = plan[index].window
        centre = window.x + (SIZE - 1) / 2, window.y + (SIZE - 1) / 2
        assert np.allclose(image[0], centre[0] + np.cos(angle) * x - np.sin(angle) * y, atol=0.05)
        assert np.allclose(image[1], centre[1] + np.sin(angle) * x + np.cos(angle) * y, atol=0.05)
        assert 9 <= window.x <= SIDE - SIZE - 9 and 9 <= window.y <= SIDE - SIZE - 9
    plan = data.valid_ds.x.plan
    assert plan.halo == (0, 0) and len(plan) == 49
    for index in range(len(plan)):
        image, mask = data.valid_ds[index]
        patch = plan.read(plan[index])
        assert (image.data.numpy() * 255 == patch.image.transpose(2, 0, 1)).all() and (
            mask.data[0].numpy() == patch.mask
        ).all()


@pytest.mark.parametrize("halo", ["auto", 8])
def test_light_changes_images_alone(halo) -> None:
    """Brightness and contrast: the masks of the plain windows, images of other values."""
    light = [brightness(change=(0.7, 0.8), p=1.0), contrast(scale=(1.2, 1.4), p=1.0)]
    plain, lit = items(bunch([], halo)), items(bunch(light, halo))
    for (image, mask), (other, same) in zip(plain, lit, strict=True):
        assert (mask == same).all() and not np.allclose(image, other, atol=5)


@pytest.mark.parametrize("halo", ["auto", 8])
def test_transforms_that_draw_at_each_call_agree_on_image_and_mask(halo) -> None:
    """cutout paints the same squares on both, or on the image alone; jitter moves both alike."""
    painted = 0
    for image, mask in items(bunch([cutout(n_holes=(2, 4), length=(8, 16), p=1.0)], halo)):
        holes = (image == 0).all(axis=0)
        painted += np.count_nonzero(holes)
        columns, rows = np.rint(image[:2]).astype(int)
        assert (mask[holes] == 0).all()
        assert (mask == class_at(columns, rows))[~holes].all()
    assert painted > 1000
    plain = items(bunch([], halo))
    for (_, mask), (_, same) in zip(
        items(bunch([cutout(length=(12, 12), p=1.0, use_on_y=False)], halo)), plain, strict=True
    ):
        assert (mask == same).all()
    for (image, mask), (_, same) in zip(items(bunch([rgb_randomize(p=1.0, use_on_y=False)], halo)), plain, strict=True):
        assert (mask == same).all() and image.shape[1:] == mask.shape
    for image, mask in items(bunch([jitter(magnitude=0.05, p=1.0)], halo)):
        between = (np.abs(image[:2] - np.floor(image[:2]) - 0.5) < 0.02).any(axis=0)
        inside = np.ones((SIZE, SIZE), bool)
        if halo == "auto":  # at the border, jitter mirrors
            inside[:2], inside[-2:], inside[:, :2], inside[:, -2:] = False, False, False, False
        right = mask == class_at(*np.rint(image[:2]).astype(int))
        assert (right | between)[inside].all() and not (orientation(image) == 1).all()


SIZED = {
    "crop": (lambda: [crop(size=24, row_pct=(0.0, 1.0), col_pct=(0.0, 1.0))], 24),
    "pad": (lambda: [pad(padding=4)], SIZE + 8),
    "rand_pad": (lambda: rand_pad(4, SIZE), SIZE),
    "rand_resize_crop": (lambda: rand_resize_crop(24), 24),
}


@pytest.mark.parametrize("name", SIZED)
def test_transforms_give_the_size(name: str) -> None:
    """Training batches have the size that the transforms give; with a halo that is one clear error."""
    make, size = SIZED[name]
    for image, mask in items(bunch(make())):
        assert image.shape == (3, size, size) and mask.shape == (size, size)
        assert name == "rand_resize_crop" or (mask == class_at(*np.rint(image[:2]).astype(int))).all()
    with pytest.raises(OptionError, match=r"return (24 x 24|64 x 64|40 x 40) px for patches of 56 x 56 px with their"):
        bunch(make(), 8)


def own(move: Callable) -> TfmPixel:
    """A pixel transform of the user."""

    def _own(x):
        return move(x)

    return TfmPixel(_own)


def test_what_would_part_image_and_mask_is_refused() -> None:
    """Transforms of one of the two, sizes of the validation windows, sizes of all."""
    start = SlideItemList.from_arrays([RAMP, RAMP], names=["t", "v"], patch=PatchOptions(SIZE, per_slide=2))
    labelled = start.split_by_idx([1]).label_from_lists([MASK], [MASK], classes=CODES)
    for kind in (rotate(degrees=9, use_on_y=False), flip_lr(use_on_y=False), jitter(magnitude=0.1, use_on_y=False)):
        with pytest.raises(OptionError, match="would move images without their masks: leave use_on_y=False out"):
            labelled.transform(([kind], []), tfm_y=True)
    with pytest.raises(OptionError, match="set tfm_y=True"):
        labelled.transform(([own(lambda x: x)()], []))
    labelled.transform(([cutout(length=(8, 8))], []))  # it moves nothing
    with pytest.raises(OptionError, match="transforms return 24 x 24 px for windows of 40 x 40 px"):
        labelled.transform(([], [crop(size=24)]), tfm_y=True)
    for name in ("size", "mult"):
        with pytest.raises(OptionError, match=f"{name}=24 would resize each patch"):
            labelled.transform(([], []), tfm_y=True, **{name: 24})
    with pytest.raises(OptionError, match="masks move with their images"):
        labelled.transform_y(([flip_lr()], []))


def test_transforms_of_both_may_be_set_by_transform_y() -> None:
    """fastai's other spelling of tfm_y=True."""
    start = SlideItemList.from_arrays([RAMP, RAMP], names=["t", "v"], patch=PatchOptions(SIZE, per_slide=6))
    labelled = start.split_by_idx([1]).label_from_lists([MASK], [MASK], classes=CODES)
    labelled.train.transform([cutout(length=(8, 8), p=1.0)]).transform_y()
    image, mask = labelled.train[0]
    holes = (image.data == 0).all(dim=0).numpy()
    assert holes.any() and (mask.data[0].numpy()[holes] == 0).all()
    assert isinstance(image, Image) and isinstance(mask, ImageSegment)
