"""What is written atomically is there whole or not at all, and nothing else lies beside it."""

from __future__ import annotations

import errno
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchaug.core import atomic
from patchaug.core.atomic import atomic_write, write_text
from patchaug.errors import MissingError, ReadError, WriteError

ROOT = Path(__file__).resolve().parents[2]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def fill(path: Path, folder: bool, content: bytes) -> None:
    """Write a file, or a folder with files on two floors."""
    if folder:
        (path / "inner").mkdir(parents=True)
        (path / "a").write_bytes(content)
        path = path / "inner" / "b"
    path.write_bytes(content)


def anything(target: Path) -> bool:
    """Let any file be replaced; which files are, is tested in test_outputs.py."""
    return True


def fill_and_fail(target: Path, folder: bool, failure: BaseException) -> None:
    with atomic_write(target, replace=anything) as temporary:
        fill(temporary, folder, b"half")
        raise failure


@given(
    content=st.binary(max_size=100).map(b"plain ".__add__),
    folder=st.booleans(),
    name=st.sampled_from(["a", "b.tiff", ".c", "d e.ome.zarr"]),
)
def test_the_target_appears_whole(tmp_path_factory, content, folder, name):
    """Under its own name, also while it is written; before the end of the block the target does not exist."""
    place = tmp_path_factory.mktemp("atomic")
    with atomic_write(place / name) as temporary:
        fill(temporary, folder, content)
        assert temporary.name == name
        assert not (place / name).exists()
    assert names(place) == [name]
    assert (place / name / "inner/b" if folder else place / name).read_bytes() == content


@pytest.mark.parametrize("before", [None, b"before"])
@pytest.mark.parametrize("folder", [False, True])
@pytest.mark.parametrize("failure", [ValueError("no"), OSError("no"), ReadError("no"), KeyboardInterrupt()])
def test_a_failure_leaves_everything_as_it_was(tmp_path, before, folder, failure):
    """Whatever fails half-way: the same exception, the same target, nothing beside it."""
    target = tmp_path / "target"
    if before is not None:
        target.write_bytes(before)
    with pytest.raises(type(failure)) as raised:
        fill_and_fail(target, folder, failure)
    assert raised.value is failure
    assert names(tmp_path) == ([] if before is None else ["target"])
    assert before is None or target.read_bytes() == before


@pytest.mark.parametrize("before", [True, False])
def test_a_folder_that_is_removed_meanwhile_is_named(tmp_path, before):
    """Before the content is written, and after it: one error, and the folder is not made again."""
    folder = tmp_path / "run"
    folder.mkdir()

    def write_meanwhile() -> None:
        with atomic_write(folder / "a.txt", "report") as temporary:
            if not before:
                temporary.write_text("whole")
            shutil.rmtree(folder)
            if before:
                temporary.write_text("whole")

    with pytest.raises(MissingError, match=r"run/a.txt: its folder was removed while the report was written"):
        write_meanwhile()
    assert not folder.exists()


def test_a_full_disk_behind_an_error_of_a_library_is_one_error(tmp_path):
    """As safetensors raises it; other errors stay as they are."""
    hidden = ValueError("Error while serializing: I/O error: No space left on device (os error 28)")
    with pytest.raises(WriteError, match="a cannot be written: No space left on device; free some space"):
        fill_and_fail(tmp_path / "a", False, hidden)
    assert names(tmp_path) == []


def test_a_folder_that_is_removed_behind_an_error_of_a_library_is_one_error(tmp_path):
    """As safetensors raises it, which writes a file of its own beside the temporary one."""
    (tmp_path / "run").mkdir()

    def write_meanwhile() -> None:
        with atomic_write(tmp_path / "run" / "a", "model"):
            shutil.rmtree(tmp_path / "run")
            raise ValueError("Error while serializing: I/O error: No such file or directory (os error 2) at path ...")

    with pytest.raises(MissingError, match="its folder was removed while the model was written"):
        write_meanwhile()


@pytest.mark.parametrize("call", ["os.replace", "os.fsync"])
def test_a_failure_at_the_end_leaves_everything_as_it_was(tmp_path, monkeypatch, call):
    """A disk that fails when the content is written out, or renamed."""

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    write_text(tmp_path / "a", "before")
    monkeypatch.setattr(call, full)
    with pytest.raises(WriteError, match="a cannot be written: No space left on device; free some space"):
        write_text(tmp_path / "a", "after", replace=anything)
    assert names(tmp_path) == ["a"]
    assert (tmp_path / "a").read_text() == "before"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
def test_a_full_disk_is_reported(tmp_path):
    """As the system reports it, in one error with a cure."""
    with (
        pytest.raises(WriteError, match=r"a cannot be written: No space left on device; free some space, or"),
        atomic_write(tmp_path / "a"),
        open("/dev/full", "wb") as file,
    ):
        file.write(b"content")
    assert names(tmp_path) == []


def test_a_disk_that_is_full_for_torch_is_reported(tmp_path):
    """torch.save raises RuntimeError where the disk is full; other RuntimeErrors pass."""
    with pytest.raises(
        WriteError, match="a cannot be written: No space left on device, or the file is too large; free"
    ):
        fill_and_fail(tmp_path / "a", False, RuntimeError("[enforce fail at inline_container.cc:671] . unexpected pos"))
    with pytest.raises(RuntimeError, match="other"):
        fill_and_fail(tmp_path / "a", False, RuntimeError("other"))
    assert names(tmp_path) == []


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="no folder that cannot be written to")
def test_a_folder_that_cannot_be_written_to_is_reported():
    """Before the block begins: hours of work are not lost."""
    with pytest.raises(WriteError, match=r"^/proc/self/a cannot be written: .*; choose another folder"):
        write_text("/proc/self/a", "content")


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_a_read_only_disk_is_reported(tmp_path, monkeypatch, number):
    """Before the block begins."""

    def refuse(*args):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("tempfile.mkdtemp", refuse)
    with pytest.raises(WriteError, match=f"a cannot be written: {os.strerror(number)}; choose a folder that you can"):
        write_text(tmp_path / "a", "content")


def test_errors_of_other_files_pass(tmp_path):
    """An input that may not be read is not an output that cannot be written."""
    other = PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "input"))
    with pytest.raises(PermissionError) as raised:
        fill_and_fail(tmp_path / "a", False, other)
    assert raised.value is other


def test_targets_that_cannot_be(tmp_path):
    """No parent folder; a folder of that name."""
    with pytest.raises(MissingError, match=r"there is no folder .*no to save the report in; make it first"):
        write_text(tmp_path / "no" / "a", "content", "report")
    (tmp_path / "a").mkdir()
    with pytest.raises(WriteError, match=r"a is an existing folder; choose another name for the report"):
        write_text(tmp_path / "a", "content", "report")
    assert names(tmp_path) == ["a"]


def test_a_killed_process_leaves_no_target_and_the_next_write_nothing_at_all(tmp_path):
    """A kill leaves a hidden folder, which the next write of the same name removes; a living process keeps its own."""
    script = f"""
import sys, time
from patchaug.core.atomic import atomic_write
with atomic_write({str(tmp_path / "a")!r}, replace=lambda path: True) as temporary:
    temporary.write_text("half")
    print("half", flush=True)
    sys.stdin.readline()
    temporary.write_text("whole")
"""

    def start():
        child = subprocess.Popen(
            [sys.executable, "-c", script], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert child.stdout.readline() == "half\n"
        return child

    killed, living = start(), start()
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert [name.endswith(".part") and name.startswith(".a.") for name in names(tmp_path)] == [True, True]
    write_text(tmp_path / "a", "first")
    assert (tmp_path / "a").read_text() == "first"
    assert len(names(tmp_path)) == (2 if atomic.fcntl else 3)
    living.communicate("\n")
    assert living.returncode == 0
    assert (tmp_path / "a").read_text() == "whole"
    assert not atomic.fcntl or names(tmp_path) == ["a"]


def _write_often(target: Path, letter: str) -> None:
    for _ in range(20):
        write_text(target, letter * 100_000, replace=anything)


def test_many_writers_of_one_name(tmp_path):
    """Each reader sees the whole text of one of them."""
    target = tmp_path / "a"
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    writers = [context.Process(target=_write_often, args=(target, letter)) for letter in "ab"]
    writers += [threading.Thread(target=_write_often, args=(target, letter)) for letter in "cd"]
    for writer in writers:
        writer.start()
    seen = set()
    while any(writer.is_alive() for writer in writers):
        if target.exists():
            seen.add(target.read_text())
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers[:2]] == [0, 0]
    assert seen <= {letter * 100_000 for letter in "abcd"}
    assert names(tmp_path) == ["a"]
