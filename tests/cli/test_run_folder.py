"""A run has a folder of its own: never a user's, never that of another run, and locked while the run is alive."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from patchaug.cli.run_folder import MARK, RunFolder
from patchaug.core.atomic import write_text
from patchaug.errors import MissingError, OptionError, PatchaugError, WriteError

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no locks of this kind")


def finished(out: Path) -> Path:
    """The folder of a run that has ended, with a report."""
    folder = RunFolder.claim(out)
    write_text(folder.path / "report.json", "{}", "report")
    folder.close()
    return folder.path


def test_runs_are_numbered(tmp_path: Path) -> None:
    """A finished run and a running one keep their folders; a folder in between that is free is used."""
    out = tmp_path / "run"
    assert finished(out) == out and finished(out) == tmp_path / "run-2"
    alive = RunFolder.claim(out)
    other = RunFolder.claim(out)
    assert [alive.path.name, other.path.name] == ["run-3", "run-4"]
    other.close()  # nothing was written
    assert not (tmp_path / "run-4").exists()
    alive.close()
    assert RunFolder.claim(out).path.name == "run-3"


def test_an_empty_folder_is_used_and_stays(tmp_path: Path) -> None:
    """Made by the user; a run that fails before it has written leaves it empty."""
    (tmp_path / "a").mkdir()
    folder = RunFolder.claim(tmp_path / "a")
    assert folder.path == tmp_path / "a"
    folder.close()
    assert list(tmp_path.rglob("*")) == [tmp_path / "a"]


def test_overwrite_takes_the_folder_of_an_ended_run_and_removes_its_results_only(tmp_path: Path) -> None:
    """Files of the user stay; a result that the user has changed is an error, and nothing is removed."""
    out = finished(tmp_path / "run")
    (out / "notes.txt").write_text("mine")
    (out / "history.csv").write_text("epoch,train_loss\n")
    folder = RunFolder.claim(out, overwrite=True)
    assert folder.path == out
    assert (out / "report.json").exists()
    folder.remove_results()
    assert sorted(path.name for path in out.iterdir()) == [MARK, "notes.txt"]
    folder.close()
    for name in ("model.pkl", "history.csv", "windows.png"):
        (out / name).write_text("mine")
        with pytest.raises(WriteError, match=f"{name} exists, and patchaug did not write it"):
            RunFolder.claim(out, overwrite=True)
        assert (out / name).read_text() == "mine"
        (out / name).unlink()


def test_a_running_run_is_not_overwritten_and_its_end_releases_it(tmp_path: Path) -> None:
    """Also when it is killed; forked children do not hold the lock."""
    script = f"""
import os, sys, time
from patchaug.cli.run_folder import RunFolder
folder = RunFolder.claim({str(tmp_path / "run")!r})
child = os.fork()
if not child:
    print(os.getpid(), flush=True)
    time.sleep(60)
    os._exit(0)
time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        with pytest.raises(WriteError, match="run: a run is going on in it; wait for it, end it, or choose"):
            RunFolder.claim(tmp_path / "run", overwrite=True)
        with pytest.raises(WriteError, match="a run is going on in it; wait for it or end it before --resume"):
            RunFolder.reopen(tmp_path / "run")
        assert RunFolder.claim(tmp_path / "run").path.name == "run-2"
    finally:
        process.kill()
        process.wait()
    folder = RunFolder.claim(tmp_path / "run", overwrite=True)  # while the child is alive
    assert folder.path == tmp_path / "run"
    subprocess.run(["kill", str(child)], check=False)


@pytest.mark.parametrize(
    ("out", "text"),
    [
        ("", "--out needs the name of a folder"),
        (".", "--out needs the name of a folder"),
        ("mine", "mine holds files that no run of patchaug wrote; name a new folder, such as mine/run"),
        ("file", "file is a file; choose another name for the folder of results"),
        ("file/run", "is a file; choose another folder for the results"),
        ("file/a/run", "a part of the path is a file; choose another folder for the results"),
        ("/proc/self/run", "run cannot be made: .*; choose a folder that you can write to"),
    ],
)
def test_folders_that_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str, text: str) -> None:
    """One line, also with --overwrite, and nothing changes."""
    monkeypatch.chdir(tmp_path)
    Path("mine").mkdir()
    Path("mine/model.pkl").write_text("mine")
    Path("file").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    for overwrite in (False, True):
        with pytest.raises(PatchaugError, match=text):
            RunFolder.claim(out, overwrite=overwrite)
    assert sorted(tmp_path.rglob("*")) == before
    assert Path("mine/model.pkl").read_text() == Path("file").read_text() == "mine"


def test_resume_finds_the_latest_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By number, not by name; what cannot go on says why."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MissingError, match="there is no run in patchaug-run to resume; name its folder with --out"):
        RunFolder.reopen(None)
    for _ in range(10):
        finished(Path("patchaug-run"))
    with pytest.raises(OptionError, match="the run in patchaug-run-10 has finished; start another one"):
        RunFolder.reopen(None)
    folder = RunFolder.claim("patchaug-run")
    (folder.path / "options.json").write_text("{}")
    folder.close()
    with pytest.raises(MissingError, match="patchaug-run-11: the run was broken off before its first checkpoint"):
        RunFolder.reopen(None)
    (folder.path / "checkpoint.pt").write_text("")
    RunFolder.reopen(None).close()
    (folder.path / "curves.png").write_text("mine")
    with pytest.raises(WriteError, match=r"curves.png exists, and patchaug did not write it"):
        RunFolder.reopen(None)
    (folder.path / "curves.png").unlink()
    assert RunFolder.reopen(None).path.name == "patchaug-run-11"
