"""Everything that a fastai 1 user does with a Learner on slides, each looked at by its values."""

import os
import subprocess
import sys
import zipfile
from functools import partial
from hashlib import sha256
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from fastai.basic_data import DatasetType
from fastai.basic_train import Learner, load_learner
from fastai.layers import conv_layer
from fastai.train import ClassificationInterpretation
from fastai.vision import Image, get_transforms, imagenet_stats, unet_learner
from fastai.vision.interpret import SegmentationInterpretation

import patchaug
from patchaug import OptionError, PatchOptions, ReadError, Window, open_slide
from patchaug.fastai import SlideInterpretation, SlideItemList
from patchaug.testing import coordinate_image, coordinate_mask
from tests.torn import Torn

from .conftest import CODES, Places, bunch, mask_of


def drawn(call) -> list:
    """The axes with pictures that a call of fastai's leaves behind."""
    plt.close("all")
    call()
    return [axes for number in plt.get_fignums() for axes in plt.figure(number).axes if axes.images]


def shown(axes, which: int) -> np.ndarray:
    """Pixels of a picture on some axes."""
    return np.asarray(axes.images[which].get_array())


def test_show_batch_shows_image_and_mask(learn: Learner) -> None:
    """The picture, and above it the mask, except for the background."""
    x, y = learn.data.one_batch()
    axes = drawn(lambda: learn.data.show_batch(rows=2))
    assert len(axes) == 4
    for number, ax in enumerate(axes):
        assert np.allclose(shown(ax, 0), x[number].permute(1, 2, 0), atol=1e-2)
        assert (shown(ax, 1).squeeze() == y[number, 0].numpy()).all()
        assert (np.ma.getmaskarray(ax.images[1].get_array()).squeeze() == (y[number, 0].numpy() == 0)).all()
        assert ax.images[1].get_clim() == (0, 19)  # a class has one colour in all pictures


def test_show_results_shows_truth_and_prediction(learn: Learner) -> None:
    """A model that knows predicts the masks."""
    axes = drawn(lambda: learn.show_results(rows=2))
    assert len(axes) == 4
    for truth, guess in (axes[:2], axes[2:]):
        assert np.array_equal(shown(truth, 1), shown(guess, 1))


def test_lr_find_and_fit_one_cycle_learn(folder: Path, tmp_path: Path) -> None:
    """The finder leaves the weights, one cycle lowers the loss, and epochs are counted."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.InstanceNorm2d(3), torch.nn.Conv2d(3, 5, 1))
    learn = Learner(bunch(folder), model, path=tmp_path)
    before = [p.clone() for p in model.parameters()]
    learn.lr_find(num_it=5)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert learn.data.epoch == 0
    learn.fit_one_cycle(3, 1e-2)
    assert learn.data.epoch == 3
    assert learn.recorder.val_losses[-1] < learn.recorder.val_losses[0]


def test_get_preds_and_validate_see_each_window(learn: Learner) -> None:
    """Prediction and target k belong to window k of the validation grid."""
    probabilities, targets = learn.get_preds(DatasetType.Valid)
    plan = learn.data.valid_ds.x.plan
    assert len(probabilities) == len(targets) == len(plan) == 64
    for k in range(64):
        mask = plan.read(plan[k]).mask
        assert (targets[k, 0].numpy() == mask).all() and (probabilities[k].argmax(dim=0).numpy() == mask).all()
    assert float(learn.validate()[0]) < 0.01


def test_predict_takes_a_patch_and_names_predict_slide_for_a_slide(learn: Learner, folder: Path) -> None:
    """One Image, one mask; a slide is refused."""
    pixels = coordinate_image(32, 32)
    mask, classes, scores = learn.predict(Image(torch.from_numpy(pixels.transpose(2, 0, 1) / np.float32(255))))
    assert (mask.data[0].numpy() == coordinate_mask(32, 32)).all() and tuple(scores.shape) == (5, 32, 32)
    assert tuple(classes.shape) == (1, 32, 32)
    for slide in (folder / "images" / "s0.tiff", pixels, open_slide(pixels)):
        with pytest.raises(OptionError, match=r"needs one patch, .*; take learn.predict_slide\(slide\)"):
            learn.predict(slide)


def test_predict_slide_is_the_whole_slide(learn: Learner, folder: Path, tmp_path: Path) -> None:
    """Every pixel, also where windows overlap or do not divide the slide; into a memory map; whatever valid says."""
    path, expected = folder / "images" / "s0.tiff", coordinate_mask(256, 256)
    out = np.memmap(tmp_path / "map", np.uint8, "w+", shape=(256, 256))
    assert learn.predict_slide(path, out=out) is out and (out == expected).all()
    odd = Learner(bunch(folder, PatchOptions((40, 56), overlap=7, valid="random", per_slide=4)), Places())
    assert (odd.predict_slide(open_slide(path, mask_of(path))) == expected).all()
    assert (odd.predict_slide(coordinate_image(100, 90)) == coordinate_mask(100, 90)).all()


def test_predict_slides_writes_files_and_goes_on(learn: Learner, folder: Path, tmp_path: Path, monkeypatch) -> None:
    """The map as OME-TIFF is that of the slide; a prediction that ends in the middle goes on, with the same bytes."""
    from patchaug.predict.accumulate import Piece
    from patchaug.predict.journal import BandJournal

    path, out = folder / "images" / "s0.tiff", tmp_path / "maps"
    learn.predict_slides([path], out, formats=["ome.tif", "areas.csv"])
    slide = open_slide(path, out / "s0.ome.tif", codes=list("abcde"))
    assert np.array_equal(slide.read_mask(Window(0, 0, 256, 256)), coordinate_mask(256, 256))
    add = BandJournal.add

    def two(journal: BandJournal, piece: Piece) -> int | None:
        if piece.number == 2:
            raise KeyboardInterrupt
        return add(journal, piece)

    with monkeypatch.context() as patch:
        patch.setattr(BandJournal, "add", two)
        with pytest.raises(KeyboardInterrupt):
            learn.predict_slides([path], tmp_path / "again", formats=["ome.tif", "areas.csv"])
    assert not (tmp_path / "again" / "s0.areas.csv").exists()
    learn.predict_slides([path], tmp_path / "again", formats=["ome.tif", "areas.csv"], resume=True)
    for name in ("s0.ome.tif", "s0.areas.csv"):
        assert (tmp_path / "again" / name).read_bytes() == (out / name).read_bytes()


def test_predict_slide_puts_no_window_in_the_place_of_another(folder: Path) -> None:
    """Also where training goes on after errors."""
    learn = Learner(bunch(folder, PatchOptions(32, per_slide=4, on_error="resample")), Places())
    with pytest.raises(ReadError, match="torn"):
        learn.predict_slide(open_slide(Torn([coordinate_image(256, 256)])))


def test_predict_slide_is_a_direct_argmax_of_normalized_windows(folder: Path) -> None:
    """Where windows do not overlap, the model's argmax on each."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.InstanceNorm2d(3), torch.nn.Conv2d(3, 5, 3, padding=1))
    data = bunch(folder, PatchOptions(64, per_slide=4))
    data.normalize(imagenet_stats)
    learn = Learner(data, model)
    slide = open_slide(folder / "images" / "s1.tiff")
    classes = learn.predict_slide(slide)
    assert len(np.unique(classes)) > 1
    mean, std = (torch.tensor(one)[None, :, None, None] for one in imagenet_stats)
    for x in range(0, 256, 64):
        pixels = torch.from_numpy(slide.read(Window(x, 64, 64, 64)).image.transpose(2, 0, 1)[None] / np.float32(255))
        expected = model.eval()((pixels - mean) / std).argmax(dim=1)[0].numpy()
        assert (classes[64:128, x : x + 64] == expected).all()


def test_learners_on_other_data_have_no_slides() -> None:
    """One clear line."""
    from fastai.basic_data import DataBunch

    pairs = [(torch.zeros(1), torch.zeros(1))] * 4
    learn = Learner(DataBunch.create(pairs, pairs, bs=2, num_workers=0), torch.nn.Linear(1, 1))
    with pytest.raises(OptionError, match="predict_slide needs a learner trained on slides"):
        learn.predict_slide(np.zeros((9, 9, 3), np.uint8))


def test_interpretation_finds_the_worst_windows(learn: Learner) -> None:
    """It names slides and windows, and draws single classes."""
    interp = SlideInterpretation.from_learner(learn)
    per_pixel = interp.losses.view(64, -1)
    per_pixel[5] = 99.0
    losses, idx = interp.top_losses((32, 32), k=3)
    assert int(idx[0]) == 5 and float(losses[0]) == 99
    mean, single = interp._generate_confusion()
    assert np.allclose(mean, np.eye(5)) and single.shape == (64, 5, 5)
    assert len(drawn(lambda: interp.show_xyz(5))) >= 4
    assert interp.top_losses((32, 32), k=1, items=True)[2] == [learn.data.valid_ds.x.plan[5]]
    axes = drawn(lambda: interp.show_xyz(5, classes=["b", "d"]))
    values = shown(axes[1], 0)
    assert set(np.unique(values[~np.isnan(values)])) == {1.0, 3.0}


@pytest.mark.parametrize("options", [{}, {"halo": 8}], ids=["plain", "halo"])
def test_interpretation_of_training_slides_is_of_one_epoch(folder: Path, tmp_path: Path, options: dict) -> None:
    """Losses, draws, targets and pictures of the same windows, after two epochs too; the run stays where it is."""
    patch = PatchOptions(32, per_slide=7, seed=7, **options)
    learn = Learner(bunch(folder, patch, tfms=get_transforms()), Places(), path=tmp_path)
    for epoch in range(2):
        interp = SlideInterpretation.from_learner(learn, DatasetType.Train)
        losses, idx, draws = interp.top_losses((32, 32), items=True)
        assert learn.data.epoch == epoch and len(losses) == 21
        plan = learn.data.train_ds.x.plan
        assert {(d.slide, d.window) for d in draws} == {
            (d.slide, d.window) for d in (plan[21 * epoch + i] for i in range(21))
        }
        for number, draw in zip(idx.tolist(), draws, strict=True):
            patch = plan.slides[draw.slide].read(draw.window)
            assert (interp.y_true[number, 0].numpy() == patch.mask).all()
            assert (interp.pred_class[number].numpy() == patch.mask).all()
        axes = drawn(partial(interp.show_xyz, int(idx[0])))
        picture = plan.slides[draws[0].slide].read(draws[0].window).image
        assert np.allclose(shown(axes[0], 0) * 255, picture, atol=0.5)
        learn.fit(1)


def test_losses_of_windows_are_of_the_pixels_that_count(folder: Path, tmp_path: Path) -> None:
    """A window with few labels is not called easy."""
    learn = Learner(bunch(folder, ignore_index=4), torch.nn.Conv2d(3, 4, 1), path=tmp_path)
    interp = SlideInterpretation.from_learner(learn)
    losses, idx = interp.top_losses((32, 32))
    pixels = interp.losses.view(64, -1)
    for loss, number in zip(losses.tolist(), idx.tolist(), strict=True):
        counts = interp.y_true[number, 0].T.flatten() != 4  # fastai's flattened losses go down the columns
        assert loss == pytest.approx(float(pixels[number][counts].mean()), rel=1e-4)


def test_fastais_interpretations_name_ours(learn: Learner) -> None:
    """Theirs shows validation windows with the losses of training windows."""
    for kind in (SegmentationInterpretation, ClassificationInterpretation):
        with pytest.raises(OptionError, match=r"use SlideInterpretation.from_learner\(learn\)"):
            kind.from_learner(learn)
    with pytest.raises(OptionError, match="SegmentationInterpretation shows other windows"):
        SegmentationInterpretation(learn, *(torch.zeros(1, 5, 2, 2),) * 3)


def small(pretrained: bool = False) -> torch.nn.Sequential:
    """An encoder of three stages, for quick tests."""
    stages = [conv_layer(3, 8, stride=2), conv_layer(8, 16, stride=2), conv_layer(16, 32, stride=2)]
    return torch.nn.Sequential(*stages, torch.nn.AdaptiveAvgPool2d(1))


LOAD = """
import sys, warnings
warnings.simplefilter("ignore")
from hashlib import sha256
from fastai.vision import load_learner, DatasetType
from patchaug.fastai import *
for file in sys.argv[2:]:
    learn = load_learner("/", file, test=SlideItemList.from_lists([sys.argv[1]]), num_workers=0)
    print(sha256(learn.predict_slide(sys.argv[1]).tobytes()).hexdigest())
    print(len(learn.data.test_ds), learn.data.classes)
"""


def test_an_exported_unet_predicts_the_same_elsewhere(folder: Path, tmp_path: Path) -> None:
    """A fresh process: options, classes and statistics come along; slides, activations and places do not."""
    paths = [folder / "images" / f"s{n}.tiff" for n in (0, 1, 3)]
    masks = [mask_of(path) for path in paths]
    arrays = [[open_slide(p).read(Window(0, 0, 256, 256)).image for p in paths]]
    arrays.append([coordinate_mask(256, 256)] * 3)
    files, digests = [], []
    for number, (images, labels) in enumerate(((paths, masks), arrays)):
        data = (
            SlideItemList.from_lists(images, patch=PatchOptions(64, per_slide=4), path=tmp_path)
            .split_by_idx([2])
            .label_from_lists(labels[:2], labels[2:], classes=CODES)
            .transform(get_transforms(), tfm_y=True)
            .databunch(bs=4, num_workers=0)
        )
        data.normalize(imagenet_stats)
        learn = unet_learner(data, small, pretrained=False)
        learn.fit(1, 1e-3)
        learn.export(f"model{number}.pkl")
        digests += [sha256(learn.predict_slide(paths[1]).tobytes()).hexdigest(), "16", *str(CODES).split()]
        files.append(tmp_path / f"model{number}.pkl")
        weights = sum(t.numel() * t.element_size() for t in learn.model.state_dict().values())
        assert files[-1].stat().st_size < weights + 300_000
        with zipfile.ZipFile(files[-1]) as archive:
            held = b"".join(archive.read(name) for name in archive.namelist())
        for place in {str(folder), str(tmp_path), str(Path(__file__).parent), str(Path.cwd()), str(Path.home())}:
            assert place == "/" or place.encode() not in held
        assert not any(arrays[0][0][row, :16].tobytes() in held for row in range(256))
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(paths[1]), *map(str, files)], capture_output=True, text=True, check=False,
        cwd="/", env={**os.environ, "PYTHONPATH": str(Path(patchaug.__file__).parents[1])},
    )  # fmt: skip
    assert done.stdout.split() == digests, done.stderr


def test_a_test_set_is_a_grid_in_order(learn: Learner, folder: Path, tmp_path: Path) -> None:
    """add_test, and load_learner with a list of slides; their predictions are their masks."""
    learn.data.add_test([folder / "images" / "s1.tiff"])
    probabilities, _ = learn.get_preds(DatasetType.Test)
    plan = learn.data.test_ds.x.plan
    assert [draw.window for draw in plan] == [
        Window(x, y, 32, 32) for y in range(0, 256, 32) for x in range(0, 256, 32)
    ]
    assert (probabilities[9].argmax(dim=0).numpy() == coordinate_mask(256, 256)[32:64, 32:64]).all()
    learn.export()
    again = load_learner(tmp_path, test=SlideItemList.from_arrays([coordinate_image(64, 64)]), num_workers=0)
    probabilities, _ = again.get_preds(DatasetType.Test)
    assert len(probabilities) == 4
    assert (probabilities[3].argmax(dim=0).numpy() == coordinate_mask(64, 64)[32:, 32:]).all()
