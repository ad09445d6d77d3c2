"""`patchaug predict` as a user meets it: lines, JSON, exit codes, and what a wrong word leads to."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from fastai.vision.all import unet_learner

from patchaug import PatchOptions, Window, open_slide
from patchaug.cli import main
from patchaug.fastai2.dataloaders import SlideDataLoaders
from patchaug.fastai2.encoders import decoder_options, small_encoder
from patchaug.fastai2.model_folder import load_model, save_model
from patchaug.testing.synthetic_slides import write_slide


class Done(NamedTuple):
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def patchaug(monkeypatch, capsys) -> Callable[..., Done]:
    """`patchaug ...` in this process, which saves the seconds of starting one."""

    def call(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["patchaug", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main()
        return Done(int(stopped.value.code or 0), *capsys.readouterr())

    return call


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory) -> Path:
    """model.pkl and model/ of a model at level 1, slides/s0.tiff and s1.tiff with their masks."""
    root = tmp_path_factory.mktemp("run")
    pairs = [write_slide(root / "slides", f"s{number}", size=512, seed=number) for number in range(2)]
    options = PatchOptions(64, level=1, overlap=16)
    dls = SlideDataLoaders.from_lists(
        [tuple(pairs[0])], [tuple(pairs[1])], codes=["background", "nucleus"], options=options, bs=1, num_workers=0,
        path=root,
    )  # fmt: skip
    torch.manual_seed(0)
    learn = unet_learner(dls, small_encoder, pretrained=False, n_out=2, path=root, **decoder_options("small"))
    batch = dls.valid.one_batch()[0]
    with torch.no_grad():
        scores = learn.model.eval()(batch)
        [one for one in learn.model.modules() if isinstance(one, torch.nn.Conv2d)][-1].bias[1] -= (
            scores[:, 1] - scores[:, 0]
        ).median()
    learn.export("model.pkl")
    (root / "own").mkdir()
    (root / "own" / "model.pkl").write_bytes((root / "model.pkl").read_bytes())
    save_model(learn, root / "model", arch="small", options=options)
    return root


def test_a_run_folder_predicts_slides(run_folder, tmp_path, patchaug):
    """A line of result a slide, files that open again as a mask of the slide, and nothing on stderr."""
    done = patchaug("predict", run_folder, run_folder / "slides", "--out", tmp_path / "maps", "--device", "cpu")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert len(lines) == 3 and lines[2] == f"2 of 2 slides are in {tmp_path / 'maps'}"
    assert lines[0].startswith("s0: 0.0164 Mpx in 9 windows, ") and lines[0].endswith("s0.ome.tif, s0.geojson")
    image = run_folder / "slides" / "s1.tiff"
    expected = load_model(run_folder / "model").predict_slide(image)  # blended by crop
    crop = patchaug("predict", run_folder / "model.pkl", image, "--out", tmp_path / "crop", "--blend", "crop",
                    "--formats", "ome.tif", "--json", "--device", "cpu")  # fmt: skip
    found = json.loads(crop.stdout)
    assert found["failed"] == 0 and found["slides"][0]["windows"] == 9 and found["slides"][0]["error"] is None
    assert found["slides"][0]["files"] == [str(tmp_path / "crop" / "s1.ome.tif")]
    slide = open_slide(image, tmp_path / "crop" / "s1.ome.tif", codes=["background", "nucleus"])
    assert np.array_equal(slide.read_mask(Window(0, 0, 128, 128, 1)), expected) and len(np.unique(expected)) == 2


def test_a_bad_slide_is_a_line_and_the_exit_code(run_folder, tmp_path, patchaug):
    """The others are predicted; the same command with --resume needs only the rest."""
    bad = tmp_path / "bad.tiff"
    bad.write_text("no picture")
    good = run_folder / "slides" / "s0.tiff"
    words = ["predict", run_folder, bad, good, "--out", tmp_path / "maps", "--formats", "areas.csv", "--device", "cpu"]
    done = patchaug(*words)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("patchaug: bad: ")
    assert done.stdout.splitlines()[-1] == f"1 of 2 slides are in {tmp_path / 'maps'}; not predicted: bad"
    bad.write_bytes(good.read_bytes())
    again = patchaug(*words, "--resume", "--json")
    assert again.returncode == 0
    assert [slide["written"] for slide in json.loads(again.stdout)["slides"]] == [True, False]
    taken = patchaug(*words)
    assert taken.returncode == 1 and "bad.areas.csv exists, and 1 more; choose another folder" in taken.stderr


@pytest.mark.parametrize(
    ("change", "code", "text"),
    [
        ({"model": "nothing"}, 1, "there is no model nothing; name the folder of a run"),
        ({"model": "slides"}, 1, "a model is a folder with model.json and weights.safetensors"),
        ({"model": "own"}, 2, r"own holds no model as data .* name the pickle, which runs code: own/model.pkl"),
        ({"model": "slides/s0.tiff"}, 2, "a model is the folder that patchaug train leaves, or a .pkl"),
        ({"slides": "model.pkl"}, 2, "is not a slide; it is a model"),
        ({"slides": "model"}, 1, "no slides in "),
        ({"--formats": "omet.if"}, 2, "there is no format 'omet.if'.*did you mean 'ome.tif'"),
        ({"--overlap": "half"}, 2, "--overlap must be pixels or a share such as 0.25, got 'half'"),
        ({"--overlap": "1.5"}, 2, "overlap must be a share"),
        ({"--tta": "d8"}, 2, "tta must be one of 'd4'"),
        ({"--region": "tisue"}, 2, "--region must be all, tissue, X,Y,WIDTH,HEIGHT"),
        ({"--region": "100,100,64,64"}, 1, "must lie within level 1"),
        ({"--format-option": "geojson"}, 2, "must be FORMAT:OPTION=VALUE, such as geojson:simplify=2, got 'geojson'"),
        ({"--format-option": "geojson:simplify=x"}, 2, "simplify must be 0 or a number of level-0 pixels, got 'x'"),
        ({"--ensemble": "nothing"}, 1, "there is no model nothing; name the folder of a run"),
        ({"--device": "tpu9"}, 2, "device 'tpu9' cannot be used"),
        ({"--out": ""}, 2, "--out needs the name of a folder"),
    ],
    ids=lambda value: str(value)[:25],
)
def test_a_wrong_word_is_one_line(run_folder, tmp_path, patchaug, monkeypatch, change, code, text):
    """Before anything is written."""
    monkeypatch.chdir(run_folder)
    words = {"model": "model", "slides": "slides/s0.tiff", "--out": tmp_path / "maps", "--device": "cpu"} | change
    flags = [word for flag in words.items() if flag[0].startswith("--") for word in flag]
    done = patchaug("predict", words["model"], words["slides"], *flags)
    assert done.returncode == code, done
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("patchaug: ")
    assert re.search(text, done.stderr), done.stderr
    assert not (tmp_path / "maps").exists()


def test_a_window_and_tta(run_folder, tmp_path, patchaug):
    """A window in pixels of the model's level is the map."""
    image = run_folder / "slides" / "s0.tiff"
    words = "--region 10,20,64,32 --tta d4 --formats areas.csv --json --device cpu --batch-size 3 --workers 0"
    done = patchaug("predict", run_folder, image, "--out", tmp_path, *words.split())
    assert json.loads(done.stdout)["slides"][0]["megapixels"] == 64 * 32 / 1e6


def test_ensembles_and_options_of_formats(run_folder, tmp_path, patchaug):
    """A model with itself gives its own map; files of a format follow its options."""
    image = run_folder / "slides" / "s0.tiff"
    words = ["--formats", "areas.csv,geojson", "--device", "cpu", "--workers", "0"]
    files = []
    for name, more in (("one", []), ("two", ["--ensemble", run_folder / "model.pkl"])):
        option = ["--format-option", "geojson:object_type=detection"]
        done = patchaug("predict", run_folder, image, "--out", tmp_path / name, *words, *option, *more)
        assert (done.returncode, done.stderr) == (0, "")
        files.append([(tmp_path / name / f"s0.{one}").read_bytes() for one in ("areas.csv", "geojson")])
    assert files[0] == files[1] and b'"objectType":"detection"' in files[0][1]
    done = patchaug("predict", run_folder, image, "--out", tmp_path / "three", *words, "--model-output", "aux")
    assert done.returncode == 1
    assert "s0: output='aux': the model gives one tensor; leave output out" in done.stderr
    done = patchaug("predict", run_folder, image, "--out", tmp_path / "three", *words, "--model-output", "aux")
    assert done.returncode == 1
    assert "s0: output='aux': the model gives one tensor; leave output out" in done.stderr
