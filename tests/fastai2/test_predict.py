"""What a learner says of a whole slide, and what it refuses to say of one."""

import os
import subprocess
import sys
import zipfile
from hashlib import sha256
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from fastai.vision.all import CategoryBlock, DataBlock, ImageBlock, IndexSplitter, Learner, load_learner, unet_learner

import patchaug
from patchaug import FrameError, Grid, OptionError, Plan, ReadError, Window, open_slide
from patchaug.fastai import RandomPatch, SlideBlock, SlideDataLoaders, SlideMaskBlock
from patchaug.fastai2.encoders import small_encoder
from patchaug.testing import coordinate_image, coordinate_mask
from tests.torn import Torn

from .conftest import CODES, Places, images_of, loaders, mask_of


def test_a_model_without_parameters_predicts(folder: Path) -> None:
    """Such as a threshold; the learner is left as it was."""

    class Threshold(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.cat([images[:, :1], 1 - images[:, :1]], 1)

    learn = Learner(loaders(folder, RandomPatch(64), bs=3), Threshold())
    slide = open_slide(images_of(folder)[0])
    red = slide.read(Window(0, 0, *slide.dimensions)).image[..., 0]
    assert np.array_equal(learn.predict_slide(slide), red < 128)
    assert "_set_device" not in vars(learn)


def test_it_is_a_direct_argmax(folder: Path, tmp_path: Path) -> None:
    """Windows that do not overlap: each is the model's argmax on its own pixels, whatever the batch size."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.InstanceNorm2d(3), torch.nn.Conv2d(3, 5, 3, padding=1))
    learn = Learner(loaders(folder, RandomPatch(64), bs=3), model)
    slide = open_slide(images_of(folder)[0])
    classes = learn.predict_slide(slide)
    assert classes.dtype == np.uint8 and len(np.unique(classes)) > 1
    plan = Plan([slide], Grid(64), shuffle=False)
    for draw in plan:
        image = torch.from_numpy(plan.read(draw).image.transpose(2, 0, 1)[None] / np.float32(255))
        expected = model.to("cpu")(image).argmax(dim=1)[0].numpy()
        window = draw.window
        assert (classes[window.y : window.bottom, window.x : window.right] == expected).all()


def test_slides_paths_and_arrays_into_any_array(learn: Learner, folder: Path, tmp_path: Path) -> None:
    """All three are one slide; a memory map takes the result; the mask of an open slide is not looked at."""
    path = images_of(folder)[0]
    slide = open_slide(path, mask_of(path))
    expected = coordinate_mask(256, 256)
    out = np.memmap(tmp_path / "map", np.uint8, "w+", shape=(256, 256))
    assert learn.predict_slide(slide, out=out) is out and (out == expected).all()
    assert (learn.predict_slide(path) == expected).all()
    assert (learn.predict_slide(slide.read(Window(0, 0, 256, 256)).image) == expected).all()
    with pytest.raises(OptionError, match=r"out is of shape \(9, 9\)"):
        learn.predict_slide(slide, out=np.empty((9, 9), np.uint8))


def test_memory_does_not_grow_with_the_slide(folder: Path) -> None:
    """A slide of eighty bands: the process holds what it held at the first bands, wherever the map goes."""
    held = []

    class Sink:
        """Takes a map without keeping it."""

        shape, dtype = (20_480, 1024), np.dtype(np.uint8)

        def __setitem__(self, rows: slice, band: np.ndarray) -> None:
            assert band.shape == (rows.stop - rows.start, 1024)
            held.append(psutil.Process().memory_info().rss)

    learn = Learner(loaders(folder, RandomPatch(256, per_slide=2), bs=2), torch.nn.Conv2d(3, 5, 1))
    learn.predict_slide(np.broadcast_to(np.uint8(9), (20_480, 1024, 3)), out=Sink())
    assert len(held) == 80
    assert max(held[40:]) - max(held[:40]) < 20_480 * 1024 / 4  # the lower half of a kept map would be a half


def test_predict_slide_puts_no_window_in_the_place_of_another(folder: Path) -> None:
    """Also where training goes on after errors."""
    learn = Learner(loaders(folder, RandomPatch(32, per_slide=4, on_error="resample")), Places())
    with pytest.raises(ReadError, match="torn"):
        learn.predict_slide(open_slide(Torn([coordinate_image(256, 256)])))


def test_layers_stay_in_their_modes(learn: Learner, folder: Path) -> None:
    """A model that trains goes on training, with its frozen parts frozen."""
    learn.model.add_module("frozen", torch.nn.BatchNorm2d(3).eval())
    learn.model.train()
    learn.model.frozen.eval()
    learn.predict_slide(images_of(folder)[0])
    assert learn.model.training and not learn.model.frozen.training


def test_random_validation_does_not_touch_it(folder: Path) -> None:
    """The map is whole; a test set of random windows is refused, and says so."""
    learn = Learner(loaders(folder, RandomPatch(32, valid="random", per_slide=4)), Places())
    assert len(learn.dls.valid.plan) == 4
    assert (learn.predict_slide(images_of(folder)[0]) == coordinate_mask(256, 256)).all()
    with pytest.raises(OptionError, match="random windows of a test set, which would leave pixels out"):
        learn.dls.test_dl(images_of(folder)[:1])


def test_predict_names_predict_slide(learn: Learner, folder: Path) -> None:
    """fastai alone returns the first window only."""
    with pytest.raises(OptionError, match=r"a slide has many; take learn.predict_slide\(slide\)"):
        learn.predict(images_of(folder)[0])


def test_models_that_give_no_classes_are_refused(folder: Path) -> None:
    """One channel is not five classes, and a map of another size has no place."""
    one = Learner(loaders(folder), torch.nn.Conv2d(3, 1, 1))
    half = Learner(loaders(folder), torch.nn.Conv2d(3, 5, 2, stride=2))
    for learn, shape in ((one, r"\(4, 1, 32, 32\)"), (half, r"\(4, 5, 16, 16\)")):
        with pytest.raises(OptionError, match=rf"the model gives {shape}, and a class map needs"):
            learn.predict_slide(images_of(folder)[0])


def brightness(image):
    """The class of a picture."""
    return "light" if image.mean() > 99 else "dark"


def test_other_learners_are_left_alone(tmp_path: Path) -> None:
    """fastai's own predict and export work on other data as ever, and predict_slide says that it needs slides."""
    pictures = [np.full((8, 8, 3), value, np.uint8) for value in (0, 50, 150, 200)]
    block = DataBlock((ImageBlock, CategoryBlock), get_y=brightness, splitter=IndexSplitter([3]))
    dls = block.dataloaders(pictures, bs=2, num_workers=0, path=tmp_path)
    learn = Learner(dls, torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 2)))
    with learn.no_bar():
        assert learn.predict(pictures[0])[0] in ("light", "dark")
        assert len(learn.predict(pictures[0], with_input=True)) == 4
    learn.export("other.pkl")
    assert load_learner(tmp_path / "other.pkl").path == tmp_path
    with pytest.raises(OptionError, match="predict_slide needs a learner trained on slides; its loader is a TfmdDL"):
        learn.predict_slide(pictures[0])


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"item_tfms": [RandomPatch(16)]}, "must hold one RandomPatch, .*, and hold 2"),
        ({"num_worker": 1}, "dataloaders has no argument 'num_worker'; did you mean num_workers"),
        ({"per_slide": 9}, "dataloaders has no argument 'per_slide'; windows are described by RandomPatch"),
    ],
)
def test_what_fastai_would_pass_over(folder: Path, wrong: dict, text: str) -> None:
    """It keeps the last of two transforms of a class, and takes any argument."""
    with pytest.raises(OptionError, match=text):
        loaders(folder, **wrong)


def test_what_fastai_takes_is_taken(folder: Path) -> None:
    """Its own arguments, for both loaders or for validation; and the words that its tta uses."""
    dls = loaders(folder, val_bs=3, val_num_workers=0, pin_memory=False, drop_last=False, val_shuffle=True)
    assert dls.valid.bs == 3 and dls.train.drop_last is False
    learn = Learner(dls, Places())
    with learn.no_bar():
        assert len(learn.tta(n=1)[0]) == len(dls.valid.plan)


LOAD = """
import sys
from hashlib import sha256
from fastai.vision.all import load_learner
from patchaug.fastai import *
for file in sys.argv[2:]:
    print(sha256(load_learner(file).predict_slide(sys.argv[1]).tobytes()).hexdigest())
"""


def test_an_exported_unet_predicts_the_same_elsewhere(folder: Path, tmp_path: Path, monkeypatch) -> None:
    """A fresh process in another folder; the file holds weights, not the activations of a batch, pixels or places."""
    (tmp_path / "run").mkdir()
    monkeypatch.chdir(tmp_path / "run")
    pairs = [(path, mask_of(path)) for path in images_of(folder)]
    arrays = [tuple(open_slide(*pair).read(Window(0, 0, 256, 256))) for pair in pairs]
    path, files, digests = pairs[1][0], [], []
    for number, found in enumerate((pairs, arrays)):
        dls = SlideDataLoaders.from_lists(
            found[:1], found[3:], codes=CODES, item_tfms=RandomPatch(64, per_slide=4), bs=4, num_workers=0,
            path=tmp_path,
        )  # fmt: skip
        learn = unet_learner(dls, small_encoder, n_out=5, pretrained=False, last_cross=False)
        with learn.no_bar(), learn.no_logging():
            learn.fit(1, 1e-3)
        digests.append(sha256(learn.predict_slide(path).tobytes()).hexdigest())
        learn.export(f"run/model{number}.pkl")
        assert learn.path == tmp_path and dls.path == tmp_path and learn.dls is dls
        files.append(tmp_path / "run" / f"model{number}.pkl")
        weights = sum(t.numel() * t.element_size() for t in learn.model.state_dict().values())
        assert files[-1].stat().st_size < weights + 300_000
        with zipfile.ZipFile(files[-1]) as archive:
            held = b"".join(archive.read(name) for name in archive.namelist())
        for place in {str(folder), str(tmp_path), str(Path(__file__).parent), str(Path.cwd()), str(Path.home())}:
            assert place == "/" or place.encode() not in held
        assert not any(arrays[0][0][row, :16].tobytes() in held for row in range(256))
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(path), *map(str, files)], capture_output=True, text=True, check=False, cwd="/",
        env={**os.environ, "PYTHONPATH": str(Path(patchaug.__file__).parents[1])},
    )  # fmt: skip
    assert done.stdout.split() == digests, done.stderr


def test_the_block_of_the_error_is_the_one_of_the_documents(folder: Path) -> None:
    """RandomPatch given twice in a block, in one line."""
    with pytest.raises(OptionError) as caught:
        DataBlock(
            (SlideBlock, SlideMaskBlock(CODES)), get_items=images_of, splitter=IndexSplitter([3]),
            item_tfms=[RandomPatch(32), RandomPatch(48)],
        )  # fmt: skip
    assert "\n" not in str(caught.value) and "32" in str(caught.value) and "48" in str(caught.value)


def test_labels_of_a_slide_without_a_mask(folder: Path) -> None:
    """One clear error when the loader is made; with a mask, an open slide is its own label."""
    path = images_of(folder)[0]
    dls = loaders(folder)
    with pytest.raises(FrameError, match=r"s0.tiff: labels are asked of a slide without a mask; open it with one"):
        dls.test_dl([open_slide(path)], with_labels=True)
    assert dls.test_dl([open_slide(path, mask_of(path))], with_labels=True).one_batch()[1].ndim == 3
