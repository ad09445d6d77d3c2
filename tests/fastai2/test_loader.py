"""PatchDL: pure batches, whatever the workers; the split by slide; the grid on validation slides."""

import hashlib
import multiprocessing
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from fastai.vision.all import (
    DataBlock,
    DataLoaders,
    DisplayedTransform,
    FlipItem,
    IndexSplitter,
    Learner,
    Normalize,
    PILImage,
    TensorImage,
    TensorMask,
    Transform,
    aug_transforms,
    set_seed,
)  # fmt: skip

from patchaug import LabelError, MissingError, OptionError, WindowError
from patchaug.fastai import PatchDL, RandomPatch, SlideBlock, SlideMaskBlock
from patchaug.testing import mask_at, places, write_pyramid

from .conftest import CODES, Places, images_of, loaders, mask_of


def pixels(images: torch.Tensor) -> np.ndarray:
    """uint8 (n, height, width, 3) of a float batch."""
    return (images.as_subclass(torch.Tensor) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()


def passes(dl: PatchDL, epochs: int = 1) -> list[list[str]]:
    """Hashes of the batches of some passes."""
    return [
        [hashlib.sha256(x.cpu().numpy().tobytes() + y.cpu().numpy().tobytes()).hexdigest() for x, y in dl]
        for _ in range(epochs)
    ]


class Noise(DisplayedTransform):
    """An item transform with all three global generators in it."""

    order = 1

    def encodes(self, x: PILImage):
        """Add what the generators say."""
        offset = random.randint(0, 9) + np.random.randint(0, 9) + int(torch.randint(0, 9, (1,)))
        return PILImage.create(np.clip(np.asarray(x).astype(int) + offset, 0, 255).astype(np.uint8))


@pytest.fixture
def start_method():
    """Set the start method of workers, and put it back."""
    before = multiprocessing.get_start_method()
    yield lambda method: multiprocessing.set_start_method(method, force=True)
    multiprocessing.set_start_method(before, force=True)


@pytest.mark.parametrize("mode", ["random", "random-grid"])
def test_batches_are_pure(folder: Path, mode: str) -> None:
    """0, 1, 2 workers: equal bytes over three epochs, item transforms included; epochs and seeds differ."""

    def run(workers: int, seed: int = 7) -> list[list[str]]:
        patch = RandomPatch(32, per_slide=8, foreground=0.5, seed=seed, mode=mode)
        return passes(loaders(folder, patch, num_workers=workers, item_tfms=[Noise, FlipItem(0.5)]).train, 3)

    alone = run(0)
    assert alone == run(1) == run(2)
    everything = [h for epoch in alone for h in epoch]
    assert len(set(everything)) == len(everything)
    assert not set(everything) & {h for epoch in run(0, seed=8) for h in epoch}


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_start_methods_do_not_matter(folder: Path, start_method, method: str) -> None:
    """The same bytes as without workers."""
    alone = passes(loaders(folder).train)
    start_method(method)
    assert passes(loaders(folder, num_workers=2).train) == alone


def test_global_generators_are_left_alone(dls: DataLoaders) -> None:
    """Reading a batch moves none of them, so batch transforms and dropout stay under the user's set_seed."""
    set_seed(3)
    before = random.random(), np.random.rand(), torch.rand(1).item()
    set_seed(3)
    dls.train.do_item(None)
    assert (random.random(), np.random.rand(), torch.rand(1).item()) == before


def test_training_is_bit_equal_for_any_number_of_workers(folder: Path) -> None:
    """Train and validation loss of one epoch, batch transforms included."""

    def losses(workers: int) -> list[float]:
        set_seed(5, reproducible=True)
        dls = loaders(folder, num_workers=workers, batch_tfms=[*aug_transforms(flip_vert=True), Normalize()])
        model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(8, 5, 1))
        learn = Learner(dls, model)
        with learn.no_bar(), learn.no_logging():
            learn.fit(1, 1e-2)
        return [float(v) for v in learn.recorder.values[0]]

    assert losses(0) == losses(2)


@pytest.mark.parametrize("level", [0, 1])
def test_image_and_mask_show_the_same_place(folder: Path, level: int) -> None:
    """Coordinate-coded, through fastai's whole pipeline, at two levels, training and validation."""
    dls = loaders(folder, RandomPatch(24, per_slide=60, foreground=0.7, level=level, seed=1))
    seen = 0
    for dl in dls.loaders:
        for x, y in dl:
            assert type(x) is TensorImage and type(y) is TensorMask and y.dtype == torch.int64
            for image, mask in zip(pixels(x), y.cpu().numpy(), strict=True):
                assert (mask == mask_at(*places(image))).all()
                seen += 1
    assert seen > 180


def test_the_validation_grid_covers_its_slide_and_only_that(folder: Path) -> None:
    """Every pixel of the validation slide once or more, none of the others; the same windows in each pass."""
    dls = loaders(folder, RandomPatch(48, overlap=5, per_slide=3))
    assert [slide.name for slide in dls.train.slides] == ["s0.tiff", "s1.tiff", "s2.tiff"]
    assert [slide.name for slide in dls.valid.slides] == ["s3.tiff"]
    seen = np.zeros((256, 256), int)
    for x, _ in dls.valid:
        for image in pixels(x):
            x0, y0 = places(image)
            seen[y0, x0] += 1
    assert (seen > 0).all()
    first, second = passes(dls.valid, 2)
    assert first == second
    assert passes(loaders(folder, RandomPatch(48, per_slide=3, valid="random")).valid, 2)[0] != first


def test_partial_passes_do_not_move_the_epoch(dls: DataLoaders) -> None:
    """one_batch and show_batch look at the coming epoch; complete passes count."""
    x, _ = dls.train.one_batch()
    dls.train.show_batch(max_n=2)
    assert torch.equal(dls.train.one_batch()[0], x) and dls.train.epoch == 0
    passes(dls.train)
    assert dls.train.epoch == 1 and not torch.equal(dls.train.one_batch()[0], x)
    other = dls.train.new(bs=2)
    assert other.epoch == 1 and other.plan is dls.train.plan


def test_an_epoch_can_be_gone_back_to(folder: Path) -> None:
    """A new process that sets the epoch goes on where the old one stopped."""
    third = passes(loaders(folder).train, 3)[2]
    dls = loaders(folder)
    dls.train.epoch = 2
    assert passes(dls.train) == [third]


def test_item_transforms_see_pixels(folder: Path) -> None:
    """Also those of order 0, to which a lazy handle would mean nothing."""

    class Count(Transform):
        order = 0

        def encodes(self, x: PILImage):
            seen.append(x.size)
            return x

    seen: list[tuple[int, int]] = []
    loaders(folder, RandomPatch((16, 24)), item_tfms=[Count], bs=2).train.do_item(0)
    assert set(seen) == {(24, 16)}


def test_loss_and_classes_come_with_the_block(dls: DataLoaders) -> None:
    """Learner needs no loss_func, and vocab is the codes."""
    assert dls.vocab == CODES and dls.c == 5
    assert dls.train_ds.loss_func.axis == 1


def test_the_void_is_left_out_of_the_loss(folder: Path) -> None:
    """ignore_index of the default loss."""
    block = SlideMaskBlock(CODES[:4], ignore_index=4)
    dls = DataBlock(
        (SlideBlock, block), get_items=images_of, get_y=mask_of, splitter=IndexSplitter([3]), item_tfms=RandomPatch(32)
    ).dataloaders(folder, bs=2, num_workers=0)
    _, y = dls.train.one_batch()
    learn = Learner(dls, Places())
    assert (y == 4).any()
    logits = torch.zeros(2, 4, 32, 32)
    logits[:, 0] = 3
    kept = y != 4
    expected = torch.nn.functional.cross_entropy(logits.permute(0, 2, 3, 1)[kept], y.as_subclass(torch.Tensor)[kept])
    assert float(learn.loss_func(logits, y)) == pytest.approx(float(expected))


def test_missing_masks_are_listed_all_at_once(folder: Path) -> None:
    """Before anything is read."""

    def elsewhere(path: Path) -> Path:
        return path if path.name == "s1.tiff" else path.with_name("no_" + path.name)

    with pytest.raises(MissingError, match=r"2 masks do not exist: .*no_s0.tiff, .*no_s2.tiff"):
        DataBlock(
            (SlideBlock, SlideMaskBlock(CODES)), get_items=images_of, get_y=elsewhere, splitter=IndexSplitter([3]),
            item_tfms=RandomPatch(32),
        ).dataloaders(folder)  # fmt: skip


def test_bad_labels_are_found_before_training(folder: Path, tmp_path: Path) -> None:
    """Slide, class, position; on validation slides too."""
    with pytest.raises(LabelError, match=r"s0.tiff: the mask holds class 4 at x=\d+ y=\d+ .*codes name 0 to 3"):
        loaders(folder, codes=CODES[:4])
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
        for path in sorted((folder / kind).iterdir()):
            (tmp_path / kind / path.name).symlink_to(path)
    bad = np.zeros((256, 256), np.uint8)
    bad[200, 100] = 9
    (tmp_path / "masks" / "s3.tiff").unlink()
    write_pyramid(tmp_path / "masks" / "s3.tiff", [bad])
    with pytest.raises(LabelError, match="s3.tiff: the mask holds class 9 at x=100 y=200"):
        loaders(tmp_path)


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"random_patch": RandomPatch(300)}, WindowError, "s0.tiff: a window of 300 x 300 px does not fit"),
        ({"n": 5}, OptionError, "n=5: the number of patches .* follows from per_slide"),
        (
            {"random_patch": RandomPatch(32), "bs": 8},
            OptionError,
            "an epoch has 3 patches, fewer than the batch size 8",
        ),
    ],
)
def test_wrong_use_is_one_clear_error(folder: Path, change: dict, error: type, text: str) -> None:
    """What, the value, the limit, the cure."""
    with pytest.raises(error, match=text):
        loaders(folder, **change)


def test_a_slide_block_needs_a_random_patch(folder: Path) -> None:
    """Otherwise fastai would fail deep inside its collation."""
    block = DataBlock((SlideBlock, SlideMaskBlock(CODES)), get_items=images_of, get_y=mask_of)
    with pytest.raises(OptionError, match=r"exactly one RandomPatch in item_tfms, got 0"):
        block.dataloaders(folder)


def test_codes_must_be_a_list() -> None:
    """A text would become one class for each letter."""
    with pytest.raises(OptionError, match="list of class names"):
        SlideMaskBlock("nucleus")


def test_another_loader_is_refused(folder: Path) -> None:
    """A plain TfmdDL would show one window of each slide for ever."""
    from fastai.vision.all import TfmdDL

    block = DataBlock(
        (SlideBlock, SlideMaskBlock(CODES)),
        get_items=images_of,
        get_y=mask_of,
        item_tfms=RandomPatch(32),
        dl_type=TfmdDL,
    )
    with pytest.raises(OptionError, match="RandomPatch needs PatchDL to draw windows, and its loader is a TfmdDL"):
        block.dataloaders(folder)
