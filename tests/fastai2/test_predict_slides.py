"""Slides predicted into files: the files are those of the map, whatever killed the process before."""

from __future__ import annotations

import os
import signal
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from fastai.vision.all import Learner
from hypothesis import given, settings
from hypothesis import strategies as st

from patchaug import OptionError, PatchaugError, Window, WriteError, open_slide
from patchaug.fastai import RandomPatch, SlideDataLoaders, predict_slide, predict_slides
from patchaug.predict.accumulate import Piece
from patchaug.predict.journal import BandJournal
from patchaug.predict.output_folder import OutputFolder
from patchaug.predict.predict_slides import each_prediction, stems_of

FORMATS = ["ome.tif", "probabilities.ome.tif", "areas.csv", "csv"]


def write_image(path: Path, seed: int, height: int = 300, width: int = 200) -> Path:
    """A tiled TIFF of noise in large blocks."""
    small = np.random.default_rng(seed).integers(0, 256, (height // 20, width // 20, 3), np.uint8)
    image = np.kron(small, np.ones((20, 20, 1), np.uint8))
    tifffile.imwrite(path, image, tile=(64, 64), photometric="rgb", resolution=(20000, 20000), resolutionunit=3)
    return path


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    root = tmp_path_factory.mktemp("images")
    return [write_image(root / f"s{number}.tif", number) for number in range(3)]


@pytest.fixture(scope="module")
def learn(images):
    """A model with a receptive field, so that windows and their overlaps matter."""
    mask = np.zeros((300, 200), np.uint8)
    pairs = [(str(images[0]), mask), (str(images[1]), mask)]
    dls = SlideDataLoaders.from_lists(
        pairs[:1], pairs[1:], codes=["rest", "cell", "wall"], item_tfms=RandomPatch(64, overlap=16, per_slide=2), bs=2,
        num_workers=0,
    )  # fmt: skip
    torch.manual_seed(1)
    return Learner(dls, torch.nn.Sequential(torch.nn.InstanceNorm2d(3), torch.nn.Conv2d(3, 3, 5, padding=2)))


def bytes_of(folder: Path) -> dict[str, str]:
    """Digest of each file under its final name."""
    files = [file for file in sorted(folder.rglob("*")) if file.is_file() and ".patchaug-predict" not in file.parts]
    return {str(file.relative_to(folder)): sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.fixture(scope="module")
def whole(learn, images, tmp_path_factory):
    """All slides in one go."""
    out = tmp_path_factory.mktemp("whole")
    learn.predict_slides(images, out, formats=FORMATS)
    return out


def test_the_files_are_the_map(learn, images, whole):
    """Named like their slides; opened again as a mask, each holds the map of the slide, and nothing else is left."""
    assert set(bytes_of(whole)) == {f"s{number}.{one}" for number in range(3) for one in FORMATS}
    assert {file.name for file in (whole / ".patchaug-predict").iterdir()} == {"files.json", "lock"}
    assert len({digest for name, digest in bytes_of(whole).items() if name.endswith("areas.csv")}) == 3
    from patchaug.predict.bands import open_prediction
    from patchaug.predict.options import PredictOptions

    bands = list(open_prediction(learn, images[2], PredictOptions(what="probabilities")).bands())
    expected = np.concatenate([band.classes for band in bands])
    slide = open_slide(images[2], whole / "s2.ome.tif", codes=["rest", "cell", "wall"])
    assert len(np.unique(expected)) == 3
    assert np.array_equal(slide.read_mask(Window(0, 0, 200, 300)), expected)
    stored = tifffile.imread(whole / "s2.probabilities.ome.tif")
    probabilities = np.concatenate([band.probabilities for band in bands], axis=1)
    assert stored.shape == probabilities.shape
    assert np.abs(stored / (255 if stored.dtype == np.uint8 else 1) - probabilities).max() < 0.003


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def killed(monkeypatch, place: str, after: int, call) -> None:
    """Run a call in a forked process that SIGKILL ends at the n-th event of a kind."""
    count = 0

    def counted(original, before: bool):
        def run(*arguments, **options):
            nonlocal count
            count += 1
            if before and count > after:
                die()
            result = original(*arguments, **options)
            if not before and count > after:
                die()
            return result

        return run

    with monkeypatch.context() as patch:
        if place == "band":
            patch.setattr(BandJournal, "_complete", counted(BandJournal._complete, before=False))
        elif place == "half a band":
            patch.setattr(os, "replace", counted(os.replace, before=True))
        elif place == "publish":
            patch.setattr(os, "rename", counted(os.rename, before=True))
        else:
            patch.setattr(OutputFolder, "publish", counted(OutputFolder.publish, before=False))
        child = os.fork()
        if child == 0:
            try:
                call()
            finally:
                os._exit(0)
        status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, f"it ended before {place} {after}"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize(
    ("place", "after"), [("band", 2), ("band", 7), ("half a band", 4), ("publish", 0), ("publish", 2), ("published", 5)]
)
def test_a_killed_prediction_goes_on_with_the_same_bytes(learn, images, whole, tmp_path, monkeypatch, place, after):
    """Nothing half has a final name; what is finished is not written again; bands that are done are not predicted."""
    killed(monkeypatch, place, after, lambda: learn.predict_slides(images, tmp_path, formats=FORMATS))
    before, expected = bytes_of(tmp_path), bytes_of(whole)
    assert before.items() <= expected.items() and before != expected
    times = {name: (tmp_path / name).stat().st_mtime_ns for name in before}
    results = learn.predict_slides(images, tmp_path, formats=FORMATS, resume=True)
    assert bytes_of(tmp_path) == expected
    assert {name: (tmp_path / name).stat().st_mtime_ns for name in before} == times
    assert [result.written for result in results] == [
        any(f"s{number}.{one}" not in before for one in FORMATS) for number in range(3)
    ]
    assert {file.name for file in (tmp_path / ".patchaug-predict").iterdir()} == {"files.json", "lock"}


def test_resume_predicts_only_what_is_missing(learn, images, tmp_path, monkeypatch):
    """Of the slide that was broken off: its first bands come from the journal."""
    killed(monkeypatch, "band", 3, lambda: learn.predict_slides(images[:1], tmp_path, formats=["areas.csv"]))
    seen = []
    list(each_prediction(
        learn, images[:1], tmp_path, formats=["areas.csv"], resume=True,
        progress=lambda slide, done, total, prediction: seen.append((done, total, len(prediction.plan))),
    ))  # fmt: skip
    total = seen[0][1]
    assert [done for done, _, _ in seen] == [*range(1, total), total] and total > 4

    def no_model(*arguments):
        raise AssertionError("nothing is left to predict")

    monkeypatch.setattr(learn.model, "forward", no_model)
    assert learn.predict_slides(images[:1], tmp_path, formats=["areas.csv"], resume=True)[0].written is False


def test_another_model_or_slide_is_another_prediction(learn, images, tmp_path):
    """Files of another model, other options or a changed slide are neither skipped nor replaced."""
    copy = tmp_path / "a.tif"
    copy.write_bytes(images[0].read_bytes())
    out = tmp_path / "out"
    learn.predict_slides([copy], out, formats=["areas.csv"])
    with pytest.raises(PatchaugError, match=r"a.areas.csv exists, and is not what this model, these options"):
        learn.predict_slides([copy], out, formats=["areas.csv"], overlap=0, resume=True)
    with pytest.raises(WriteError, match=r"a.areas.csv exists; choose another folder, or go on"):
        learn.predict_slides([copy], out, formats=["areas.csv"])
    assert learn.predict_slides([copy], out, formats=["areas.csv"], resume=True)[0].written is False
    write_image(copy, 9)
    with pytest.raises(PatchaugError, match="exists, and is not what"):
        learn.predict_slides([copy], out, formats=["areas.csv"], resume=True)
    (out / "a.areas.csv").write_text("mine")
    learn.predict_slides([copy], tmp_path / "other", formats=["areas.csv"])
    with pytest.raises(PatchaugError, match="exists, and is not what"):
        learn.predict_slides([copy], out, formats=["areas.csv"], resume=True)
    assert (out / "a.areas.csv").read_text() == "mine"


def test_formats_have_options(learn, images, tmp_path):
    """They change the file; a file with other ones is neither skipped nor replaced, and that of another format is."""
    formats, own = ["geojson", "ome.tif"], {"geojson": {"object_type": "detection"}, "ome.tif": {}}
    learn.predict_slides(images[:1], tmp_path, formats=formats)
    plain = bytes_of(tmp_path)
    with pytest.raises(PatchaugError, match="s0.geojson exists, and is not what this model, these options"):
        learn.predict_slides(images[:1], tmp_path, formats=formats, format_options=own, resume=True)
    assert bytes_of(tmp_path) == plain
    (tmp_path / "s0.geojson").unlink()
    results = learn.predict_slides(images[:1], tmp_path, formats=formats, format_options=own, resume=True)
    assert results[0].written and '"objectType":"detection"' in (tmp_path / "s0.geojson").read_text()
    assert bytes_of(tmp_path)["s0.ome.tif"] == plain["s0.ome.tif"]
    again = learn.predict_slides(images[:1], tmp_path, formats=formats, format_options=own, resume=True)
    assert not again[0].written


def test_a_bad_slide_does_not_stop_the_others(learn, images, tmp_path):
    """All errors in one at the end; the files of the others are there, and resume needs only the rest."""
    bad = tmp_path / "bad.tif"
    bad.write_bytes(b"II*\0 nothing")
    small = write_image(tmp_path / "small.tif", 0, 40, 40)
    out = tmp_path / "out"
    slides = [bad, images[0], small, images[1]]
    text = r"2 of 4 slides could not be predicted.*bad: .*small: .*does not fit"
    with pytest.raises(PatchaugError, match=text) as one:
        learn.predict_slides(slides, out, formats=["areas.csv"])
    assert "\n" not in str(one.value).partition("small: ")[0]
    assert set(bytes_of(out)) == {"s0.areas.csv", "s1.areas.csv"}
    write_image(bad, 5)
    write_image(small, 5)
    results = learn.predict_slides(slides, out, formats=["areas.csv"], resume=True)
    assert [result.written for result in results] == [True, False, True, False]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"formats": ["tiff"]}, "there is no format 'tiff'"),
        ({"formats": "ome.tif"}, "formats must be a list"),
        ({"formats": ["probabilities.csv"]}, "csv holds no probabilities; take probabilities.ome.tif"),
        ({"overlap": 64}, "overlap must be in 0..63"),
        ({"blend": "mean"}, "blend must be one of"),
        ({"what": "classes"}, "leave what="),
        ({"format_options": {"png": {"size": 512}}}, "format_options has 'png', and the formats are ome.tif, geojson"),
        ({"format_options": {"geojson": {"simplfy": 2}}}, "'geojson' has no option 'simplfy'; it has background, obj"),
        ({"format_options": {"geojson": {"simplify": -1}}}, "simplify must be 0 or a number of level-0 pixels, got -1"),
        ({"format_options": {"geojson": {"background": "cel"}}}, "background must be one of the classes .rest, cell"),
        ({"format_options": {"ome.tif": {"dtype": "uint8"}}}, "no option 'dtype'; it has compression, tile"),
        ({"output": 1.5}, "output must be an integer"),
        ({"slides": "s0.tif"}, "slides must be a list"),
        ({"slides": ["a/x.tif", "b/X.svs"]}, "several slides would have the files of X, x"),
        ({"slides": [np.zeros((64, 64, 3), np.uint8)]}, "slide 0 is a ndarray without a name"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_wrong_options_are_one_error_before_anything_is_written(learn, images, tmp_path, change, text):
    arguments = {"slides": images, "folder": tmp_path / "out", **change}
    with pytest.raises(OptionError, match=text):
        learn.predict_slides(**arguments)
    assert not (tmp_path / "out").exists()


def test_a_learner_is_once_in_an_ensemble(learn, images, tmp_path):
    """Else fastai's lock would wait for itself."""
    for call in (
        lambda: predict_slide([learn, learn], images[0]),
        lambda: predict_slides([learn, learn], images[:1], tmp_path, formats=["areas.csv"]),
    ):
        with pytest.raises(PatchaugError, match="a learner is twice in the ensemble; give each once"):
            call()


def test_stems():
    """Of paths, open slides and groups; .ome is no part of one."""
    slide = open_slide(np.zeros((64, 64, 3), np.uint8), name="liver 7")
    assert stems_of(["a/case7.ome.tif", Path("b.svs"), slide, ("c.tif", "d.tif"), "e.zarr/"]) == [
        "case7", "b", "liver 7", "c", "e",
    ]  # fmt: skip


def test_two_processes_do_not_share_a_folder(learn, images, tmp_path):
    """The second one is told so; a slide without a file cannot be resumed."""
    with OutputFolder(tmp_path / "out"), pytest.raises(WriteError, match="another process writes predictions"):
        learn.predict_slides(images, tmp_path / "out", formats=["areas.csv"])
    slide = open_slide(images[0], name="x")
    array = open_slide(slide.read(Window(0, 0, 200, 300)).image, name="x")
    assert learn.predict_slides([array], tmp_path / "a", formats=["areas.csv"])[0].written
    with pytest.raises(PatchaugError, match="resume needs slides that are files"):
        learn.predict_slides([array], tmp_path / "a", formats=["areas.csv"], resume=True)


@given(
    st.integers(1, 200), st.integers(1, 40), st.sampled_from([np.uint8, np.uint16]), st.sampled_from([None, 1, 3]),
    st.integers(0, 2**32 - 1), st.integers(0, 10**6), st.integers(1, 2000),
)  # fmt: skip
@settings(max_examples=20)
def test_a_band_comes_back_as_it_was(tmp_path_factory, rows, width, dtype, planes, seed, cut, pixels):
    """Bit by bit, but that probabilities are rounded; in rows of any number; a file that is cut or changed is none."""
    random = np.random.default_rng(seed)
    probabilities = None if planes is None else random.random((planes, rows, width), np.float32)
    classes = random.integers(0, 300, (rows, width)).astype(dtype)
    cuts = [0, *sorted(set(random.integers(0, width, 3).tolist()) - {0}), width]
    with BandJournal(tmp_path_factory.mktemp("journal")) as journal:
        for left, right in pairwise(cuts):
            assert not journal.holds(3)
            part = None if probabilities is None else probabilities[..., left:right]
            done = journal.add(Piece(3, 7, left, classes[:, left:right], part, None, right == width))
    assert done == 3 and journal.holds(3) and not journal.holds(4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("patchaug.predict.journal._PIXELS", pixels)
        back = list(journal.rows(3))
    assert [band.top for band in back] == [7 + sum(len(b.classes) for b in back[:k]) for k in range(len(back))]
    whole = np.concatenate([band.classes for band in back])
    assert whole.dtype == classes.dtype and np.array_equal(whole, classes)
    if planes is None:
        assert all(band.probabilities is None for band in back)
    else:
        joined = np.concatenate([band.probabilities for band in back], axis=1)
        assert np.array_equal(joined, probabilities.astype(np.float16).astype(np.float32))
    file = journal.folder / "000003.band"
    content = file.read_bytes()
    file.write_bytes(content[: cut % len(content)])
    assert not journal.holds(3)
    spoiled = bytearray(content)
    spoiled[cut % len(content)] ^= 1
    file.write_bytes(spoiled)
    assert not journal.holds(3)
