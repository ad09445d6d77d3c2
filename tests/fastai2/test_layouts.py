"""Layouts that people have, from files to a model, with one command each; splits by fold and by group."""

import csv
import json
import sys
from pathlib import Path

import pytest

from patchaug import OptionError
from patchaug.cli import main
from patchaug.cli.cross_validation import summarize
from patchaug.cli.split_pairs import pairs_of
from patchaug.options.fields import TrainOptions
from patchaug.testing.synthetic_slides import write_slide

TINY = ["--per-slide", 4, "--epochs", 1, "--bs", 4, "--size", 64, "--workers", 0, "--codes", "background,nucleus"]


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make s0.tiff to s3.tiff of 512 px, and their masks, in one folder."""
    root = tmp_path_factory.mktemp("slides")
    for number in range(4):
        write_slide(root, f"s{number}", size=512, seed=number)
    return root


def images_and_masks(slides: Path, root: Path) -> list[object]:
    """Same names in two folders."""
    for number in range(2):
        link(slides / f"s{number}.tiff", root / "images" / f"s{number}.tiff")
        link(slides / f"s{number}_mask.tiff", root / "masks" / f"s{number}.tiff")
    return ["--images", root]


def one_folder(slides: Path, root: Path) -> list[object]:
    """x.tiff beside x_mask.tiff."""
    for number in range(2):
        for name in (f"s{number}.tiff", f"s{number}_mask.tiff"):
            link(slides / name, root / name)
    return ["--images", root]


def by_patient(slides: Path, root: Path) -> list[object]:
    """Folders of patients on both sides, and the same names in each."""
    for number in range(2):
        link(slides / f"s{number}.tiff", root / "images" / f"p{number}" / "a.tiff")
        link(slides / f"s{number}_mask.tiff", root / "masks" / f"p{number}" / "a.tiff")
    return ["--images", root / "images", "--masks", root / "masks", "--valid-slides", "p1/*"]


def table(slides: Path, root: Path) -> list[object]:
    """Split, groups and pixel sizes of a CSV."""
    root.mkdir(parents=True)
    with (root / "slides.csv").open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["image", "mask", "split", "group", "mpp"])
        for number, split in enumerate(["train", "train", "valid", "test"]):
            image, mask = slides / f"s{number}.tiff", slides / f"s{number}_mask.tiff"
            rows.writerow([image, mask, split, f"p{number}", 0.25 * (1 + number % 2)])
    return ["--table", root / "slides.csv", "--mpp", 0.5]


def link(source: Path, target: Path) -> None:
    """Make a link, and its folders."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.symlink_to(source)


def call(*words: object, monkeypatch: pytest.MonkeyPatch) -> int:
    """`patchaug ...` in this process."""
    monkeypatch.setattr(sys, "argv", ["patchaug", *map(str, words)])
    with pytest.raises(SystemExit) as stopped:
        main()
    return int(stopped.value.code or 0)


@pytest.mark.parametrize("layout", [images_and_masks, one_folder, by_patient, table])
def test_a_layout_trains_with_one_command(layout, slides: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    """Each slide has its own mask: the report names both sides, and the model is there."""
    words = layout(slides, tmp_path / "data")
    words += [] if layout is table else ["--level", 1]
    code = call("train", *words, *TINY, "--out", tmp_path / "out", "--json", monkeypatch=monkeypatch)
    out, err = capsys.readouterr()
    assert code == 0, err
    report = json.loads(out)
    expected = {table: (2, 1)}.get(layout, (1, 1))
    assert (len(report["train"]), len(report["valid"])) == expected
    assert (tmp_path / "out" / "model.pkl").is_file()
    assert layout is not table or report["valid"] == [str(slides / "s2.tiff")]


def options(**values: object) -> TrainOptions:
    """Make the options of a run on 64 px."""
    return TrainOptions(64, codes=["background", "nucleus"], **values)


def test_folds_validate_each_group_once(slides: Path, tmp_path: Path) -> None:
    """Slides of a patient stay together; three folds are three different splits."""
    with (tmp_path / "t.csv").open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["image", "mask", "group"])
        for number in range(4):
            rows.writerow([slides / f"s{number}.tiff", slides / f"s{number}_mask.tiff", f"p{min(number, 2)}"])
    valid = []
    for fold in (1, 2, 3):
        left, right = pairs_of(options(table=str(tmp_path / "t.csv"), folds=3, fold=fold))
        assert len(left) + len(right) == 4 and not set(left) & set(right)
        valid.append(sorted(image.name for image, _ in right))
    assert sorted(valid) == [["s0.tiff"], ["s1.tiff"], ["s2.tiff", "s3.tiff"]]
    with pytest.raises(OptionError, match="--folds 4 needs as many slides, or groups of slides, and there are 3"):
        pairs_of(options(table=str(tmp_path / "t.csv"), folds=4))


def test_a_group_on_both_sides_is_refused(slides: Path, tmp_path: Path) -> None:
    """Its name is given."""
    lines = [f"{slides}/s{n}.tiff,{slides}/s{n}_mask.tiff,{'train' if n else 'valid'},p{n // 2}" for n in range(4)]
    (tmp_path / "t.csv").write_text("\n".join(["image,mask,split,group", *lines]))
    with pytest.raises(OptionError, match="column split of .* puts slides of 1 groups on both sides: p0; a score"):
        pairs_of(options(table=str(tmp_path / "t.csv")))


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({}, r"slides are given by images \(a folder\) or by table \(a CSV\), and none is set; set one"),
        ({"images": "a", "table": "b.csv"}, "and both are set; set one"),
        ({"masks": "a", "table": "b.csv"}, "masks are given by the table"),
        ({"images": "a", "fold": 2}, "fold must be one of 1 to folds, got fold 2 of folds None"),
        ({"images": "a", "folds": 2, "valid_slides": ["x"]}, "both split the slides"),
    ],
)
def test_options_that_contradict_each_other(values: dict, text: str) -> None:
    """In one line with the cure."""
    with pytest.raises(OptionError, match=text):
        options(**values)


def test_all_folds_are_trained(slides: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    """A folder for each, and one JSON object with the scores of all."""
    words = [*one_folder(slides, tmp_path / "data"), *TINY, "--level", 1, "--folds", 2]
    code = call("train", *words, "--out", tmp_path / "out", "--json", monkeypatch=monkeypatch)
    out, err = capsys.readouterr()
    assert code == 0, err
    found = json.loads(out)
    reports = [json.loads((tmp_path / "out" / f"fold-{n}" / "report.json").read_text()) for n in (1, 2)]
    assert [report["dice"]["nucleus"] for report in reports] == found["dice"]["nucleus"]["folds"]
    assert reports[0]["valid"] == reports[1]["train"] and reports[0]["train"] == reports[1]["valid"]


def test_scores_of_folds() -> None:
    """Folds without the class have no score."""
    found = summarize([{"a": 0.5, "b": None}, {"a": 0.7, "b": None}])["dice"]
    assert found["a"]["mean"] == pytest.approx(0.6) and found["a"]["sd"] == pytest.approx(0.1)
    assert found["b"] == {"folds": [None, None], "mean": None, "sd": None}


def test_a_class_that_no_mask_holds_is_named_before_training(slides: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    """On stderr and in the report; few batches are not blamed."""
    words = [*one_folder(slides, tmp_path / "data"), *TINY, "--level", 1, "--codes", "background,nucleus,vessel"]
    code = call("train", *words, "--out", tmp_path / "out", "--json", monkeypatch=monkeypatch)
    out, err = capsys.readouterr()
    assert code == 0, err
    text = 'no mask of the 1 training slides holds "vessel"'
    assert text in err.splitlines()[0] and text in json.loads(out)["remarks"][0]
    assert not [remark for remark in json.loads(out)["remarks"][1:] if "vessel" in remark]


@pytest.mark.parametrize("arch", ["vit_b_16", "inception_v3", "googlenet"])
def test_an_encoder_without_stages_is_refused(arch: str) -> None:
    """Before any data is read."""
    from patchaug.fastai2.encoders import architecture

    with pytest.raises(OptionError, match=f"{arch} cannot be the encoder of a U-Net: .*; take .small."):
        architecture(arch)
    assert callable(architecture("resnet18"))
