"""One slide is listed once: a DICOM series, a .vms with its pictures, a name however its letters are composed."""

import struct
from pathlib import Path
from unicodedata import normalize

import numpy as np
import pytest
from PIL import Image

from patchaug.readers.dicom_series import series_of
from patchaug.slides.discovery import get_slide_files
from patchaug.slides.pairing import find_masks
from patchaug.slides.slide import id_of


def element(group: int, number: int, kind: bytes, value: bytes) -> bytes:
    value += b"\0" * (len(value) % 2)
    if kind == b"SQ":
        return struct.pack("<HH2sHI", group, number, kind, 0, len(value)) + value
    return struct.pack("<HH2sH", group, number, kind, len(value)) + value


def dicom(series: str, *, implicit: bool = False, referenced: bool = False, undefined: bool = False) -> bytes:
    """The head of a DICOM file; the series that it refers to stands before its own."""
    syntax = b"1.2.840.10008.1.2" + (b"" if implicit else b".1")
    meta = element(2, 0x10, b"UI", syntax)
    if implicit:
        value = series.encode() + b"\0" * (len(series) % 2)
        body = struct.pack("<HHI", 8, 0x60, 2) + b"SM" + struct.pack("<HHI", 0x20, 0xE, len(value)) + value
        return bytes(128) + b"DICM" + meta + body
    body = element(8, 0x60, b"CS", b"SM")
    if referenced:
        inner = element(0x20, 0xE, b"UI", b"9.9.9")
        item = struct.pack("<HHI", 0xFFFE, 0xE000, len(inner)) + inner
        if undefined:
            body += struct.pack("<HH2sHI", 8, 0x1115, b"SQ", 0, 0xFFFFFFFF) + item
            body += struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
        else:
            body += element(8, 0x1115, b"SQ", item)
    return bytes(128) + b"DICM" + meta + body + element(0x20, 0xE, b"UI", series.encode())


@pytest.mark.parametrize(
    "words", [{}, {"implicit": True}, {"referenced": True}, {"referenced": True, "undefined": True}]
)
def test_the_series_of_a_file(tmp_path: Path, words: dict[str, bool]) -> None:
    (tmp_path / "a.dcm").write_bytes(dicom("1.2.34", **words))
    assert series_of(tmp_path / "a.dcm") == "1.2.34"


@pytest.mark.parametrize("data", [b"", b"DICM", bytes(128) + b"DICM", bytes(128) + b"DICM\x08\0", bytes(5000)])
def test_files_without_a_series(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.dcm").write_bytes(data)
    assert series_of(tmp_path / "a.dcm") is None


def test_a_series_is_one_slide(tmp_path: Path) -> None:
    """Three files of one series are its first; other series and other folders are slides of their own."""
    (tmp_path / "b").mkdir()
    for name, series in (("1.dcm", "1.2"), ("2.dcm", "1.2"), ("3.dcm", "1.2"), ("4.dcm", "1.3"), ("b/1.dcm", "1.2")):
        (tmp_path / name).write_bytes(dicom(series))
    (tmp_path / "x.dcm").write_bytes(b"no DICOM")
    names = [file.relative_to(tmp_path).as_posix() for file in get_slide_files(tmp_path)]
    assert names == ["1.dcm", "4.dcm", "b/1.dcm", "x.dcm"]


def test_pictures_of_a_vms_file_are_no_slides(tmp_path: Path) -> None:
    for name in ("a.jpg", "a_map.jpg", "a_macro.jpg", "other.jpg"):
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / name)
    (tmp_path / "a.vms").write_text(
        "[Virtual Microscope Specimen]\nNoLayers=1\nImageFile=a.jpg\nImageFile(1,0)=b.jpg\nMapFile = a_map.jpg\r\n"
        "MacroImage=a_macro.jpg\n"
    )
    assert [file.name for file in get_slide_files(tmp_path)] == ["a.vms", "other.jpg"]


def test_names_match_however_letters_are_composed(tmp_path: Path) -> None:
    """A slide from macOS has its mask, and its windows, on Linux."""
    composed, decomposed = normalize("NFC", "Präparat"), normalize("NFD", "Präparat")
    for folder, name in (("images", decomposed), ("masks", composed)):
        (tmp_path / folder / name).mkdir(parents=True)
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / folder / name / f"{name}.png")
    images = get_slide_files(tmp_path / "images")
    (mask,) = find_masks(images, tmp_path / "masks", root=tmp_path / "images")
    assert mask.parent.parent.name == "masks"
    assert id_of(composed) == id_of(decomposed)
