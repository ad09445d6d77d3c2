"""A model as data: the folder predicts what the exported learner predicts, and nothing in it is run."""

from __future__ import annotations

import json
import pickle
import shutil
import sys

import numpy as np
import pytest
import torch
from fastai.vision.all import Normalize, load_learner, unet_learner

from patchaug import FrameError, MissingError, OptionError, PatchOptions, ReadError, WriteError, open_slide
from patchaug.core.own_folder import is_own_folder
from patchaug.core.signature import sign
from patchaug.fastai2.blocks import OpenSlideMask
from patchaug.fastai2.dataloaders import SlideDataLoaders
from patchaug.fastai2.encoders import architecture, decoder_options
from patchaug.fastai2.model_folder import load_model, save_model


def image_of(seed: int, dtype=np.uint8, channels: int = 3):
    return np.random.default_rng(seed).integers(0, 200, (96, 130, channels)).astype(dtype)


def learner_of(options: PatchOptions, dtype=np.uint8, channels: int = 3, mpp=None, **how):
    mask = np.random.default_rng(9).integers(0, 2, (96, 130)).astype(np.uint8)
    images = [image_of(seed, dtype, channels) for seed in (0, 1)]
    dls = SlideDataLoaders.from_lists(
        [(images[0], mask)], [(images[1], mask)], codes=["rest", "cell"], options=options, bs=1, num_workers=0,
        mpp=mpp, **how,
    )  # fmt: skip
    batch = dls.valid.one_batch()[0]
    torch.manual_seed(3)
    learn = unet_learner(
        dls, architecture("small"), pretrained=False, n_in=batch.shape[1], n_out=2, path=how.get("path", "."),
        **decoder_options("small"),
    )  # fmt: skip
    with torch.no_grad():  # so that its answers are of both classes
        scores = learn.model.eval()(batch)
        last = [module for module in learn.model.modules() if isinstance(module, torch.nn.Conv2d)][-1]
        last.bias[1] -= (scores[:, 1] - scores[:, 0]).median()
    return learn


@pytest.mark.parametrize(
    ("options", "how"),
    [
        (PatchOptions(64, foreground=0.5, per_slide=7, min_fraction=0.01), {}),
        (PatchOptions((32, 64), overlap=8, mpp=0.75), {"mpp": 0.5}),
        (PatchOptions(64, channels=[3, 1], scale=[(0.0, 199.0), (10.0, 300.0)]), {"dtype": np.uint16, "channels": 4}),
        (
            PatchOptions(64, halo=16, valid="random"),
            {"ignore_index": 255, "batch_tfms": [Normalize.from_stats([0.4, 0.5, 0.6], [0.2, 0.3, 0.1])]},
        ),
    ],
    ids=["foreground", "mpp", "channels", "halo"],
)
def test_the_folder_predicts_what_the_exported_learner_predicts(options, how, tmp_path):
    """The same class map of another slide, bit by bit; and global generators are left alone."""
    learn = learner_of(options, path=tmp_path, **how)
    learn.export("model.pkl")
    save_model(learn, tmp_path / "model", arch="small", options=options)
    slide = open_slide(image_of(5, how.get("dtype", np.uint8), how.get("channels", 3)), name="new",
                       channels=options.channels, mpp=how.get("mpp"))  # fmt: skip
    state = torch.get_rng_state()
    loaded = load_model(tmp_path / "model")
    assert torch.equal(state, torch.get_rng_state())
    expected = load_learner(tmp_path / "model.pkl").predict_slide(slide)
    assert set(np.unique(expected)) == {0, 1}  # a map of one class would not tell models apart
    assert np.array_equal(loaded.predict_slide(slide), expected)
    mask = next(t for t in loaded.dls.valid.dataset.tls[1].tfms.fs if isinstance(t, OpenSlideMask))
    assert (mask.codes, mask.ignore_index) == (["rest", "cell"], how.get("ignore_index"))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A folder of a model, written once."""
    place = tmp_path_factory.mktemp("model")
    save_model(learner_of(PatchOptions(64), path=place), place / "model", arch="small", options=PatchOptions(64))
    return place / "model"


@pytest.fixture
def folder(written, tmp_path):
    """A copy to change."""
    return shutil.copytree(written, tmp_path / "model")


def change(folder, **facts):
    """Change model.json and sign it, as a careful stranger would."""
    file = folder / "model.json"
    stored = {key: value for key, value in json.loads(file.read_text()).items() if key != "written_by"}
    file.write_text(json.dumps(stored | facts))
    sign(file, "model")


class Bomb:
    """A pickle that ends the process."""

    def __reduce__(self):
        return sys.exit, (77,)


def test_nothing_is_unpickled(folder):
    """Weights that are a pickle are refused, with right digests too."""
    from hashlib import sha256

    content = pickle.dumps(Bomb())
    (folder / "weights.safetensors").write_bytes(content)
    with pytest.raises(ReadError, match="changed since"):
        load_model(folder)
    change(folder, sha256={"weights.safetensors": sha256(content).hexdigest()})
    assert is_own_folder(folder, "model.json", "model")
    with pytest.raises(ReadError, match="do not describe a model"):
        load_model(folder)


@pytest.mark.parametrize(
    ("facts", "error", "text"),
    [
        ({"format": 2}, OptionError, "update patchaug"),
        ({"arch": "os:system"}, OptionError, "no encoder 'os:system'"),
        ({"channels": 10**9}, OptionError, "channels must be in"),
        ({"channels": 4}, ReadError, "do not describe a model: Error"),
        ({"windows": {"size": 10**8}}, OptionError, "exceed the limit"),
        ({"windows": {"sise": 64}}, OptionError, "sise"),
        ({"labels": None}, ReadError, "do not describe"),
        ({"dtype": "O"}, FrameError, "an image must be"),
    ],
)
def test_a_folder_that_lies_is_one_error(folder, facts, error, text):
    change(folder, **facts)
    with pytest.raises(error, match=text) as raised:
        load_model(folder)
    assert "\n" not in str(raised.value)


def test_a_model_replaces_only_its_own_folder(folder, tmp_path):
    """A second run's model takes the place of the first; a folder of the user's stays."""
    learn = learner_of(PatchOptions(32), path=tmp_path)
    save_model(learn, folder, arch="small", options=PatchOptions(32))
    assert json.loads((folder / "model.json").read_text())["windows"]["size"] == 32
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(WriteError, match="patchaug did not write"):
        save_model(learn, folder, arch="small", options=PatchOptions(32))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["model"]
    assert (folder / "notes.txt").read_text() == "mine"
    with pytest.raises(MissingError, match="a model is a folder with model.json"):
        load_model(tmp_path)
