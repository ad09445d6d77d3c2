"""Indexes of labels on fastai's routes: kept in a folder, checked late where that would hold up the start."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from fastai.vision.all import DataBlock, GrandparentSplitter, Learner, nn

from patchaug import LabelError, PatchOptions
from patchaug.data import slide_items
from patchaug.fastai import RandomPatch, SlideBlock, SlideDataLoaders, SlideItemList, SlideMaskBlock
from patchaug.slides.aligned_mask import AlignedMask

CODES = ["a", "b"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A slide for training and one for validation; a mask beside each."""
    for kind, seed in (("train", 0), ("valid", 1)):
        (tmp_path / kind / "x").mkdir(parents=True)
        mask = (np.random.default_rng(seed).random((96, 96)) < 0.1).astype(np.uint8)
        image = np.zeros((96, 96, 3), np.uint8)
        tifffile.imwrite(tmp_path / kind / "x" / f"{kind}.tiff", image, tile=(32, 32), photometric="rgb")
        tifffile.imwrite(tmp_path / kind / "x" / f"{kind}_mask.tiff", mask, tile=(32, 32))
    return tmp_path


def mask_of(image: Path) -> Path:
    return image.with_name(f"{image.stem}_mask.tiff")


def test_every_route_keeps_its_indexes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first start fills the folder; the next ones, by each route, index no mask; an export names no folder."""
    cache = str(folder / "indexes")
    paths = [folder / kind / "x" / f"{kind}.tiff" for kind in ("train", "valid")]
    options = PatchOptions(32, per_slide=4, foreground=0.5, index_cache=cache, index_workers=1)

    def of_lists() -> Any:
        pairs = [[(path, mask_of(path))] for path in paths]
        return SlideDataLoaders.from_lists(*pairs, codes=CODES, options=options, bs=2, num_workers=0)

    def of_block() -> Any:
        windows = RandomPatch(32, per_slide=4, foreground=0.5, index_cache=cache)
        block = DataBlock(
            blocks=(SlideBlock, SlideMaskBlock(CODES)), get_items=lambda _: paths, get_y=mask_of,
            splitter=GrandparentSplitter(), item_tfms=windows,
        )  # fmt: skip
        return block.dataloaders(folder, bs=2, num_workers=0)

    def of_items() -> Any:
        items = SlideItemList.from_lists(paths, patch=options).split_by_idx([1])
        return items.label_from_func(mask_of, classes=CODES).databunch(bs=2, num_workers=0)

    first = of_lists()
    assert len(list((folder / "indexes").rglob("*.labels"))) == 2
    monkeypatch.setattr(AlignedMask, "index", None)
    for dls in (of_lists(), of_block(), of_items()):
        for mine, other in zip(dls.one_batch(), first.one_batch(), strict=True):
            assert (mine == other).all()
    learn = Learner(first, nn.Conv2d(3, 2, 1), path=folder)
    learn.export("a.pkl")
    assert b"indexes" not in (folder / "a.pkl").read_bytes()


def test_large_masks_are_checked_window_by_window(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No label is read at the start of uniform windows and grids, and yet no value without a class is trained on."""
    path = folder / "train" / "x" / "train.tiff"
    mask = tifffile.imread(mask_of(path))
    mask[40, 50] = 7
    tifffile.imwrite(mask_of(path), mask, tile=(32, 32))

    def loaders(**options: Any) -> Any:
        pairs = [(path, mask_of(path))], [(folder / "valid" / "x" / "valid.tiff", mask_of(path))]
        options = PatchOptions(96, **options)
        return SlideDataLoaders.from_lists(*pairs, codes=CODES, options=options, bs=1, num_workers=0)

    with pytest.raises(LabelError, match="class 7 at x=50 y=40"):
        loaders()
    monkeypatch.setattr(slide_items, "CHECKED_AT_START", 0)
    with pytest.raises(LabelError, match="class 7 at x=50 y=40"):  # the plan needs the labels
        loaders(foreground=0.5)
    monkeypatch.setattr(AlignedMask, "index", None)
    with pytest.raises(LabelError, match=r"class 7 at x=50 y=40 \(1 px\), but codes name 0 to 1"):
        loaders()  # fastai reads the first batch
    tifffile.imwrite(mask_of(path), np.minimum(mask, 1), tile=(32, 32))
    assert not loaders().train.slides[0].has_index("mask", 0)
