"""Physical size behind fastai's blocks: patches of one size, and a map that fits the level that was read."""

import numpy as np
import torch
from fastai.vision.all import DataBlock, IndexSplitter, Learner

from patchaug import Window, open_slide
from patchaug.fastai import RandomPatch, SlideBlock, SlideMaskBlock, predict_slide

from .conftest import CODES, Places, images_of, mask_of


def test_slides_train_and_predict_in_mpp(folder, tmp_path) -> None:
    """Read at level 0 (0.5 micrometres), asked for in 0.75: 24 px patches of 36 px windows; the map is level 0's."""
    block = DataBlock(
        blocks=(SlideBlock, SlideMaskBlock(CODES)),
        get_items=images_of,
        get_y=mask_of,
        splitter=IndexSplitter([3]),
        item_tfms=RandomPatch(24, per_slide=4, mpp=0.75),
    )
    dls = block.dataloaders(folder, bs=4, num_workers=0)
    images, masks = dls.one_batch()
    assert images.shape == (4, 3, 24, 24) and masks.shape == (4, 24, 24)
    assert {(d.window.width, d.window.level) for d in dls.train.plan} == {(36, 0)}
    learn = Learner(dls, Places(), path=tmp_path)
    slide = open_slide(images_of(folder)[3])
    classes = predict_slide(learn, slide)
    assert classes.shape == (256, 256)
    for draw in dls.test_dl([slide]).plan:  # each patch grown back to its window, where no later window covers it
        if draw.window == Window(0, 0, 36, 36):
            patch, _ = slide.read(draw.window, 24)
            guess = learn.model(torch.from_numpy(patch.transpose(2, 0, 1)[None] / np.float32(255))).argmax(1)[0].numpy()
            at = ((np.arange(36) + 0.5) * 24 / 36).astype(int)
            assert (classes[:36, :36] == guess[np.ix_(at, at)]).all()
            return
    raise AssertionError("the grid begins in the corner")


def test_a_mpp_that_the_files_do_not_say() -> None:
    """Said with the block."""
    items = [np.zeros((90, 90, 3), np.uint8) for _ in range(2)]
    block = DataBlock(
        blocks=SlideBlock(mpp=0.25), splitter=IndexSplitter([1]), item_tfms=RandomPatch(20, per_slide=2, mpp=0.5)
    )
    dls = block.dataloaders(items, bs=2, num_workers=0)
    assert dls.train.slides[0].mpp == (0.25, 0.25) and dls.train.plan[0].window.width == 40
