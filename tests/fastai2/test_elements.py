"""What stands beside a slide in an item: pixels that are not read through the window are refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
from fastai.vision.all import (
    BBoxBlock,
    BBoxLblBlock,
    CategoryBlock,
    DataBlock,
    Flip,
    ImageBlock,
    IndexSplitter,
    Learner,
    MaskBlock,
    PILImage,
    PointBlock,
    RegressionBlock,
    TransformBlock,
    nn,
)  # fmt: skip

from patchaug import OptionError
from patchaug.fastai import RandomPatch, SlideBlock, SlideDataLoaders, SlideMaskBlock

from .conftest import CODES, images_of, loaders, mask_of


def of_path(path: Path) -> str:
    """A class for a slide."""
    return "even" if int(path.stem[1:]) % 2 == 0 else "odd"


def number_of(path: Path) -> float:
    """A number for a slide."""
    return float(path.stem[1:])


def pixels_of_mask(path: Path) -> np.ndarray:
    """The whole mask as an array."""
    return np.zeros((256, 256), np.uint8)


def points_of(path: Path) -> list:
    """Two points."""
    return [[10, 20], [30, 40]]


def block_of(blocks: tuple, get_y, **kwargs) -> DataBlock:
    """A data block of slides of the folder."""
    return DataBlock(
        blocks, get_items=images_of, get_y=get_y, splitter=IndexSplitter([3]), item_tfms=RandomPatch(32, per_slide=4),
        **kwargs,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("block", "get_y", "text"),
    [
        (
            MaskBlock(CODES),
            mask_of,
            r"PILMask, the same for all windows.*SlideMaskBlock\(codes\) in place of MaskBlock",
        ),
        (ImageBlock, mask_of, "PILImage, the same for all windows of its slide; take SlideBlock for images"),
        (TransformBlock(), pixels_of_mask, "ndarray, .*SlideMaskBlock for masks"),
        (TransformBlock(type_tfms=PILImage.create), mask_of, "PILImage, "),
        (PointBlock, points_of, "TensorPoint, .*points and boxes cannot be cut to windows"),
    ],
)
def test_pixels_of_the_whole_slide_are_refused(folder: Path, block, get_y, text: str) -> None:
    """Before training, with a cure."""
    with pytest.raises(OptionError, match=rf"element 1 of item 0 is a {text}"):
        block_of((SlideBlock, block), get_y).dataloaders(folder, bs=2, num_workers=0)


def test_a_mask_beside_a_paired_mask_is_refused(folder: Path) -> None:
    """Also as a third element, where the second is right."""
    block = block_of((SlideBlock, SlideMaskBlock(CODES), MaskBlock(CODES)), [mask_of, mask_of], n_inp=1)
    with pytest.raises(OptionError, match="element 2 of item 0 is a PILMask"):
        block.dataloaders(folder, bs=2, num_workers=0)


def test_boxes_are_refused(folder: Path) -> None:
    """Boxes of a slide are no boxes of a window."""
    block = block_of(
        (SlideBlock, BBoxBlock, BBoxLblBlock), [lambda path: [[1, 2, 30, 40]], lambda path: ["a"]], n_inp=1
    )
    with pytest.raises(OptionError, match="element 1 of item 0 is a TensorBBox"):
        block.dataloaders(folder, bs=2, num_workers=0)


@pytest.mark.parametrize(("block", "get_y", "outputs"), [(CategoryBlock, of_path, 2), (RegressionBlock, number_of, 1)])
def test_labels_of_slides_train(folder: Path, block, get_y, outputs: int) -> None:
    """A class or a number for each slide: every window has that of its slide."""
    dls = block_of((SlideBlock, block), get_y).dataloaders(folder, bs=4, num_workers=0)
    draws = [dls.train.plan[index] for index in dls.train.get_idxs()[:4]]
    names = [Path(dls.train.slides[draw.slide].path) for draw in draws]
    labels = next(iter(dls.train))[1]
    found = [dls.vocab[int(label)] for label in labels] if outputs == 2 else labels.tolist()
    assert found == [get_y(name) for name in names]
    learn = Learner(dls, nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, outputs)))
    with learn.no_bar(), learn.no_logging():
        learn.fit(1, 1e-3)
        assert len(learn.get_preds()[0]) == len(dls.valid.plan)


def in_three(files: list) -> tuple:
    """A splitter with three subsets."""
    return [0, 1], [2], [3]


def test_a_third_subset_is_a_grid(folder: Path) -> None:
    """Also a fourth: only the first is drawn from at random."""
    block = DataBlock(
        (SlideBlock, SlideMaskBlock(CODES)), get_items=images_of, get_y=mask_of, splitter=in_three,
        item_tfms=RandomPatch(64, per_slide=3, halo=8),
    )  # fmt: skip
    dls = block.dataloaders(folder, bs=4, num_workers=0)
    assert len(dls.loaders) == 3
    assert [len(loader.plan) for loader in dls.loaders] == [6, 16, 16]
    corners = {(draw.window.x, draw.window.y) for draw in dls[2].plan}
    assert corners == {(x, y) for x in range(0, 256, 64) for y in range(0, 256, 64)}
    first, again = ([images for images, _ in dls[2]] for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert first[0].shape[-2:] == (64, 64) and [dl.split for dl in dls.loaders] == ["train", "valid", "valid"]


def test_tta_of_classes_flips(folder: Path) -> None:
    """A class of a slide is that of its mirrored windows too."""
    block = block_of((SlideBlock, CategoryBlock), of_path, batch_tfms=[Flip(0.5)])
    dls = block.dataloaders(folder, bs=4, num_workers=0)
    learn = Learner(dls, nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2)))
    with learn.no_bar():
        assert len(learn.tta(n=1)[0]) == len(dls.valid.plan)


def test_batch_size_is_bs(folder: Path) -> None:
    """fastai's alias, in data blocks, factories, and a loader made of another; two different ones are refused."""
    dls = loaders(folder, bs=64, batch_size=3)
    assert dls.train.bs == dls.valid.bs == 3 and dls.one_batch()[0].shape[0] == 3
    assert dls.train.new(batch_size=2).one_batch()[0].shape[0] == 2
    assert loaders(folder, bs=3, batch_size=3).train.bs == 3
    pairs = [(path, mask_of(path)) for path in images_of(folder)]
    made = SlideDataLoaders.from_lists(
        pairs[:2], pairs[2:], codes=CODES, item_tfms=RandomPatch(32, per_slide=4), batch_size=2, num_workers=0
    )
    assert made.train.bs == made.valid.bs == 2
    with pytest.raises(OptionError, match="bs=4 and batch_size=3 both set the batch size; keep bs"):
        loaders(folder, bs=4, batch_size=3)
    with pytest.raises(OptionError, match="fewer than the batch size 99"):
        loaders(folder, bs=64, batch_size=99)
