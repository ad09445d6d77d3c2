"""Probabilities, symmetries, ensembles, regions and resolutions of predict_slide, with learners of fastai 2."""

from pathlib import Path

import numpy as np
import pytest
import torch
from fastai.vision.all import Callback, Learner, Normalize, nn

from patchaug import Grid, OptionError, Plan, Window, WindowError, WriteError, open_slide
from patchaug.fastai import RandomPatch, SlideDataLoaders, predict_slide
from patchaug.testing import coordinate_image, coordinate_mask

from .conftest import CODES, Places, images_of, loaders

SLIDE = coordinate_image(150, 110)
STATS = ([0.4, 0.5, 0.6], [0.2, 0.3, 0.4])


def convolution(seed: int, classes: int = 5) -> nn.Module:
    """A model of a small field of view."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, classes, 3, padding=1))


def learner(folder: Path, seed: int, overlap: int = 6, *, classes: int = 5, **kwargs) -> Learner:
    """A learner with normalized images and windows that overlap."""
    stats = kwargs.pop("stats", STATS)
    dls = loaders(
        folder, RandomPatch(32, overlap=overlap, per_slide=4), bs=3,
        batch_tfms=Normalize.from_stats(*stats, cuda=False), **kwargs,
    )  # fmt: skip
    return Learner(dls, convolution(seed, classes))


def windows(slide, overlap: int):
    """Windows of 32 px and their pixels in 0..1."""
    for draw in Plan([slide], Grid(32, overlap=overlap), shuffle=False):
        pixels = slide.read(draw.window).image.transpose(2, 0, 1)[None] / np.float32(255)
        yield draw.window, torch.from_numpy(pixels)


def normalized(pixels: torch.Tensor, stats=STATS) -> torch.Tensor:
    """What fastai's Normalize gives."""
    mean, std = (torch.tensor(one)[None, :, None, None] for one in stats)
    return (pixels - mean) / std


def stitched(classes, windows_, height: int, width: int) -> np.ndarray:
    """The map of version 0.1: overlaps cut at (a + size + b) // 2, along rows and columns."""
    out = np.zeros((height, width), np.uint8)
    across, down = (sorted({getattr(w, name) for w in windows_}) for name in "xy")

    def cuts(starts: list[int], length: int) -> list[int]:
        return [0, *((a + 32 + b) // 2 for a, b in zip(starts, starts[1:], strict=False)), length]

    left, top = cuts(across, width), cuts(down, height)
    for part, w in zip(classes, windows_, strict=True):
        i, j = down.index(w.y), across.index(w.x)
        rows, columns = slice(top[i], top[i + 1]), slice(left[j], left[j + 1])
        out[rows, columns] = part[rows.start - w.y : rows.stop - w.y, columns.start - w.x : columns.stop - w.x]
    return out


def test_without_arguments_it_is_the_map_of_before(folder: Path) -> None:
    """Bit for bit: batches across rows, the argmax of the scores of each window, overlaps cut in half."""
    learn, slide = learner(folder, 1), open_slide(SLIDE)
    model, found = learn.model.eval(), list(windows(slide, 6))
    classes = []
    for at in range(0, len(found), 3):
        with torch.no_grad():
            classes += list(model(normalized(torch.cat([p for _, p in found[at : at + 3]]))).argmax(dim=1).numpy())
    expected = stitched(classes, [w for w, _ in found], 110, 150)
    assert (learn.predict_slide(slide) == expected).all() and len(np.unique(expected)) > 1
    assert (learn.predict_slide(slide, workers=2, batch_size=3) == expected).all()


def test_probabilities_of_every_kind(folder: Path, tmp_path: Path) -> None:
    """They sum to 1, agree with the classes, and come the same into arrays, memory maps and zarr."""
    learn, slide = learner(folder, 1), open_slide(SLIDE)
    wanted = {"overlap": 0.25, "tta": "d4"}
    found = learn.predict_slide(slide, what="probabilities", **wanted)
    assert found.shape == (5, 110, 150) and found.dtype == np.float32 and np.abs(found.sum(0) - 1).max() < 1e-5
    classes = learn.predict_slide(slide, **wanted)
    assert classes.dtype == np.uint8 and (classes == found.argmax(0)).all()
    out = np.memmap(tmp_path / "map", np.float16, "w+", shape=found.shape)
    assert learn.predict_slide(slide, what="probabilities", out=out, **wanted) is out
    assert np.abs(out - found).max() < 1e-3
    import zarr

    path = learn.predict_slide(slide, what="probabilities", out=tmp_path / "p.zarr", **wanted)
    array = zarr.open(str(path))
    assert (array[:] == found).all() and array.attrs["patchaug"]["codes"] == CODES
    assert path == tmp_path / "p.zarr" and sorted(p.name for p in tmp_path.iterdir()) == ["map", "p.zarr"]
    learn.predict_slide(slide, out=str(tmp_path / "c.zarr"), **wanted)
    assert (open_slide(SLIDE, tmp_path / "c.zarr").read(Window(0, 0, 150, 110)).mask == classes).all()
    spread = learn.predict_slide(slide, what="spread", **wanted)
    assert spread.shape == found.shape and 0 < spread.max() < 0.5
    assert not learn.predict_slide(slide, what="spread").any()  # one answer has none
    with pytest.raises(WriteError, match=r"c.zarr is an existing folder; choose another name"):
        learn.predict_slide(slide, out=tmp_path / "c.zarr")


def test_an_ensemble_reads_once_and_each_has_its_own_transforms(folder: Path) -> None:
    """The mean of both, whose normalizations differ."""
    slide = open_slide(SLIDE)
    learns = [learner(folder, 1), learner(folder, 2, stats=([0.1] * 3, [0.5] * 3))]
    alone = [learn.predict_slide(slide, what="probabilities") for learn in learns]
    assert np.abs(alone[0] - alone[1]).max() > 0.1
    both = predict_slide(learns, slide, what="probabilities")
    assert np.abs(both - np.mean(alone, axis=0)).max() < 1e-6
    spread = predict_slide(learns, slide, what="spread", blend="crop")
    cropped = [learn.predict_slide(slide, what="probabilities", blend="crop") for learn in learns]
    assert np.abs(spread - np.std(cropped, axis=0)).max() < 1e-6
    assert (predict_slide(learns, slide) == both.argmax(0)).all()
    with pytest.raises(OptionError, match=r"size of learner 2 is 48, that of learner 1 is 32; predict with each"):
        predict_slide([learns[0], Learner(loaders(folder, RandomPatch(48, per_slide=4)), convolution(1))], slide)
    with pytest.raises(OptionError, match="the list of learners is empty"):
        predict_slide([], slide)


def test_symmetries_go_through_callbacks(folder: Path) -> None:
    """Each batch eight times, and the mean is that by hand."""
    seen = []

    class Looks(Callback):
        def before_batch(self) -> None:
            seen.append(tuple(self.xb[0].shape))

    learn, slide = learner(folder, 3, overlap=0), open_slide(SLIDE[:64, :64])
    learn.add_cb(Looks())
    found = learn.predict_slide(slide, what="probabilities", tta="d4", batch_size=2)
    assert seen == [(2, 3, 32, 32)] * 16
    model = learn.model.eval()
    for w, pixels in windows(slide, 0):
        mean = torch.zeros(5, 32, 32)
        for turns in range(4):
            for flip in (False, True):
                there = torch.rot90(normalized(pixels), turns, (2, 3))
                there = there.flip(3) if flip else there
                with torch.no_grad():
                    answer = model(there).softmax(1)
                answer = answer.flip(3) if flip else answer
                mean += torch.rot90(answer, -turns, (2, 3))[0] / 8
        assert np.abs(found[:, w.y : w.bottom, w.x : w.right] - mean.numpy()).max() < 1e-5


@pytest.mark.parametrize("codes", [["background", "nucleus"], ["nucleus"]])
def test_one_channel_is_two_classes(folder: Path, codes: list) -> None:
    """1 - p and p."""
    image = SLIDE[:64, :96]
    mask = np.zeros(image.shape[:2], np.uint8)
    dls = SlideDataLoaders.from_lists(
        [(image, mask)],
        [(image.copy(), mask)],
        codes=codes,
        item_tfms=RandomPatch(32, per_slide=2),
        bs=2,
        num_workers=0,
    )
    learn = Learner(dls, convolution(4, 1), loss_func=nn.BCEWithLogitsLoss())
    both = learn.predict_slide(image, what="probabilities")
    assert both.shape == (2, 64, 96) and np.abs(both.sum(0) - 1).max() < 1e-6 and both[1].std() > 0
    assert ((both[1] > 0.5) == learn.predict_slide(image)).all()


def test_regions(folder: Path) -> None:
    """Rectangles, masks, polygons and tissue; the rest of the slide is not read."""
    learn = Learner(loaders(folder, RandomPatch(32, per_slide=4)), Places())
    expected = coordinate_mask(150, 110)
    assert (learn.predict_slide(SLIDE, region=Window(40, 20, 70, 50)) == expected[20:70, 40:110]).all()
    triangle = {"type": "Polygon", "coordinates": [[[10, 10], [100, 12], [30, 90]]]}
    feature = {"type": "Feature", "geometry": triangle, "properties": {"classification": "any"}}
    mask = open_slide(SLIDE, [feature], codes=["no", "any"]).read(Window(0, 0, 150, 110)).mask
    for region in ([feature], mask, mask * 200):
        assert (learn.predict_slide(SLIDE, region=region) == expected * mask).all()
    tissue = np.full((256, 256, 3), 240, np.uint8)
    tissue[100:150, 40:120] = (200, 90, 160)
    seen = []
    learn.add_cb(type("Looks", (Callback,), {"before_batch": lambda self: seen.append(len(self.xb[0]))})())
    with torch.no_grad():
        found = learn.predict_slide(tissue, region="tissue", what="probabilities")
    assert sum(seen) == 2 * 3 and (found[0, :96] == 1).all() and (found[:, 200:].sum(0) == 1).all()
    for region, text in (("tisue", "no file, did you mean 'tissue'"), (3, "got 3"), (Window(0, 0, 9, 9, 1), "level 0")):
        with pytest.raises(OptionError, match=text):
            learn.predict_slide(SLIDE, region=region)


def test_a_model_of_level_1_predicts_a_flat_file(folder: Path) -> None:
    """The error says how: by the resolution of that level."""
    learn = Learner(loaders(folder, RandomPatch(32, level=1, per_slide=4)), Places())
    slide = open_slide(np.repeat(np.repeat(coordinate_image(64, 64), 4, 0), 4, 1), mpp=0.25)
    with pytest.raises(WindowError, match=r"level 1, as in the training, .* levels 0 to 0; .*mpp=1.0.*0.25 x 0.25"):
        learn.predict_slide(slide)
    found = learn.predict_slide(slide, mpp=1.0, what="probabilities")
    expected = np.repeat(np.repeat(coordinate_mask(64, 64), 4, 0), 4, 1)
    assert found.shape == (5, 256, 256) and (found.argmax(0) == expected).all()
    assert (learn.predict_slide(images_of(folder)[0], level=0) == coordinate_mask(256, 256)).all()


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"what": "scores"}, "what must be"),
        ({"tta": "d8"}, "tta must be one of 'd4'"),
        ({"overlap": 1.5}, "overlap must be a share"),
        ({"overlap": 32}, "overlap must be in 0..31"),
        ({"level": 0, "mpp": 0.5}, "both say what to read"),
        ({"batch_size": 0}, "batch_size must be in 1"),
        ({"out": "p.npy"}, "a path must end with .zarr"),
        (
            {"what": "probabilities", "out": np.zeros((5, 110, 150), np.uint8)},
            "which cannot hold prob",
        ),
        ({"what": "probabilities", "out": np.zeros((110, 150), np.float32)}, r"the map.* is of \(5, 110, 150\)"),
    ],
)
def test_mistakes(folder: Path, wrong: dict, text: str) -> None:
    """One clear error each."""
    with pytest.raises(OptionError, match=text):
        learner(folder, 1).predict_slide(SLIDE, **wrong)


def test_a_model_of_other_classes_has_no_probabilities(folder: Path) -> None:
    """Their names would be wrong."""
    learn = learner(folder, 1, classes=7)
    assert learn.predict_slide(SLIDE).max() < 7
    with pytest.raises(OptionError, match="the model gives 7 scores a pixel, and the learner has 5 classes"):
        learn.predict_slide(SLIDE, what="probabilities")
