"""Several slides or masks in an item: each its own pixels, all through one window."""

import pickle
from pathlib import Path
from typing import Any

import albumentations as alb
import numpy as np
import pytest
import torch
from fastai.vision.all import (
    CategoryBlock,
    DataBlock,
    DataLoaders,
    IndexSplitter,
    Learner,
    MSELossFlat,
    TensorImage,
    TensorMask,
    aug_transforms,
    load_learner,
    nn,
)

from patchaug import FrameError, LabelError, OptionError, open_slide
from patchaug.fastai import RandomPatch, SlideBlock, SlideMaskBlock
from patchaug.testing import coordinate_image, coordinate_mask, write_pyramid

from .conftest import CODES, images_of, mask_of

SIDE = 160  # `Torn` fails below row 128


def image_of(number: int) -> np.ndarray:
    """Coordinate-coded, in one channel less for each number: no two slides are alike."""
    return coordinate_image(SIDE, SIDE) ^ np.uint8(number)


SLIDES = [image_of(number) for number in range(3)]


def evenness(image):
    """A class for a slide."""
    return "all"


def same(image):
    """The slide."""
    return image


def negative(image):
    """The negative of a slide, a second slide of the same frame."""
    return 255 - image


def small(image):
    """Half of the slide."""
    return np.ascontiguousarray(image[: SIDE // 2])


def first_mask(image):
    """Five classes."""
    return coordinate_mask(SIDE, SIDE)


def second_mask(image):
    """The classes in another order."""
    return (coordinate_mask(SIDE, SIDE) + 2) % 5


def unknown_mask(image):
    """A class that no code names."""
    return np.full((SIDE, SIDE), 9, np.uint8)


def loaders(blocks: tuple, getters: list, random_patch: RandomPatch | None = None, **kwargs: Any) -> DataLoaders:
    """Two slides for training, one for validation, with any elements beside them."""
    block = DataBlock(
        blocks,
        getters=getters,
        n_inp=kwargs.pop("n_inp", 1),
        splitter=IndexSplitter([2]),
        item_tfms=[random_patch or RandomPatch(32, per_slide=8), *kwargs.pop("item_tfms", [])],
        batch_tfms=kwargs.pop("batch_tfms", None),
    )
    return block.dataloaders(SLIDES, **{"bs": 4, "num_workers": 0, "device": "cpu", **kwargs})


def pixels(images: torch.Tensor) -> np.ndarray:
    """uint8 (n, height, width, 3) of a float batch."""
    return (images.as_subclass(torch.Tensor) * 255).round().byte().permute(0, 2, 3, 1).numpy()


MASKS = SlideMaskBlock(CODES)
TWO_AND_TWO = (SlideBlock, SlideBlock, MASKS, MASKS), [same, negative, first_mask, second_mask]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("random_patch", [RandomPatch(32, per_slide=8), RandomPatch((16, 32), per_slide=8, halo=5)])
def test_every_element_has_its_own_pixels(workers: int, random_patch: RandomPatch) -> None:
    """Two images and two masks: of the window that was drawn, in both splits and with a halo."""
    dls = loaders(*TWO_AND_TWO, random_patch, n_inp=2, num_workers=workers)
    for loader in (dls.train, dls.valid):
        draws = [loader.plan[index] for index in loader.get_idxs()]
        for number, (one, two, mask, other) in enumerate(loader):
            assert isinstance(two, TensorImage) and isinstance(other, TensorMask)
            for k, draw in enumerate(draws[4 * number : 4 * number + len(one)]):
                window = draw.window
                place = np.s_[window.y : window.bottom, window.x : window.right]
                slide = loader.slides[draw.slide].image.array()[place]
                assert (pixels(one)[k] == slide).all() and (pixels(two)[k] == 255 - slide).all()
                assert (mask[k].numpy() == first_mask(None)[place]).all()
                assert (other[k].numpy() == second_mask(None)[place]).all()


def test_the_windows_are_those_of_the_first_slide_alone() -> None:
    """A second slide beside it moves no window; foreground draws look at the first mask."""
    patch = RandomPatch(8, per_slide=20, foreground=1.0, classes=["c"], seed=3)
    alone = loaders((SlideBlock, MASKS), [same, first_mask], patch)
    both = loaders(*TWO_AND_TWO, patch, n_inp=2)
    windows = [[(draw.window, draw.probability) for draw in dls.train.plan] for dls in (alone, both)]
    assert windows[0] == windows[1]
    for _, _, mask, _ in both.train:
        assert (mask == 2).flatten(1).any(1).all()


def test_transforms_treat_all_alike() -> None:
    """albumentations under one key, batch transforms of fastai: the second stays the negative of the first."""
    turn = alb.Compose(
        [alb.Affine(rotate=(-90, 90), scale=(0.8, 1.2), interpolation=0, p=1), alb.HorizontalFlip(p=0.5)]
    )
    for patch, batch_tfms in (
        (RandomPatch(32, per_slide=8, augment=turn), None),
        (RandomPatch(32, per_slide=8, halo=16), aug_transforms(flip_vert=True, max_lighting=0)),
        (RandomPatch(32, per_slide=8), aug_transforms(size=24, max_lighting=0)),
    ):
        dls = loaders(*TWO_AND_TWO, patch, n_inp=2, batch_tfms=batch_tfms)
        for loader in (dls.train, dls.valid):
            for one, two, mask, other in loader:
                assert one.shape == two.shape and mask.shape == other.shape == one.shape[:1] + one.shape[-2:]
                assert torch.allclose(
                    one.as_subclass(torch.Tensor) + two.as_subclass(torch.Tensor), torch.ones(1), atol=1e-3
                )
                assert ((mask.as_subclass(torch.Tensor) + 2) % 5 == other.as_subclass(torch.Tensor)).all()


class Negative(nn.Module):
    """Learns a factor and an offset: 255 - x is in its reach."""

    def __init__(self) -> None:
        super().__init__()
        self.factor, self.offset = nn.Parameter(torch.tensor(0.0)), nn.Parameter(torch.tensor(0.0))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Images of the same shape."""
        return images.as_subclass(torch.Tensor) * self.factor + self.offset


def test_image_to_image_trains() -> None:
    """The target is the other slide, in no place the first; whole slides are refused with the reason."""
    dls = loaders((SlideBlock, SlideBlock), [same, negative], RandomPatch(32, per_slide=32))
    learn = Learner(dls, Negative(), loss_func=MSELossFlat())
    with learn.no_bar(), learn.no_logging():
        learn.fit(10, 0.1)
        assert learn.validate()[0] < 1e-3
        assert learn.model.factor.item() == pytest.approx(-1, abs=0.05)
        predicted, target = learn.get_preds()
        assert (predicted - target).abs().max() < 0.1
    with pytest.raises(OptionError, match="makes one class map, and the targets of this learner are SlideImage; take"):
        learn.predict_slide(SLIDES[0])
    dls.show_batch(max_n=2)


class Both(nn.Module):
    """Knows the class of each pixel if both inputs are of one place, else none; and a weight to train."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, one: torch.Tensor, two: torch.Tensor) -> torch.Tensor:
        """Logits (n, 5, height, width)."""
        from patchaug.testing import mask_at, places

        assert (pixels(one.cpu().detach()) == 255 - pixels(two.cpu().detach())).all()
        classes = torch.from_numpy(mask_at(*places(pixels(one.cpu().detach()))).astype("int64"))
        return nn.functional.one_hot(classes, 5).permute(0, 3, 1, 2).float() * 8 * self.scale


def test_two_inputs_and_one_mask_train_and_predict(tmp_path: Path) -> None:
    """The model gets both; predict_slide takes both, also after export, and says so where one is missing."""
    blocks, getters = (SlideBlock, SlideBlock, MASKS), [same, negative, first_mask]
    dls = loaders(blocks, getters, n_inp=2, path=tmp_path)
    learn = Learner(dls, Both(), path=tmp_path)
    with learn.no_bar(), learn.no_logging():
        learn.fit(1, 1e-3)
        assert len(learn.get_preds()[0]) == len(dls.valid.plan)
    learn.export("two.pkl")
    loaded = load_learner(tmp_path / "two.pkl")
    for one in (learn, loaded):
        assert (one.predict_slide((SLIDES[0], negative(SLIDES[0]))) == first_mask(None)).all()
        with pytest.raises(
            OptionError, match=r"2 inputs, and predict_slide got 1 slides; call it with \(slide1, slide2\)"
        ):
            one.predict_slide(SLIDES[0])
    with pytest.raises(FrameError, match="level 0 has 160 x 160 px, and array beside it 160 x 80 px"):
        learn.predict_slide((SLIDES[0], small(SLIDES[0])))


def test_inputs_that_are_no_slides_are_refused_in_prediction() -> None:
    """A class beside the slide is known in training alone."""
    dls = loaders((SlideBlock, CategoryBlock, MASKS), [same, evenness, first_mask], n_inp=2)
    learn = Learner(dls, nn.Conv2d(3, 5, 1))
    with pytest.raises(
        OptionError, match="needs slides as the only inputs of the model, and they are SlideImage, Tensor"
    ):
        learn.predict_slide(SLIDES[0])
    two = Learner(loaders((SlideBlock, MASKS, MASKS), [same, first_mask, second_mask]), nn.Conv2d(3, 5, 1))
    with pytest.raises(OptionError, match="the targets of this learner are SlideMask, SlideMask"):
        two.predict_slide(SLIDES[0])


def test_test_items_are_not_all_inputs_at_once() -> None:
    """Items of the training type go through the getters; any other would be both inputs."""
    dls = loaders((SlideBlock, SlideBlock, MASKS), [same, negative, first_mask], n_inp=2)
    one, two = dls.test_dl(SLIDES[:1]).one_batch()
    assert (pixels(one) == 255 - pixels(two)).all()
    with pytest.raises(
        OptionError, match=r"test item 0, Slide.*, would be all 2 inputs.*predict_slide\(\(slide1, slide2"
    ):
        dls.test_dl([open_slide(SLIDES[0])])
    with pytest.raises(OptionError, match="windows=True numbers one image of each item"):
        dls.show_batch(windows=True)


@pytest.mark.parametrize(
    ("blocks", "getters", "error", "text"),
    [
        (
            (SlideBlock, SlideBlock),
            [same, small],
            FrameError,
            "160 x 160 px, and array 0, element 2 beside it 160 x 80",
        ),
        ((SlideBlock, MASKS, MASKS), [same, first_mask, unknown_mask], LabelError, "9"),
    ],
)
def test_frames_and_labels_are_checked_before_training(blocks, getters, error: type, text: str) -> None:
    """Of every element."""
    with pytest.raises(error, match=text):
        loaders(blocks, getters)


def test_levels_must_be_of_both(folder: Path) -> None:
    """A second slide without the level that is read is an error, not another scale."""
    flat = folder / "flat.tiff"
    write_pyramid(flat, [coordinate_image(256, 256)])
    block = DataBlock(
        (SlideBlock, SlideBlock), get_items=images_of, get_y=lambda path: flat, splitter=IndexSplitter([3]),
        item_tfms=RandomPatch(16, per_slide=4, level=1),
    )  # fmt: skip
    with pytest.raises(
        FrameError, match="s0.tiff: windows are read at level 1, and flat.tiff beside it has levels 0 to 0"
    ):
        block.dataloaders(folder, bs=2, num_workers=0)


def test_files_levels_and_started_workers(folder: Path) -> None:
    """Pyramids on the disk, level 1; a group pickles."""
    block = DataBlock(
        (SlideBlock, SlideBlock, SlideMaskBlock(CODES)), get_items=images_of, getters=[same, same, mask_of], n_inp=2,
        splitter=IndexSplitter([3]), item_tfms=RandomPatch(16, per_slide=4, level=1),
    )  # fmt: skip
    dls = block.dataloaders(folder, bs=4, num_workers=0)
    one, two, _ = dls.one_batch()
    assert torch.equal(one.as_subclass(torch.Tensor), two.as_subclass(torch.Tensor))
    group = pickle.loads(pickle.dumps(dls.train.slides[0]))
    window = dls.train.plan[0].window
    patch = pickle.loads(pickle.dumps(group.read(window)))
    assert len(patch.parts) == 2 and (patch.parts[1].image == open_slide(images_of(folder)[0]).read(window).image).all()


def test_a_window_that_one_slide_cannot_give_is_replaced_for_all() -> None:
    """on_error: the second is torn; both get the replacement, the same in each run."""
    from tests.torn import Torn

    torn = open_slide(Torn([SLIDES[0]]), name="torn")

    def torn_of(image):
        return torn

    dls = loaders((SlideBlock, SlideBlock), [same, torn_of], RandomPatch(16, per_slide=16, on_error="resample"))
    with pytest.warns(UserWarning, match="a window was replaced by another"):
        batches = list(dls.train)
    assert dls.train.plan.replaced
    for one, two in batches:
        for k in range(len(one)):
            first = pixels(one)[k]
            number = next(n for n in range(3) if (first ^ np.uint8(n) == pixels(two)[k]).all())
            assert number in (0, 1)
