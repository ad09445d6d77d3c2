"""`patchaug predict` and `evaluate` write over no file that they did not write: slides, masks, models, the user's."""

from __future__ import annotations

import hashlib
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from fastai.vision.all import Learner, nn

from patchaug.cli import main
from patchaug.fastai import RandomPatch, SlideDataLoaders
from patchaug.testing.synthetic_slides import write_slide

PREDICT = ["predict", "model.pkl", "images", "--workers", "0", "--formats", "ome.tif,geojson,areas.csv", "--out"]
EVALUATE = ["evaluate", "model.pkl", "--images", "images", "--masks", "masks", "--workers", "0", "--no-pages", "--out"]
COLLISIONS = [
    *(
        (PREDICT, target)
        for target in ("", "full", "images", "mine.txt", "mine.txt/a", "images/s.ome.tif", "model.pkl")
    ),
    *((EVALUATE, target) for target in ("", "full", "mine.txt", "mine.txt/a", "images/s.ome.tif", "model.pkl")),
]


def contents(root: Path) -> dict[str, str]:
    """{path: hash} of all files below a folder."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.rglob("*")
        if path.is_file() and ".patchaug" not in path.name
    }


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, a slide named as a prediction of it is, its mask, and a folder of the user with the names of results."""
    root = tmp_path_factory.mktemp("outputs")
    image, mask = write_slide(root / "images", "s", size=512, seed=1)
    (root / "masks").mkdir()
    mask.rename(root / "masks" / "s.tiff")
    image.rename(root / "images" / "s.ome.tif")
    arrays = [(np.zeros((64, 64, 3), np.uint8), np.zeros((64, 64), np.uint8)) for _ in range(2)]
    dls = SlideDataLoaders.from_lists(
        arrays[:1], arrays[1:], codes=["a", "b"], item_tfms=RandomPatch(64), bs=1, num_workers=0
    )
    Learner(dls, nn.Conv2d(3, 2, 1), path=root).export("model.pkl")
    (root / "mine.txt").write_text("the user's")
    (root / "full").mkdir()
    for name in ("s.ome.tif", "s.geojson", "s.areas.csv", "report.json", "slides.csv", "report.html"):
        (root / "full" / name).write_text("the user's")
    return root


def ended(words: list[str], root: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """Exit code of a command in this process."""
    monkeypatch.chdir(root)
    monkeypatch.setattr(sys, "argv", ["patchaug", *words])
    with pytest.raises(SystemExit) as stopped:
        main()
    return int(stopped.value.code or 0)


@pytest.mark.parametrize(("words", "target"), COLLISIONS)
def test_collisions_are_refused(words: list[str], target: str, root: Path, monkeypatch, capsys) -> None:
    """In one line, and nothing changes."""
    before = contents(root)
    code = ended([*words, target], root, monkeypatch)
    out, err = capsys.readouterr()
    assert code in (1, 2) and out == "" and err.count("\n") == 1, (out, err)
    assert contents(root) == before


def test_results_that_the_user_has_changed_stay(root: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    """A second run says so; with --resume too."""
    for words, name in ((PREDICT, "s.geojson"), (EVALUATE, "report.json")):
        place = tmp_path / words[0]
        shutil.copytree(root, place)
        assert ended([*words, "out"], place, monkeypatch) == 0, capsys.readouterr()
        file = place / "out" / name
        file.write_text("the user's " + file.read_text())
        before = contents(place)
        for more in ([], ["--resume"] if words is PREDICT else []):
            assert ended([*words, "out", *more], place, monkeypatch) in (1, 2), capsys.readouterr()
        assert contents(place) == before
