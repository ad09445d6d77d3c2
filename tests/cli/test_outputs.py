"""No command writes over a file that it did not write: its inputs, folders, files of the user."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import pytest

from patchaug import PatchOptions, Plan, Uniform, open_slide
from patchaug.cli import app, main
from patchaug.errors import PatchaugError
from patchaug.testing.synthetic_slides import write_slide
from patchaug.viz import show_coverage, show_density, show_windows
from patchaug.viz.web_page import write_page

SLIDE = ["s.tiff", "--mask", "s_mask.tiff", "--size", "64"]
COMMANDS = {
    "show": ["show", *SLIDE, "--out"],
    "show what": ["show", *SLIDE, "--what", "density", "--out"],
    "show html": ["show", *SLIDE, "--html", "--out"],
    "show index": ["show", *SLIDE, "--index", "3", "--out"],
    "show options": ["show", *SLIDE, "--options", "options.json", "--out"],
    "show png": ["show", "ours.png", "--size", "64", "--out"],
    "check": ["check", "s.tiff", "--write-manifest"],
    "check manifest": ["check", "s.tiff", "--manifest", "manifest.json", "--write-manifest"],
    "check folder": ["check", ".", "--masks", "masks", "--write-manifest"],
}
DATA = ["--images", "data/images", "--masks", "data/masks", "--codes", "a,b", "--size", "64", "--level", "1"]
RUNS = {
    "train": ["train", *DATA, "--out"],
    "train options": ["train", "--options", "run.json", "--out"],
    "train table": ["train", "--table", "table.csv", "--codes", "a,b", "--out"],
    "train folds": ["train", *DATA, "--folds", "2", "--out"],
    "train overwrite": ["train", *DATA, "--overwrite", "--out"],
    "train resume": ["train", "--resume", "--out"],
    "advise": ["advise", *DATA[:-4], "--minutes", "0", "--out"],
    "demo": ["demo", "--slide-size", "1024", "--out"],
    "demo overwrite": ["demo", "--slide-size", "1024", "--overwrite", "--out"],
}
OTHER_FLAGS = {
    "--outside",
    "--model-output",
    "--overwrite",
    "--log",
    "--log-level",
}  # logs lie in the folder of the run
OF_MODELS = {"predict", "evaluate"}  # tests/fastai2/test_model_outputs.py
WITHOUT_OUTPUT = {"bench", "stats", "schema"}
INPUTS = ["s.tiff", "s_mask.tiff", "options.json"]
TARGETS = [
    *INPUTS, "", ".", "folder", "folder.png", "folder.json", "folder.html", "mine.png", "mine.json", "mine.html",
    "mine",     "mine.txt", "no/a.png", "no/a.json", "no/a.html", "mine.txt/a.png", "s.tiff/a.json",
]  # fmt: skip


def contents(root: Path) -> dict[str, str]:
    """{path: hash} of all files below a folder, and its folders."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        for path in root.rglob("*")
    }


# Folders that hold files, inputs, files of the user, and names below files.
RUN_TARGETS = [
    "", ".", "data", "data/images", "data/masks", "data/images/a.tiff", "data/masks/a_mask.tiff", "run.json",
    "table.csv", "mine", "mine.json", "mine/run", "mine.txt/a/run", "full",
]  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A slide with mask and options, files and folders of the user, and a manifest and a picture of ours."""
    root = tmp_path_factory.mktemp("outputs")
    write_slide(root, "s", size=512, seed=1)  # hashed before and after each command
    PatchOptions(64).save(root / "options.json")
    for name in ("mine.png", "mine.json", "mine.html", "mine", "mine.txt"):
        (root / name).write_text("the user's")
    for name in ("folder", "folder.png", "folder.json", "folder.html"):
        (root / name).mkdir()
    show_windows(open_slide(root / "s.tiff"), Uniform(64), out=root / "ours.png")
    (root / "full").mkdir()
    for name in ("model.pkl", "checkpoint.pt", "history.csv", "report.json"):
        (root / "full" / name).write_text("the user's")
    rows = ["image,mask"]
    for name in "abc":
        image, mask = root / "data" / "images" / f"{name}.tiff", root / "data" / "masks" / f"{name}_mask.tiff"
        for path, source in ((image, "s.tiff"), (mask, "s_mask.tiff")):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes((root / source).read_bytes())
        rows.append(f"data/images/{name}.tiff,data/masks/{name}_mask.tiff")
    (root / "table.csv").write_text("\n".join(rows))
    run = {"images": str(root / "data" / "images"), "masks": str(root / "data" / "masks"), "codes": ["a", "b"]}
    (root / "run.json").write_text(json.dumps(run | {"size": 64, "level": 1}))
    return root


def ends_in_one_line(words: list[str], root: Path, monkeypatch, capsys) -> str:
    """The line; nothing has changed."""
    before = contents(root)
    monkeypatch.chdir(root)
    monkeypatch.setattr(sys, "argv", ["patchaug", *words])
    with pytest.raises(SystemExit) as stopped:
        main()
    out, err = capsys.readouterr()
    assert stopped.value.code in (1, 2) and out == "" and err.count("\n") == 1, (words, err)
    assert contents(root) == before, words
    return err


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in ("show png", "check manifest")])
def test_outputs_are_refused(name: str, target: str, root: Path, monkeypatch, capsys) -> None:
    """In one line, before anything is read, and nothing changes."""
    ends_in_one_line([*COMMANDS[name], target], root, monkeypatch, capsys)


def test_every_command_is_here() -> None:
    """A command that is added writes nothing, or has its outputs in these tables; so has an option."""
    from typer.main import get_command

    commands = get_command(app).commands  # type: ignore[attr-defined]
    tested = {words[0] for words in (*COMMANDS.values(), *RUNS.values())}
    assert set(commands) == tested | WITHOUT_OUTPUT | OF_MODELS
    outputs = {
        (name, flag)
        for name, command in commands.items()
        for one in command.params
        for flag in one.opts
        if any(word in flag for word in ("out", "write", "save", "log", "export")) and flag not in OTHER_FLAGS
    }
    outputs -= {(name, "--out") for name in OF_MODELS}
    assert outputs == {(words[0], words[-1]) for words in (*COMMANDS.values(), *RUNS.values())}


@pytest.mark.parametrize("target", RUN_TARGETS)
@pytest.mark.parametrize("name", RUNS)
def test_folders_of_runs_are_refused(name: str, target: str, root: Path, monkeypatch, capsys) -> None:
    """In one line, before the training; nothing changes."""
    ends_in_one_line([*RUNS[name], target], root, monkeypatch, capsys)


def test_own_files_that_are_inputs_are_refused(root: Path, monkeypatch, capsys) -> None:
    """A picture shown as a slide, and a manifest that is compared."""
    monkeypatch.chdir(root)
    monkeypatch.setattr(sys, "argv", ["patchaug", "check", "s.tiff", "--write-manifest", "manifest.json"])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code in (0, None), capsys.readouterr()
    capsys.readouterr()
    for name, target in (("show png", "ours.png"), ("check manifest", "manifest.json")):
        assert "is an input of this command" in ends_in_one_line([*COMMANDS[name], target], root, monkeypatch, capsys)


def test_functions_refuse_too(root: Path) -> None:
    """Pictures, pages and options written from Python."""
    slide = open_slide(root / "s.tiff", root / "s_mask.tiff")
    plan = Plan([slide], Uniform(64))
    before = contents(root)
    for target in (root / name for name in TARGETS if name):
        for write in (show_windows, show_density, show_coverage):
            with pytest.raises(PatchaugError):
                write(slide, Uniform(64), out=target)
        with pytest.raises(PatchaugError):
            write_page(plan, target)
        if target.name != "options.json":
            with pytest.raises(PatchaugError):
                PatchOptions(64).save(target)
    (root / "x_mask.tiff").write_text("the user's")
    with pytest.raises(PatchaugError, match="did not write it"):
        write_slide(root, "x", size=1024)
    assert (root / "x_mask.tiff").read_text() == "the user's" and not (root / "x.tiff").exists()
    (root / "x_mask.tiff").unlink()
    assert contents(root) == before


def test_options_that_were_edited_are_the_users(tmp_path: Path) -> None:
    """Saved twice they are replaced; a changed value stays; the signature is not an option."""
    file = tmp_path / "options.json"
    PatchOptions(64).save(file)
    PatchOptions(96).save(file)
    assert PatchOptions.from_file(file).size == 96
    file.write_text(file.read_text().replace("96", "128"))
    assert PatchOptions.from_file(file).size == 128
    with pytest.raises(PatchaugError, match="did not write it as its options"):
        PatchOptions(64).save(file)
    assert json.loads(file.read_text())["size"] == 128
