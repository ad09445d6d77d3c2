"""`patchaug evaluate` as a user meets it: report, table, page, pages of the slides, and what a wrong word leads to."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import sys
from contextlib import redirect_stdout

import numpy as np
import pytest
import tifffile

from patchaug import Window, open_slide
from patchaug.cli import main
from patchaug.fastai2.model_folder import load_model

from .test_cli_predict import patchaug as patchaug
from .test_cli_predict import run_folder as run_folder


@pytest.fixture(scope="module")
def evaluated(run_folder, tmp_path_factory):
    """Two slides beside their masks, evaluated."""
    out = tmp_path_factory.mktemp("evaluated") / "out"
    words = ["evaluate", "model", "--images", "slides", "--objects", "nucleus", "--out", out, "--blend", "crop",
             "--worst", 5, "--device", "cpu", "--json"]  # fmt: skip
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(printed):
        patch.chdir(run_folder)
        patch.setattr(sys, "argv", ["patchaug", *map(str, words)])
        with pytest.raises(SystemExit) as stopped:
            main()
    assert not stopped.value.code
    return out, json.loads(printed.getvalue())


def test_the_report_is_that_of_the_maps(run_folder, evaluated):
    """Dice and confusion are those of the model's map and the mask, counted by hand."""
    out, printed = evaluated
    report = json.loads((out / "report.json").read_text())
    assert {name: value for name, value in report.items() if name != "written_by"} == {
        name: value for name, value in printed.items() if name != "out"
    }
    learn = load_model(run_folder / "model")
    confusion = np.zeros((2, 2), int)
    for entry in report["slides"]:
        image = run_folder / "slides" / entry["slide"]
        truth = open_slide(image, image.with_name(f"{image.stem}_mask.tiff")).read_mask(Window(0, 0, 128, 128, 1))
        guess = learn.predict_slide(image)
        found = np.array([[((truth == t) & (guess == g)).sum() for g in (0, 1)] for t in (0, 1)])
        assert found.tolist() == entry["confusion"] and entry["level"] == 1 and entry["mpp"] == [2, 2]
        confusion += found
    dice = 2 * confusion[1, 1] / (confusion[1].sum() + confusion[:, 1].sum())
    scores = report["overall"]["scores"]["nucleus"]
    assert scores["dice"] == pytest.approx(dice) and scores["objects_f1"] is not None
    assert report["overall"]["scores"]["background"]["objects_f1"] is None
    low, high = report["overall"]["intervals"]["nucleus"]["dice"]
    each = [entry["scores"]["nucleus"]["dice"] for entry in report["slides"]]
    assert min(each) <= low <= high <= max(each) and report["tolerance_um"] == 2
    rows = list(csv.DictReader((out / "slides.csv").open()))
    assert [(row["slide"], row["class"]) for row in rows] == [
        (slide, code) for slide in ("s0.tiff", "s1.tiff", "all") for code in ("background", "nucleus")
    ]
    assert float(rows[-1]["dice"]) == pytest.approx(dice, abs=1e-5)


def test_the_page_links_to_places_in_the_slides(evaluated):
    """One file; five windows, worst first, each with three pictures and a link to a page that exists."""
    out, report = evaluated
    text = (out / "report.html").read_text()
    assert not re.findall(r'(?:src|href)="(?!data:|pages/)', text)
    links = re.findall(r'<a href="(pages/[^"#]+)#([^"]+)">show in the slide', text)
    every = sorted((w["wrong"] for slide in report["slides"] for w in slide["worst"]), reverse=True)
    captions = [int(n.replace(",", "")) for n in re.findall(r": ([\d,]+) of [\d,]+ labelled pixels are wrong", text)]
    assert captions == every[:5] and len(links) == 5 and text.count("<img ") == 15
    for file, place in links:
        assert (out / file).is_file()
        assert re.fullmatch(r"x=\d+&amp;y=\d+&amp;width=256&amp;height=256", place)  # 64 px of level 1
    page = (out / links[0][0]).read_text()
    assert '"predicted classes"' in page and '"wrong pixels"' in page


def test_a_bad_slide_is_reported_and_the_others_count(run_folder, tmp_path, patchaug):
    """Exit code 1, one line, and the slide is named in report and page."""
    shutil.copytree(run_folder / "slides", tmp_path / "data")
    tifffile.imwrite(tmp_path / "data" / "s1_mask.tiff", np.zeros((512, 500), np.uint8), tile=(64, 64))
    out = tmp_path / "out"
    words = ["evaluate", run_folder, "--images", tmp_path / "data", "--out", out, "--device", "cpu", "--no-pages",
             "--tolerance", 0]  # fmt: skip
    done = patchaug(*words)
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "s1.tiff" in done.stderr
    assert re.search(r"nucleus: Dice \d", done.stdout) and "results of 1 slides are in" in done.stdout
    report = json.loads((out / "report.json").read_text())
    assert list(report["failed"]) == ["s1.tiff"] and "s1.tiff was not evaluated" in (out / "report.html").read_text()
    assert "boundary_f1" not in report["overall"]["scores"]["nucleus"] and not (out / "pages").exists()
    assert report["overall"]["intervals"]["nucleus"]["dice"] is None  # of one slide
    again = patchaug(*words)  # its own results are replaced
    assert again.returncode == 1 and "results of 1 slides" in again.stdout
    (out / "notes.txt").write_text("mine")
    assert "holds files of another kind, such as notes.txt" in patchaug(*words).stderr


def digests(folder) -> dict[str, bytes]:
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*.*") if file.is_file()}


def test_shards_write_the_same_report(run_folder, evaluated, tmp_path, patchaug, monkeypatch):
    """The last one writes it; a shard without slides too; one that was broken off goes on from its last slide."""
    monkeypatch.chdir(run_folder)
    words = ["evaluate", "model", "--images", "slides", "--objects", "nucleus", "--out", tmp_path / "out", "--blend",
             "crop", "--worst", 5, "--device", "cpu"]  # fmt: skip
    second = patchaug(*words, "--shard", "1/3")
    assert second.returncode == 0
    assert second.stdout == "the slides of shard 1/3 are evaluated; 1 slides of other shards are missing\n"
    refused = patchaug(*words, "--shard", "0/3", "--overlap", 0)
    assert refused.returncode == 1 and "shard 1/3 was started with another value of options" in refused.stderr
    with monkeypatch.context() as patch:
        patch.setattr("patchaug.cli.evaluation_run.write_evaluation_page", lambda *_, **__: 1 / 0)
        patch.setattr(sys, "argv", ["patchaug", *map(str, words), "--shard", "0/3"])
        with pytest.raises(ZeroDivisionError):
            main()
    with monkeypatch.context() as patch:
        patch.setattr("patchaug.cli.evaluation_run.evaluate_slide", None)  # all slides are done
        last = patchaug(*words, "--shard", "2/3")
    assert last.returncode == 0 and re.search(r"nucleus: Dice \d", last.stdout)
    expected, found = digests(evaluated[0]), digests(tmp_path / "out")
    hidden = {name for name in found if name.startswith(".patchaug-evaluate/")}
    assert {name: found[name] for name in found if name not in hidden} == expected
    assert not any(name.endswith(".json") and "shards" not in name for name in hidden)
    shutil.rmtree(tmp_path / "out")
    with monkeypatch.context() as patch:
        patch.setattr("patchaug.cli.evaluation_run.write_evaluation_page", lambda *_, **__: 1 / 0)
        patch.setattr(sys, "argv", ["patchaug", *map(str, words)])
        with pytest.raises(ZeroDivisionError):
            main()
        patch.undo()
        patch.chdir(run_folder)
        patch.setattr("patchaug.cli.evaluation_run.evaluate_slide", None)
        assert patchaug(*words, "--resume").returncode == 0
    assert digests(tmp_path / "out") == expected


@pytest.mark.parametrize(
    ("change", "code", "text"),
    [
        ({"--images": "nothing"}, 1, "there is no folder nothing"),
        ({"--images": None}, 2, "slides are given by images .a folder. or by table"),
        (
            {"--codes": "background,tumour"},
            2,
            "the model has the classes background, nucleus, and the mask",
        ),
        ({"--objects": "tumour"}, 2, "objects are of the classes background, nucleus, got 'tumour'"),
        ({"--tolerance": "-1"}, 2, "--tolerance must be 0 or more"),
        ({"--split": "test"}, 2, "the slides have no splits; leave it out"),
        ({"--overlap": "half"}, 2, "--overlap must be pixels or a share"),
    ],
    ids=lambda value: str(value)[:25],
)
def test_a_wrong_word_is_one_line(run_folder, tmp_path, patchaug, monkeypatch, change, code, text):
    monkeypatch.chdir(run_folder)
    flags = {"--images": "slides", "--out": tmp_path / "out", "--device": "cpu"} | change
    done = patchaug("evaluate", "model", *(word for flag in flags.items() if flag[1] is not None for word in flag))
    assert done.returncode == code, done
    assert done.stderr.count("\n") == 1 and re.search(text, done.stderr), done.stderr


def test_a_table_with_splits_asks_which(run_folder, tmp_path, patchaug):
    """Scores on training slides would be too good."""
    rows = [
        "image,mask,split",
        *(f"{name}.tiff,{name}_mask.tiff,{split}" for name, split in (("s0", "train"), ("s1", "test"))),
    ]
    table = run_folder / "slides" / "table.csv"
    table.write_text("\n".join(rows) + "\n")
    words = ["evaluate", run_folder / "model.pkl", "--table", table, "--out", tmp_path / "out", "--device", "cpu"]
    asked = patchaug(*words)
    assert asked.returncode == 2 and "has the splits test, train" in asked.stderr and "--split test" in asked.stderr
    done = patchaug(*words, "--split", "test", "--json")
    assert [slide["slide"] for slide in json.loads(done.stdout)["slides"]] == ["s1.tiff"]
    assert "no row of the table has it" in patchaug(*words, "--split", "valid").stderr
    table.unlink()
