"""Only files of this program, unchanged, are replaced; and no output goes onto an input."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin

from patchaug.core.atomic import atomic_write, write_text
from patchaug.core.outputs import checked_output
from patchaug.core.signature import is_signed, sign
from patchaug.errors import MissingError, OptionError, PatchaugError, WriteError


def picture(path: Path, content: str = "picture") -> None:
    with atomic_write(path, content) as temporary:
        Image.new("RGB", (40, 30), "teal").save(temporary, format="png")


def page(path: Path, content: str = "page") -> None:
    write_text(path, "<!doctype html>\n<p>windows</p>", content)


def table(path: Path, content: str = "report") -> None:
    write_text(path, json.dumps({"dice": 0.9}, indent=2) + "\n", content)


def empty(path: Path, content: str = "report") -> None:
    write_text(path, "{}", content)


WRITERS = {picture: "picture", page: "page", table: "report", empty: "report"}


@pytest.mark.parametrize("write", WRITERS)
def test_own_files_are_replaced_and_changed_ones_are_not(tmp_path, write):
    """One changed byte anywhere, another content, or a byte more: the file belongs to the user."""
    target = tmp_path / "a"
    write(target)
    whole = target.read_bytes()
    assert is_signed(target, WRITERS[write])
    write(target)
    assert target.read_bytes() == whole  # signed alike
    with pytest.raises(WriteError, match="a exists, and patchaug did not write it as its manifest, or it was changed"):
        write(target, "manifest")
    for place in range(0, len(whole), max(len(whole) // 60, 1)):
        changed = bytes([*whole[:place], whole[place] ^ 1, *whole[place + 1 :]])
        target.write_bytes(changed)
        assert not is_signed(target, WRITERS[write])
        with pytest.raises(WriteError, match="choose another name"):
            write(target)
        assert target.read_bytes() == changed
    target.write_bytes(whole + b" ")
    assert not is_signed(target, WRITERS[write])


def test_signed_files_are_what_they_were(tmp_path):
    """The picture opens, the page ends in a comment, and the object has one member more."""
    picture(tmp_path / "a.png")
    image = Image.open(tmp_path / "a.png")
    image.load()
    assert image.size == (40, 30) and image.text["Comment"].startswith("patchaug picture sha256=")
    page(tmp_path / "a.html")
    assert (tmp_path / "a.html").read_text().startswith("<!doctype html>\n<p>windows</p>\n<!-- patchaug page")
    table(tmp_path / "a.json")
    assert json.loads((tmp_path / "a.json").read_text())["dice"] == 0.9
    empty(tmp_path / "b.json")
    assert list(json.loads((tmp_path / "b.json").read_text())) == ["written_by"]


def test_a_picture_that_another_program_saved_again_is_foreign(tmp_path):
    """Also where that program copies our comment."""
    picture(tmp_path / "a.png")
    image = Image.open(tmp_path / "a.png")
    image.load()
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", image.text["Comment"])
    image.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "a.png", pnginfo=info)
    assert not is_signed(tmp_path / "a.png", "picture")


@pytest.mark.parametrize(
    "content", [b"", b"{", b"{}", b"[1]", b"\x89PNG\r\n", b"PK\x03\x04", b"patchaug", b"<!doctype"]
)
def test_other_files_are_foreign(tmp_path, content):
    """Of all kinds; and signing what only looks like a PNG or an object changes nothing."""
    target = tmp_path / "a"
    target.write_bytes(content)
    assert not is_signed(target, "file")
    with pytest.raises(WriteError, match="patchaug did not write it"):
        write_text(target, "content")
    assert target.read_bytes() == content
    if content in (b"", b"{", b"[1]", b"\x89PNG\r\n", b"PK\x03\x04", b"patchaug"):
        sign(target, "file")
        assert target.read_bytes() == content


def test_links_are_followed_and_devices_refused(tmp_path):
    """A link stays a link; what it names is written, unless it is foreign. A broken link is made whole."""
    table(tmp_path / "a.json")
    (tmp_path / "link.json").symlink_to("a.json")
    table(tmp_path / "link.json")
    assert (tmp_path / "link.json").is_symlink() and is_signed(tmp_path / "a.json", "report")
    (tmp_path / "a.json").write_text("mine")
    with pytest.raises(WriteError):
        table(tmp_path / "link.json")
    assert (tmp_path / "a.json").read_text() == "mine"
    (tmp_path / "broken.json").symlink_to("b.json")
    table(tmp_path / "broken.json")
    assert (tmp_path / "broken.json").is_symlink() and (tmp_path / "b.json").is_file()
    if os.path.exists("/dev/null"):
        with pytest.raises(WriteError, match="is not a regular file"):
            table(Path("/dev/null"))


def test_a_file_that_appears_while_ours_is_written_stays(tmp_path):
    """Between the first check and the rename."""

    def write() -> None:
        with atomic_write(tmp_path / "a") as temporary:
            temporary.write_text("ours")
            (tmp_path / "a").write_text("mine")

    with pytest.raises(WriteError, match="did not write it"):
        write()
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_text() == "mine"


@pytest.mark.parametrize(
    ("name", "kind", "text"),
    [
        ("", OptionError, "the path of the picture is empty; name a .png file"),
        ("view.jpg", OptionError, "a picture is written as .png, got '.jpg'; take view.png"),
        ("view", OptionError, "a picture is written as .png, got 'no suffix'; take view.png"),
        ("no/view.png", MissingError, "there is no folder no to save the picture in; make it first"),
        ("file/view.png", WriteError, "file is a file; choose a folder to save the picture in"),
        ("folder.png", WriteError, "folder.png is an existing folder"),
        ("mine.png", WriteError, "mine.png exists, and patchaug did not write it"),
        ("in.png", WriteError, "in.png is an input of this command; choose another name for the picture"),
        ("folder.png/../in.png", WriteError, "in.png is an input of this command"),
        ("hard.png", WriteError, "hard.png is an input of this command"),
        ("soft.png", WriteError, "soft.png is an input of this command"),
        ("s.zarr/0/view.png", WriteError, "is inside the input s.zarr; choose another folder"),
    ],
)
def test_outputs_are_checked_before_the_work(tmp_path, monkeypatch, name, kind, text):
    """Each in one line with a cure."""
    monkeypatch.chdir(tmp_path)
    picture(Path("in.png"))  # ours, but read
    os.link("in.png", "hard.png")
    Path("soft.png").symlink_to("in.png")
    Path("file").write_text("a")
    Path("mine.png").write_text("a")
    Path("folder.png").mkdir()
    Path("s.zarr/0").mkdir(parents=True)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(kind, match=text) as raised:
        checked_output(name, "picture", [".png"], inputs=["in.png", "s.zarr", None, 3])
    assert isinstance(raised.value, PatchaugError) and "\n" not in str(raised.value)
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


def test_a_read_only_folder_is_named_before_the_work(tmp_path, monkeypatch):
    """Root may write anywhere, so the system's answer is a double."""
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(WriteError, match="the folder is read-only; choose a folder that you can write to"):
        checked_output(tmp_path / "a.png", "picture", [".png"])
