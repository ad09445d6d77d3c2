"""fastai's transforms on slides: size of the batch, image and mask of one place, with a halo and without."""

from typing import Any, NamedTuple

import albumentations as alb
import numpy as np
import pytest
import torch
from fastai.vision.all import (
    Brightness,
    CropPad,
    DataBlock,
    DataLoaders,
    Dihedral,
    DisplayedTransform,
    Flip,
    FlipItem,
    IndexSplitter,
    IntToFloatTensor,
    Learner,
    Normalize,
    RandomCrop,
    RandomErasing,
    RandomResizedCrop,
    RandomResizedCropGPU,
    RatioResize,
    Resize,
    ResizeMethod,
    Rotate,
    TensorImage,
    TensorMask,
    Warp,
    Zoom,
    aug_transforms,
    imagenet_stats,
    plt,
)  # fmt: skip

from patchaug import OptionError
from patchaug.fastai import RandomPatch, SlideBlock, SlideMaskBlock

SIDE, PATCH, HALO, CELL = 256, 64, 16, 16

# Linear in place, so that interpolation keeps the code: red is the row, green the column, a cell of the mask 16 x 16.
ROWS, COLUMNS = np.mgrid[:SIDE, :SIDE]
IMAGE = np.stack([ROWS, COLUMNS, np.full_like(ROWS, 128)], axis=-1).astype(np.uint8)
MASK = (ROWS // CELL * 16 + COLUMNS // CELL).astype(np.uint8)


def loaders(random_patch: RandomPatch, item: Any = (), batch: Any = (), **kwargs: Any) -> DataLoaders:
    """Two coded slides for training, one for validation."""
    block = DataBlock(
        (SlideBlock, SlideMaskBlock([str(n) for n in range(256)])),
        get_y=lambda image: MASK,
        splitter=IndexSplitter([2]),
        item_tfms=[random_patch, *item],
        batch_tfms=list(batch),
    )
    slides = [IMAGE.copy() for _ in range(3)]
    return block.dataloaders(slides, **{"bs": 8, "num_workers": 0, "device": "cpu", **kwargs})


class Halve(DisplayedTransform):
    """Average 2 x 2 pixels of images, and choose one of 2 x 2 of masks: a resize by a factor."""

    order = 50

    def encodes(self, x: TensorImage):
        """Halve an image."""
        return TensorImage(torch.nn.functional.avg_pool2d(x.as_subclass(torch.Tensor), 2))

    def encodes(self, x: TensorMask):  # noqa: F811 - fastai dispatches on both
        """Halve a mask."""
        return x[..., ::2, ::2]


class Case(NamedTuple):
    """Transforms, the size of their batches, and whether they stand a halo."""

    name: str
    item: list
    batch: list
    size: int | tuple[int, int] = PATCH
    halo: bool = True


CASES = [
    Case("none", [], []),
    Case("Resize crop", [Resize(48)], [], 48, halo=False),
    Case("Resize squish", [Resize((32, 48), ResizeMethod.Squish)], [], (32, 48), halo=False),
    Case("Resize pad", [Resize(48, ResizeMethod.Pad)], [], 48, halo=False),
    Case("Resize up", [Resize(80)], [], 80, halo=False),
    Case("Resize to the size with halo", [Resize(96)], [], 96, halo=False),
    Case("RatioResize", [RatioResize(48)], [], 48, halo=False),
    Case("CropPad", [CropPad(48)], [], 48, halo=False),
    Case("RandomCrop", [RandomCrop(48)], [], 48, halo=False),
    Case("RandomResizedCrop", [RandomResizedCrop(48, min_scale=0.5)], [], 48, halo=False),
    Case("RandomResizedCropGPU", [], [RandomResizedCropGPU(48, min_scale=0.5)], 48, halo=False),
    Case("FlipItem", [FlipItem(0.5)], []),
    Case("Flip", [], [Flip(0.5)]),
    Case("Dihedral", [], [Dihedral(0.8)]),
    Case("Rotate", [], [Rotate(30, p=1.0)]),
    Case("Rotate and size", [], [Rotate(30, p=1.0, size=48)], 48, halo=False),
    Case("Warp", [], [Warp(0.2, p=1.0)]),
    Case("Zoom", [], [Zoom(p=1.0)]),
    Case("Normalize", [], [Normalize.from_stats(*imagenet_stats)]),
    Case("RandomErasing", [], [RandomErasing(p=0.5, max_count=1)]),
    Case("Halve", [], [Halve()], PATCH // 2),
    Case("aug_transforms", [], aug_transforms(flip_vert=True, max_lighting=0)),
    Case("aug_transforms size", [], aug_transforms(size=48, max_lighting=0), 48, halo=False),
    Case("aug_transforms larger", [], aug_transforms(size=96, max_lighting=0), 96, halo=False),
    Case("presize", [Resize(56)], aug_transforms(size=40, min_scale=0.7, max_lighting=0), 40, halo=False),
]


def paired(images: torch.Tensor, masks: torch.Tensor, case: Case) -> float:
    """The share of pixels whose colours are of the cell that the mask names."""
    pixels = images.as_subclass(torch.Tensor)
    if case.name == "Normalize":
        mean, std = (torch.tensor(values)[:, None, None] for values in imagenet_stats)
        pixels = pixels * std + mean
    cells = masks.as_subclass(torch.Tensor)
    tolerance = 8.5 + max(1.0, PATCH / images.shape[-1], PATCH / images.shape[-2])
    near = ((pixels[:, 0] * 255 - (cells // 16 * CELL + 7.5)).abs() <= tolerance) & (
        (pixels[:, 1] * 255 - (cells % 16 * CELL + 7.5)).abs() <= tolerance
    )
    return float(near.float().mean())


@pytest.mark.parametrize("halo", [0, HALO])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
def test_size_and_pairing(case: Case, halo: int) -> None:
    """The batch has the size that the transforms give, and each pixel of a mask is of its image's place."""
    patch = RandomPatch(PATCH, per_slide=8, halo=halo)
    if halo and not case.halo:
        with pytest.raises(
            OptionError, match=rf"halo={HALO} and .*(Re|Cr|Ro|Fl).*: a patch of 64 x 64 px with its halo"
        ):
            loaders(patch, case.item, case.batch)
        return
    dls = loaders(patch, case.item, case.batch)
    size = (case.size, case.size) if isinstance(case.size, int) else case.size
    # It erases at most 0.3 of the patch with its halo, and that may all lie within the patch.
    least = 0.99 - 0.3 * ((PATCH + 2 * halo) / PATCH) ** 2 if "Erasing" in case.name else 0.9999
    for loader in (dls.train, dls.valid):
        cells = set()
        for images, masks in loader:
            assert isinstance(images, TensorImage) and isinstance(masks, TensorMask)
            assert images.shape[1:] == (3, *size) and masks.shape[1:] == size
            assert paired(images, masks, case) >= (least if loader is dls.train else 0.9999)
            cells.update(masks.unique().tolist())
        assert len(cells) > (100 if case.name in {"CropPad", "RandomCrop"} or loader is dls.train else 200)


@pytest.mark.parametrize("halo", [0, HALO])
def test_the_middle_is_the_window(halo: int) -> None:
    """Without transforms that move pixels, a patch is the window that was drawn: the halo is cropped centred."""
    dls = loaders(RandomPatch((32, 64), per_slide=8, halo=halo), batch=[Halve()])
    for loader in (dls.train, dls.valid):
        draws = [loader.plan[index].window for index in loader.get_idxs()[:8]]
        images, masks = next(iter(loader))
        for image, mask, window in zip(images, masks, draws, strict=True):
            assert mask.shape == (16, 32)
            place = np.s_[window.y : window.bottom, window.x : window.right]
            assert (mask.numpy() == MASK[place][::2, ::2]).all()
            expected = IMAGE[place].reshape(16, 2, 32, 2, 3).mean((1, 3)).transpose(2, 0, 1)
            assert np.allclose(image.numpy() * 255, expected, atol=1e-3)


def test_a_halo_that_is_no_whole_number_of_pixels() -> None:
    """Halved, a halo of 7 px is 3.5 px."""
    with pytest.raises(OptionError, match=r"halo=7 and Halve: .* \(78 x 78 px\) becomes 39 x 39 px.* leave out halo"):
        loaders(RandomPatch(PATCH, per_slide=8, halo=7), batch=[Halve()])


def test_the_batch_does_not_resize_later() -> None:
    """A transform that is added after the check ends in the same kind of error at the first batch."""
    dls = loaders(RandomPatch(PATCH, per_slide=8, halo=7))
    dls.train.after_batch.add(Halve())
    with pytest.raises(OptionError, match=r"halo=7: transforms resize patches of 78 x 78 px to 39 x 39 px"):
        dls.one_batch()


def test_test_time_batches_have_no_halo() -> None:
    """fastai's tta runs the transforms of training on validation windows, which have no halo to crop."""
    dls = loaders(RandomPatch(PATCH, per_slide=8, halo=HALO), batch=[Brightness(p=1.0)])
    learn = Learner(dls, torch.nn.Conv2d(3, 256, 1))
    with learn.no_bar():
        assert learn.tta(n=1)[0].shape[-2:] == (PATCH, PATCH)
        assert learn.tta(n=1, batch_tfms=[IntToFloatTensor()])[0].shape[-2:] == (PATCH, PATCH)


@pytest.mark.parametrize(
    ("random_patch", "batch", "text"),
    [
        (
            RandomPatch(PATCH, per_slide=8),
            [Flip(0.5)],
            r"moved windows without moving them back.*learn.predict_slide\(slide\)",
        ),
        (
            RandomPatch(PATCH, per_slide=8),
            [Rotate(30)],
            r"moved windows without moving them back.*learn.predict_slide\(slide\)",
        ),
        (
            RandomPatch(PATCH, per_slide=8, augment=alb.HorizontalFlip()),
            [],
            r"leave out augment=.*learn.predict_slide\(slide\)",
        ),
    ],
)
def test_tta_that_would_be_wrong_is_refused(random_patch: RandomPatch, batch: list, text: str) -> None:
    """Turned predictions are no predictions of the place; and augment= would not run."""
    learn = Learner(loaders(random_patch, batch=batch), torch.nn.Conv2d(3, 256, 1))
    with pytest.raises(OptionError, match=text):
        learn.tta(n=1)


class Cells(torch.nn.Module):
    """A "model" that reads the cell of each pixel from its colours."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: set[tuple] = set()
        self.scale = torch.nn.Parameter(torch.ones(1))  # fastai asks for the dtype of the parameters

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits (n, 256, height, width)."""
        self.sizes.add(tuple(images.shape[-2:]))
        places = (images.as_subclass(torch.Tensor)[:, :2] * 255 / CELL).long().clamp(0, 15)
        return torch.nn.functional.one_hot(places[:, 0] * 16 + places[:, 1], 256).permute(0, 3, 1, 2).float()


@pytest.mark.parametrize(
    ("item", "batch", "size"),
    [
        ([], [], PATCH),
        ([], aug_transforms(size=48), 48),
        ([], aug_transforms(size=96), 96),
        ([Resize(32)], [], 32),
        ([Resize(48)], aug_transforms(size=40, min_scale=0.7), 40),
    ],
)
def test_predict_slide_of_resized_patches(item: list, batch: list, size: int) -> None:
    """The model sees windows of its own size, and the map lies on the slide's pixels."""
    learn = Learner(loaders(RandomPatch(PATCH, per_slide=8), item, batch), Cells())
    classes = learn.predict_slide(IMAGE)
    assert learn.model.sizes == {(size, size)} and classes.shape == (SIDE, SIDE)
    coarse = max(PATCH / size, 1)
    inside = np.minimum(np.minimum(ROWS % CELL, COLUMNS % CELL), CELL - 1 - np.maximum(ROWS % CELL, COLUMNS % CELL))
    assert (classes == MASK)[inside >= 2 * coarse].all()
    assert (classes == MASK).mean() > 0.8


class Upside(DisplayedTransform):
    """Turn images and masks upside down, on all slides."""

    order = 50

    def encodes(self, x: TensorImage | TensorMask):
        """Turn a batch."""
        return x.flip(-2)


@pytest.mark.parametrize(
    ("item", "batch", "text"),
    [
        ([RandomCrop(48)], [], r"RandomCrop\(size=\(48, 48\)\)"),
        ([CropPad(96)], [], r"CropPad\(size=\(96, 96\)\)"),
        ([], [Upside()], "they move pixels"),
    ],
)
def test_predict_slide_refuses_what_shows_a_part(item: list, batch: list, text: str) -> None:
    """A crop leaves pixels without an answer; so the error names it and the cure."""
    learn = Learner(loaders(RandomPatch(PATCH, per_slide=8), item, batch), Cells())
    with pytest.raises(OptionError, match=rf"whole window of 64 x 64 px.*{text}.*do not keep all its rows in place"):
        learn.predict_slide(IMAGE)


def test_show_batch_of_resized_patches() -> None:
    """Patches of the transforms' size, with the windows below."""
    dls = loaders(RandomPatch(PATCH, per_slide=8), batch=aug_transforms(size=48))
    dls.show_batch(max_n=4, windows=True)
    assert plt.gcf().axes[0].images[0].get_array().shape[:2] == (48, 48)
    plt.close("all")
