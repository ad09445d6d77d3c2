"""Careless and hostile input beside files of pixels: folders, tables, options, manifests, pickles."""

from __future__ import annotations

import json
import os
import pickle
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from patchaug import PatchOptions, Window, open_slide
from patchaug.options.files import LARGEST
from patchaug.slides.checksums import compare_manifest
from patchaug.slides.discovery import get_slide_files
from patchaug.slides.pair_table import read_table
from patchaug.slides.pairing import find_masks
from patchaug.testing import coordinate_image, write_pyramid
from tests.hostile import files
from tests.hostile.limits import limited
from tests.hostile.test_table import read_all

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of memory are set through /proc"),
    pytest.mark.filterwarnings("ignore"),
]


def names(folder: Path, **kwargs: Any) -> list[str]:
    """Slides of a folder."""
    return [file.relative_to(folder).as_posix() for file in get_slide_files(folder, **kwargs)]


def test_links_that_go_round_are_not_followed(tmp_path: Path) -> None:
    """G9: fastai's get_image_files finds 41 files where there is one."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    write_pyramid(tmp_path / "a" / "b" / "s.tif", [coordinate_image(32, 32)])
    for place, goal in (("a/b/round", tmp_path), ("a/self", tmp_path / "a" / "self"), ("up", tmp_path / "a"),
                        ("a/b/z.zarr", tmp_path / "a")):  # fmt: skip
        (tmp_path / place).symlink_to(goal)
    assert limited(names, tmp_path) == ("value", ["a/b/s.tif", "a/b/z.zarr"])
    kind, said = limited(read_all, tmp_path / "a/b/z.zarr")
    assert kind == "ReadError" and "a directory without zarr metadata" in said
    kind, said = limited(find_masks, [tmp_path / "a" / "b" / "s.tif"], tmp_path)
    assert kind == "MissingError" and "1 of 1 slides have no mask" in said


def test_slides_are_found_by_name_and_read_by_content(tmp_path: Path) -> None:
    """G10: vendors' suffixes are known, hidden and half-copied files are no slides, a false name is one error."""
    for name in ("a.svs", "b.NDPI", ".hidden.tif", "._c.tif", "c.tif.part", "d.tif~", "e.txt", "f.svs.tmp"):
        (tmp_path / name).write_text("no picture")
    assert limited(names, tmp_path) == ("value", ["a.svs", "b.NDPI"])
    for name in ("a.svs", "b.NDPI"):
        kind, said = limited(read_all, tmp_path / name)
        assert kind == "ReadError" and f"{name}: no reader supports the file" in said, said
    Image.fromarray(coordinate_image(40, 30)).save(tmp_path / "a.svs", format="png")
    assert limited(read_all, tmp_path / "a.svs") == ("value", [(30, 40, 3)])


OPTIONS = {
    "NaN": ('{"size": 8, "foreground": NaN}', "finite number"),
    "infinity": ('{"size": 8, "foreground": -Infinity}', "finite number"),
    "a key twice": ('{"size": 8, "size": 9}', "given twice"),
    "200,000 brackets": ("[" * 200_000, "too many lists"),
    "200,000 objects": ('{"a":' * 200_000, "too many lists"),
    "a number of 5,000 digits": ('{"size": ' + "1" * 5000 + "}", "Exceeds the limit"),
    "a number above all": ('{"size": 8, "per_slide": ' + "1" * 200 + "}", "per_slide"),
    "an unknown key": ('{"size": 8, "__class__": "os.system"}', "there is no option '__class__'"),
    "no UTF-8": (b'{"size": "\xff"}', "utf-8"),
    "another type": ('{"size": {"$ref": "file:///etc/passwd"}}', "size"),
    "more than 1 MB": ('{"size": 8}' + " " * LARGEST, "at most 1048576 bytes"),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_hostile_options_end_in_one_clear_error(name: str, tmp_path: Path) -> None:
    """G12: strict, and small."""
    content, text = OPTIONS[name]
    path = tmp_path / "options.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    kind, said = limited(PatchOptions.from_file, path)
    assert kind == "OptionError" and text in said and "\n" not in said and len(said) < 500, (kind, said)


TABLES: dict[str, tuple[bytes, str]] = {
    "a name of 5,000 letters": (b"image,mask\n" + b"x" * 5000 + b",a\n", "lists 2 files that do not exist"),
    "a null byte": (b"image,mask\na\0b,c\n", "line contains NUL|lists 2 files that do not exist"),
    "no UTF-8": (b"image,mask\n\xff,c\n", "is not text in UTF-8"),
    "an open quote": (b'image,mask\n"a,b\n', "unexpected end of data"),
    "a field of 200,000 letters": (b"image,mask\n" + b"x" * 200_000 + b",a\n", "field larger than field limit"),
    "a column twice": (b"image,mask,image\n", "is given twice"),
    "more fields than columns": (b"image,mask\na,b,c\n", "more fields than columns"),
    "mpp of NaN": (b"image,mask,mpp\na,b,nan\n", "mpp must be"),
    "mpp of 2^63 and more": (b"image,mask,mpp\na,b,1e400\n", "mpp must be"),
    "a negative mpp": (b"image,mask,mpp\na,b,-1\n", "mpp must be"),
    "nothing": (b"", "column 'image' is missing"),
}


@pytest.mark.parametrize("name", TABLES)
def test_hostile_tables_end_in_one_clear_error(name: str, tmp_path: Path) -> None:
    """Found by the fuzzer, or like what it found."""
    content, text = TABLES[name]
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    kind, said = limited(read_table, path, memory=512 << 20, seconds=2)
    assert kind in ("OptionError", "ReadError", "MissingError"), (kind, said)
    assert re.search(text, said)
    assert "table.csv" in said


def test_a_table_is_read_from_a_small_file_alone(tmp_path: Path) -> None:
    """Neither a device, nor 8 GB of nothing."""
    (tmp_path / "zero.csv").symlink_to("/dev/zero")
    assert limited(read_table, tmp_path / "zero.csv")[0] == "MissingError"
    with (tmp_path / "large.csv").open("wb") as file:
        file.truncate(8 << 30)
    kind, said = limited(read_table, tmp_path / "large.csv", memory=512 << 20, seconds=2)
    assert kind == "ReadError"
    assert "at most 64 MiB" in said


def test_options_are_read_from_files_alone(tmp_path: Path) -> None:
    """G12, G7: neither a pipe, nor a device, nor 8 GB of nothing."""
    files.fifo(tmp_path / "pipe.json")
    (tmp_path / "zero.json").symlink_to("/dev/zero")
    with (tmp_path / "large.json").open("wb") as file:
        file.truncate(8 << 30)
    assert limited(PatchOptions.from_file, tmp_path / "pipe.json")[0] == "MissingError"
    assert limited(PatchOptions.from_file, tmp_path / "zero.json")[0] == "MissingError"
    kind, said = limited(PatchOptions.from_file, tmp_path / "large.json")
    assert kind == "OptionError" and "at most 1048576 bytes" in said


@pytest.mark.parametrize("key", ["../secret", "/etc/passwd", "a/../../secret", "pipe", "/dev/zero", "\0", "x" * 5000])
def test_a_manifest_opens_nothing_but_the_slides_asked_for(key: str, tmp_path: Path) -> None:
    """G8: a name that leaves the folder, or waits for ever, is at most looked for; nothing of it is read or told."""
    folder = tmp_path / "run"
    folder.mkdir()
    (tmp_path / "secret").write_text("secret")
    files.fifo(folder / "pipe")
    entry = {"size": 6, "mtime_ns": 1, "crc32": "00000000"}
    (folder / "manifest.json").write_text(json.dumps({"patchaug_manifest": 1, "files": {key: entry}}))
    kind, found = limited(compare_manifest, folder / "manifest.json", [])
    assert kind == "ReadError" or (kind == "value" and set(found.values()) <= {"missing: the manifest names it"}), found


def test_pickles_hold_neither_pixels_nor_more_than_the_path_of_a_slide(tmp_path: Path) -> None:
    """G14: what travels to a worker is a path; what is exported holds none (fastai2/test_predict looks into that)."""
    write_pyramid(tmp_path / "s.tif", [coordinate_image(512, 512)])
    slide = open_slide(tmp_path / "s.tif", ram=1 << 24)
    slide.image.read(whole := Window(0, 0, 512, 512))
    held = pickle.dumps(slide)
    assert len(held) < 2048 and held.count(os.fsencode(tmp_path)) <= 2
    assert np.array_equal(pickle.loads(held).image.read(whole), coordinate_image(512, 512))
    assert b"/" not in pickle.dumps(PatchOptions(64, per_slide=3))
