"""SlideItemList under fastai 1: a true subclass, slides until they are processed, pure windows afterwards."""

import hashlib
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from fastai.basic_train import Learner
from fastai.data_block import CategoryList, ItemLists, MixedItemList
from fastai.vision import SegmentationItemList, SegmentationLabelList, get_transforms

import patchaug.fastai
from patchaug import LabelError, MissingError, OptionError, PatchOptions, open_slide
from patchaug.fastai import SlideDataBunch, SlideItemList
from patchaug.testing import coordinate_image, coordinate_mask, mask_at, places

from .conftest import CODES, bunch, mask_of


def passes(loader, epochs: int = 1) -> list[list[str]]:
    """Hashes of the batches of some passes."""
    return [
        [hashlib.sha256(x.numpy().tobytes() + y.numpy().tobytes()).hexdigest() for x, y in loader]
        for _ in range(epochs)
    ]


def test_they_are_fastais_own_classes(folder: Path) -> None:
    """Subclasses, so that whatever asks for an ItemList, a LabelList or a DataBunch gets one."""
    start = SlideItemList.from_folder(folder / "images", patch=PatchOptions(32))
    assert isinstance(start, SegmentationItemList)
    data = bunch(folder)
    assert isinstance(data, SlideDataBunch) and isinstance(data.train_ds.y, SegmentationLabelList)
    assert data.c == 5 and data.classes == CODES and "SlideItemList" in repr(data)


def test_items_stay_slides_until_they_are_processed(folder: Path) -> None:
    """Splits and labels see paths; then the items are the windows of an epoch."""
    split = SlideItemList.from_folder(folder / "images", patch=PatchOptions(32, per_slide=5)).split_by_idx([0])
    names = ["s1.tiff", "s2.tiff", "s3.tiff"]
    assert isinstance(split, ItemLists) and [path.name for path in split.train.items] == names
    seen = []
    labelled = split.label_from_func(lambda path: seen.append(path.name) or mask_of(path), classes=CODES)
    assert seen == [*names, "s0.tiff"]
    assert len(labelled.train) == 15 and len(labelled.valid) == 64
    assert [slide.name for slide in labelled.valid.x.slides] == ["s0.tiff"]
    image, mask = labelled.train[3]
    assert tuple(image.shape) == (3, 32, 32) and tuple(mask.shape) == (1, 32, 32)
    some = labelled.valid[[5, 9]]
    assert len(some) == 2 and torch.equal(some[1][0].px, labelled.valid[9][0].px)


@pytest.mark.parametrize("tfms", [None, get_transforms(flip_vert=True)], ids=["plain", "transformed"])
def test_batches_are_pure(folder: Path, tfms) -> None:
    """0, 1 and 2 workers: equal bytes over two epochs, fastai's random transforms included; epochs differ."""
    alone = passes(bunch(folder, tfms=tfms).train_dl, 2)
    for workers in (1, 2):
        assert passes(bunch(folder, tfms=tfms, num_workers=workers).train_dl, 2) == alone
    everything = [one for epoch in alone for one in epoch]
    assert len(set(everything)) == len(everything)


def test_training_is_bit_equal_for_any_number_of_workers(folder: Path) -> None:
    """Losses of one epoch, training and validation."""

    def losses(workers: int) -> list[float]:
        torch.manual_seed(3)
        learn = Learner(bunch(folder, tfms=get_transforms(), num_workers=workers), torch.nn.Conv2d(3, 5, 3, padding=1))
        learn.fit(1, 1e-2)
        return [float(loss) for loss in [*learn.recorder.losses, *learn.recorder.val_losses]]

    assert losses(0) == losses(2)


def test_global_generators_are_left_alone(folder: Path) -> None:
    """An item moves none of them."""
    data = bunch(folder, tfms=get_transforms())
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    before = random.random(), np.random.rand(), torch.rand(1).item()
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    data.train_ds[0]
    assert before == (random.random(), np.random.rand(), torch.rand(1).item())


def test_image_and_mask_come_from_one_read(folder: Path, monkeypatch) -> None:
    """fastai asks for them apart; the slide is read once, and they show one place, in any epoch."""
    from patchaug.sampling.plan import Plan

    data, reads = bunch(folder), []
    original = Plan.read
    monkeypatch.setattr(Plan, "read", lambda plan, draw: reads.append(draw.index) or original(plan, draw))
    for index in (0, 7, 5 * len(data.train_ds) + 3):
        image, mask = data.train_ds[index]
        pixels = (image.px * 255).round().byte().permute(1, 2, 0).numpy()
        assert (mask.data[0].numpy() == mask_at(*places(pixels))).all()
    assert reads == [0, 7, 5 * len(data.train_ds) + 3]


@pytest.mark.parametrize("workers", [0, 2])
def test_passes_move_the_epoch_and_looks_do_not(folder: Path, workers: int) -> None:
    """A pass that is left counts, since its windows were used, also when workers have run ahead to its end."""
    data = bunch(folder, num_workers=workers)
    first = data.one_batch()[0]
    assert torch.equal(data.one_batch()[0], first) and data.epoch == 0
    for number, _ in enumerate(data.train_dl):
        if number == 4:  # of 6: the sampler is exhausted by now
            break
    assert data.epoch == 1
    second = passes(data.train_dl, 2)[0]
    assert data.epoch == 3
    data.epoch = 1
    assert passes(data.train_dl) == [second]
    data.batch_size = 2
    assert data.epoch == 2 and len(data.train_dl) == 12


def test_the_validation_grid_is_always_the_same(folder: Path) -> None:
    """Every pixel of its slide, in each pass."""
    data = bunch(folder, PatchOptions(48, overlap=5, per_slide=3))
    seen = np.zeros((256, 256), int)
    for x, _ in data.valid_dl:
        for image in (x * 255).round().byte().permute(0, 2, 3, 1).numpy():
            x0, y0 = places(image)
            seen[y0, x0] += 1
    assert (seen > 0).all()
    first, second = passes(data.valid_dl, 2)
    assert first == second


def test_bad_masks_are_found_before_training(folder: Path) -> None:
    """Missing ones all at once; a class without a name; `ignore_index` is left out of the loss."""
    start = SlideItemList.from_folder(folder / "images", patch=PatchOptions(32)).split_by_idx([3])
    with pytest.raises(MissingError, match=r"3 masks do not exist: .*no_s0.tiff, .*no_s1.tiff"):
        start.label_from_func(lambda path: path.with_name("no_" + path.name), classes=CODES)
    with pytest.raises(LabelError, match="s0.tiff: the mask holds class 4"):
        SlideItemList.from_folder(folder / "images", patch=PatchOptions(32)).split_by_idx([3]).label_from_func(
            mask_of, classes=CODES[:4]
        )
    with pytest.raises(OptionError, match="masks need the names of their classes"):
        SlideItemList.from_folder(folder / "images", patch=PatchOptions(32)).split_by_idx([3]).label_from_func(mask_of)
    data = bunch(folder, ignore_index=4)
    assert data.loss_func.func.ignore_index == 4 and data.c == 4


def test_other_wrong_use_is_told(folder: Path) -> None:
    """Sizes that would resize patches, fastai's factories, a test set at random, names of fastai 2."""
    labelled = SlideItemList.from_folder(folder / "images", patch=PatchOptions(32, valid="random")).split_by_idx([3])
    labelled = labelled.label_from_func(mask_of, classes=CODES)
    with pytest.raises(OptionError, match="size=64 would resize each patch"):
        labelled.transform(get_transforms(), tfm_y=True, size=64)
    with pytest.raises(OptionError, match="random windows of a test set, which would leave pixels out"):
        labelled.add_test([folder / "images" / "s0.tiff"])
    with pytest.raises(OptionError, match="SlideDataBunch has no from_folder"):
        SlideDataBunch.from_folder(folder)
    with pytest.raises(AttributeError, match=r"SlideBlock belongs to fastai 2, and 1\.0\.61 is installed: start"):
        _ = patchaug.fastai.SlideBlock
    with pytest.raises(Exception, match="Your data isn't split"):
        SlideItemList.from_folder(folder / "images", patch=PatchOptions(32)).label_from_func(mask_of, classes=CODES)


def test_labels_are_masks_and_items_single_slides(folder: Path) -> None:
    """One label for each slide would belong to the first windows; several slides in an item would be apart."""
    split = SlideItemList.from_folder(folder / "images", patch=PatchOptions(32, per_slide=3)).split_by_idx([3])
    with pytest.raises(OptionError, match="labels of slides are masks, .* and these are a CategoryList"):
        split.label_from_func(lambda path: path.stem, label_cls=CategoryList)
    lists = [SlideItemList.from_folder(folder / "images", patch=PatchOptions(32)) for _ in range(2)]
    with pytest.raises(OptionError, match=r"several slides \(MixedItemList\) would draw a window for each of them"):
        MixedItemList(lists, folder).split_by_idx([3]).label_empty()


def test_lighting_alone_may_leave_masks_alone() -> None:
    """Without tfm_y, transforms that move nothing are taken."""
    light = get_transforms(do_flip=False, max_rotate=0.0, max_zoom=1.0, max_warp=0.0)
    start = SlideItemList.from_arrays([coordinate_image(64, 64)] * 2, patch=PatchOptions(32, per_slide=2))
    labelled = start.split_by_idx([1]).label_from_lists(*([coordinate_mask(64, 64)],) * 2, classes=CODES)
    assert len(labelled.transform(light).databunch(bs=2, num_workers=0).train_dl) == 1


def test_arrays_are_not_copied() -> None:
    """Two slides of 48 MB: making and reading the loaders takes a fraction of one."""
    import tracemalloc

    arrays = [np.zeros((4000, 4000, 3), np.uint8) for _ in range(2)]
    masks = [np.zeros((4000, 4000), np.uint8) for _ in range(2)]
    tracemalloc.start()
    start = SlideItemList.from_arrays(arrays, patch=PatchOptions(64, per_slide=4)).split_by_idx([1])
    data = start.label_from_lists(masks[:1], masks[1:], classes=["a"]).databunch(bs=2, num_workers=0)
    next(iter(data.train_dl))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 24e6
    assert np.shares_memory(data.train_ds.x.slides[0].image._levels[0], arrays[0])


def test_data_can_be_saved_and_loaded(folder: Path, tmp_path: Path) -> None:
    """fastai's own data.save: paths, not pixels."""
    from fastai.basic_data import load_data

    data = bunch(folder, path=tmp_path)
    data.save("kept.pkl")
    assert (tmp_path / "kept.pkl").stat().st_size < 100_000
    again = load_data(tmp_path, "kept.pkl", bs=4, num_workers=0)
    assert passes(again.train_dl) == passes(data.train_dl)


def test_an_open_slide_is_an_item(folder: Path) -> None:
    """By its own name, with the mask that it is given."""
    slides = [open_slide(folder / "images" / f"s{n}.tiff", name=f"case {n}") for n in range(2)]
    masks = [folder / "masks" / f"s{n}.tiff" for n in range(2)]
    split = SlideItemList.from_lists(slides, patch=PatchOptions(32, per_slide=2)).split_by_idx([1])
    data = split.label_from_lists(masks[:1], masks[1:], classes=CODES)
    assert data.train.x.slides[0].name == "case 0" and data.train.x.slides[0].mask is not None
