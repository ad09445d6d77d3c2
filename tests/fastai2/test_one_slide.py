"""One slide is enough: training and validation parts of a slide, without a leak between them."""

import json
from pathlib import Path

import albumentations as A
import numpy as np
import pytest
import tifffile
import torch
from fastai.vision.all import Learner, aug_transforms, nn
from typer.testing import CliRunner

from patchaug import Augment, OptionError, PatchOptions, WindowError, open_slide, split_region
from patchaug.core.windows import Window
from patchaug.fastai import SlideDataLoaders, SlideItemList
from patchaug.fastai2.losses import SlideCrossEntropy
from patchaug.predict.metrics import dice_by_class

CODES = ["ground", "nucleus"]


def scene(noise: bool) -> tuple[np.ndarray, np.ndarray, Window]:
    """An image, its labels and its validation part, which may hold noise in both."""
    rng = np.random.default_rng(4)
    image = rng.integers(0, 256, (96, 128, 3), np.uint8)
    labels = (image[..., 0] > 180).astype(np.uint8)
    held = split_region(open_slide(image, labels, name="one", codes=CODES), 0.3, seed=7)[1].frame
    assert held is not None
    if noise:
        there = slice(held.y, held.bottom), slice(held.x, held.right)
        other = np.random.default_rng(5)
        image[there], labels[there] = (
            other.integers(0, 256, image[there].shape),
            other.integers(0, 2, labels[there].shape),
        )
    return image, labels, held


def trained(noise: bool, way: str, **options: object) -> list[torch.Tensor]:
    """Weights of a tiny model after two epochs on the training part."""
    image, labels, held = scene(noise)
    made = PatchOptions(16, **({"per_slide": 12} | options))
    batch_tfms = None
    augment = Augment(A.Compose([A.Rotate(30, p=1.0), A.RandomScale(0.3, p=0.5)])) if way == "augment" else None
    if way == "batch":
        batch_tfms = aug_transforms(max_rotate=20)
    if way == "items":
        data = SlideItemList.from_arrays([image], names=["one"], patch=made).split_by_region(0.3, seed=7)
        dls = data.label_from_func(lambda _: labels, classes=CODES).databunch(bs=4, num_workers=0)
    else:
        from patchaug.fastai import RandomPatch

        dls = SlideDataLoaders.from_regions(
            [(open_slide(image, labels, name="one", codes=CODES, ignore_index=255),) * 2], 0.3, seed=7, codes=CODES,
            ignore_index=255, item_tfms=RandomPatch.from_options(made, augment=augment), batch_tfms=batch_tfms, bs=4,
            num_workers=0,
        )  # fmt: skip
        assert dls.valid.slides[0].frame == held
        if way == "whole":  # what the test must see
            dls.train.slides[0].frame = None
            dls.train.plan._distributions = dls.train.plan._make_distributions()
    torch.manual_seed(0)
    learn = Learner(
        dls, nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 1)), SlideCrossEntropy(255)
    )
    with learn.no_bar(), learn.no_logging():
        learn.fit(2, 0.01)
    return [value.detach().clone() for value in learn.model.parameters()]


@pytest.mark.parametrize(
    ("way", "options"),
    [
        ("plain", {"foreground": 0.5, "inside": 0.3}),
        ("augment", {"foreground": 0.5, "min_fraction": 0.05}),
        ("augment", {"edge": "reflect"}),
        ("batch", {"halo": 8, "per_slide": "foreground", "windows": 12, "foreground": 0.5}),
        ("items", {"foreground": 0.5}),
        ("whole", {"foreground": 0.5}),
    ],
)
def test_noise_in_the_validation_part_changes_no_weight(way: str, options: dict) -> None:
    """Bit for bit, whatever is drawn, transformed and counted; who trains on all of the slide sees the noise."""
    clean, noisy = (trained(noise, way, **options) for noise in (False, True))
    assert all(torch.equal(a, b) for a, b in zip(clean, noisy, strict=True)) is (way != "whole")


def test_validation_sees_its_part_whole() -> None:
    """The grid covers it, each pixel, and nothing else."""
    image, labels, held = scene(False)
    dls = SlideDataLoaders.from_regions(
        [(image, labels)], 0.3, codes=CODES, options=PatchOptions(16, per_slide=4), bs=4, num_workers=0
    )
    frame = dls.valid.slides[0].frame
    covered = np.zeros(labels.shape, bool)
    for draw in dls.valid.plan:
        one = draw.window
        covered[one.y : one.bottom, one.x : one.right] = True
    assert covered.sum() == frame.width * frame.height == covered[frame.y : frame.bottom, frame.x : frame.right].sum()
    for slide in (dls.train.slides[0], dls.valid.slides[0]):
        left, top, right, bottom = slide.bounds(0)
        truth = labels.copy()
        truth[~np.pad(np.ones((bottom - top, right - left), bool), ((top, 96 - bottom), (left, 128 - right)))] ^= 1
        assert dice_by_class([slide], [truth], levels=[0]) == {"ground": 1.0, "nucleus": 1.0}
        assert dice_by_class([slide], [truth[top:bottom, left:right]], levels=[0]) == {"ground": 1.0, "nucleus": 1.0}


def test_parts_that_fit_no_window_are_an_error() -> None:
    """It names the part."""
    image, labels, _ = scene(False)
    with pytest.raises(WindowError, match="does not fit into the part of .* px of level 0 that is read"):
        SlideDataLoaders.from_regions(
            [(image, labels)], 0.1, codes=CODES, options=PatchOptions(32, per_slide=4), bs=4, num_workers=0
        )
    with pytest.raises(OptionError, match="train must hold at least one"):
        SlideDataLoaders.from_regions([], codes=CODES, options=PatchOptions(32))


@pytest.mark.parametrize("region", ["tissue", "function", "polygons"])
def test_regions_of_loaders(region: str, tmp_path: Path) -> None:
    """The same for all slides, or by a function of the path; windows lie inside."""
    image = np.full((80, 100, 3), 240, np.uint8)
    image[10:70, 20:90] = (200, 60, 140)
    labels = (image[..., 1] == 60).astype(np.uint8)
    files = [tmp_path / f"{name}.tiff" for name in ("a", "b")]
    for file in files:
        tifffile.imwrite(file, image)
    given: object = "tissue"
    if region == "function":
        given = lambda path: labels if path.name == "a.tiff" else Window(30, 20, 40, 40)  # noqa: E731
    if region == "polygons":
        ring = [[20, 10], [90, 10], [90, 70], [20, 70], [20, 10]]
        given = tmp_path / "where.geojson"
        given.write_text(
            json.dumps({"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": [ring]}})
        )
    dls = SlideDataLoaders.from_label_func(
        tmp_path, files, lambda _: labels, valid_pct=0.5, seed=1, codes=CODES, region=given,
        options=PatchOptions(16, per_slide=20, valid="random"), bs=4, num_workers=0,
    )  # fmt: skip
    for loader in dls.loaders:
        assert all(labels[d.window.y : d.window.bottom, d.window.x : d.window.right].all() for d in loader.plan)
        _, masks = loader.one_batch()
        assert (masks == 1).all()


def test_train_takes_one_slide(tmp_path: Path) -> None:
    """`--split-region` and `--region`: parts of the one slide, the same for the loaders and for `show --index`."""
    from patchaug.cli import app
    from patchaug.cli.learner import make_loaders
    from patchaug.cli.split_pairs import pairs_of
    from patchaug.options.fields import TrainOptions

    image, labels, held = scene(False)
    for name, pixels in (("images", image), ("masks", labels), ("regions", np.ones_like(labels))):
        (tmp_path / name).mkdir()
        tifffile.imwrite(tmp_path / name / "one.tiff", pixels)
    made: dict = {"images": str(tmp_path / "images"), "masks": str(tmp_path / "masks"), "codes": CODES, "per_slide": 6}
    options = TrainOptions(
        16, **made, split_region=0.3, seed=7, bs=2, workers=0, region=str(tmp_path / "regions"), augment="none", guard=3
    )
    pairs = pairs_of(options)
    assert pairs[0] == pairs[1] and len(pairs[0]) == 1
    dls = make_loaders(*pairs, options, tmp_path)
    train, valid = (loader.slides[0] for loader in dls.loaders)
    assert {train.region is not None, valid.region is not None} == {True}
    assert (train.frame, valid.frame) == tuple(
        part.frame for part in split_region(open_slide(image, labels, name="one.tiff"), 0.3, guard=3, seed=7)
    )
    picture = tmp_path / "sample.png"
    options.save(tmp_path / "options.json")
    arguments = ["show", "--options", str(tmp_path / "options.json"), "--index", "2", "--out", str(picture), "--json"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    window = json.loads(done.stdout)["window"]
    assert Window(**window) == dls.train.plan[2].window
    for more in ({"folds": 2}, {"valid_slides": ["one*"]}):
        with pytest.raises(OptionError, match="split_region cuts each slide in two parts"):
            TrainOptions(16, **made, split_region=0.3, **more)
