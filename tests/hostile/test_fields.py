"""Header fields that lie: each field of a TIFF times each kind of lie ends in pixels or one error, soon and small."""

from __future__ import annotations

import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from patchaug import PatchaugError, ReadError, Window, open_slide
from patchaug.readers import OpenSlideRaster, TiffRaster, open_raster
from patchaug.testing import coordinate_image
from tests.hostile import files
from tests.hostile.limits import limited
from tests.hostile.test_table import read_all

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of memory are set through /proc"),
    pytest.mark.filterwarnings("ignore"),
]

SECONDS, MEMORY = 2, 512 << 20  # what a file may cost until it is refused
TAGS = (256, 257, 258, 259, 262, 273, 277, 278, 279, 284, 317, 322, 323, 324, 325, 330, 338, 339, 32997)
LIES: dict[str, tuple[int, int, bytes]] = {
    # name: (type, count, value), little-endian
    "-64": (9, 1, struct.pack("<i", -64)),
    "-1 byte": (6, 1, b"\xff"),
    "-2^63": (17, 1, struct.pack("<q", -(1 << 63))),
    "0": (4, 1, bytes(4)),
    "1": (4, 1, struct.pack("<I", 1)),
    "46080": (4, 1, struct.pack("<I", 46080)),
    "2^31": (4, 1, struct.pack("<I", 1 << 31)),
    "2^32 - 1": (4, 1, b"\xff" * 4),
    "2^63": (16, 1, struct.pack("<Q", 1 << 63)),
    "more values than the file": (4, 1 << 30, struct.pack("<I", 8)),
    "a million values": (3, 10**6, struct.pack("<I", 8)),
    "beyond the file": (4, 100, struct.pack("<I", 1 << 31)),
    "no value": (4, 0, bytes(4)),
    "NaN": (12, 1, struct.pack("<d", float("nan"))),
    "infinity": (11, 1, struct.pack("<f", float("inf"))),
    "0/0": (5, 1, bytes(8)),
    "text": (2, 4, b"64\0\0"),
    "unknown type": (99, 1, struct.pack("<I", 64)),
}
KINDS: dict[str, dict[str, Any]] = {
    "tiles": {"tile": (64, 64), "photometric": "rgb"},
    "deflate tiles of BigTIFF": {"tile": (64, 64), "photometric": "rgb", "compression": "zlib", "bigtiff": True},
    "strips": {"photometric": "rgb", "rowsperstrip": 16},
    "RGBA": {"tile": (64, 64), "photometric": "rgb", "extrasamples": [2]},
    "tiles of OpenSlide": {"tile": (64, 64), "photometric": "rgb", "software": "MedScan"},
}


def outcomes(folder: Path, kind: str, tag: int) -> dict[str, str]:
    """Read a file with each lie in one field; what came of it, and "slow" where it took too long."""
    found = {}
    for name, (number, count, value) in LIES.items():
        path = folder / f"{tag}.tif"
        pixels = coordinate_image(200, 130)
        if kind == "RGBA":
            pixels = np.concatenate([pixels, np.full((130, 200, 1), 255, np.uint8)], axis=2)
        options = {key: value for key, value in KINDS[kind].items() if key != "bigtiff"}
        with tifffile.TiffWriter(path, bigtiff="bigtiff" in KINDS[kind]) as file:
            file.write(pixels, metadata=None, subifds=1, **options)
            file.write(pixels[::2, ::2], metadata=None, subfiletype=1, **options)
        try:
            files.with_field(path, tag, number, count, value)
        except LookupError:
            return {}
        start = time.process_time()
        try:
            read_all(path)
            found[name] = "pixels"
        except PatchaugError as error:
            found[name] = str(error)
        if time.process_time() - start > SECONDS:
            found[name] = "slow"
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_a_lying_field_ends_in_pixels_or_one_error(kind: str, tmp_path: Path) -> None:
    """No hang, no abort, no other exception: for each field within 2 s of processor time and 512 MiB."""
    told = 0
    for tag in TAGS:
        status, found = limited(outcomes, tmp_path, kind, tag, seconds=SECONDS * len(LIES), memory=MEMORY)
        assert status == "value", (tag, status, found)
        assert "slow" not in found.values(), (tag, found)
        texts = {text for text in found.values() if text != "pixels"}
        assert [text for text in texts if f"{tag}.tif" not in text or text.count("\n") > 1] == []
        if tag in (256, 257, 277, 322, 323) and found:
            refusals = ("must be in", "unsigned whole number")
            wrong = [
                name for name in ("-64", "0", "2^63", "NaN", "text") if not any(t in found[name] for t in refusals)
            ]
            assert not wrong, (tag, wrong, found)
        told += len(found)
    assert told > 150


def _many_pages(path: Path, number: int) -> Path:
    """A chain of pages of one tile each, whose tables are all the same but for the next page's offset."""
    tags = files.tiled(64, 64, 64, data=bytes(64 * 64 * 3))
    files.raw_tiff(path, tags, bytes(64 * 64 * 3))
    data = path.read_bytes()
    (first,) = struct.unpack_from("<I", data, 4)
    page = data[first:]
    body = bytearray(data[:first])
    for k in range(number):
        following = first + (k + 1) * len(page) if k < number - 1 else 0
        body += page[:-4] + struct.pack("<I", following)
    path.write_bytes(body)
    return path


def test_pages_are_bounded(tmp_path: Path) -> None:
    """20,000 pages took 149 s; they are refused in a moment, and what is allowed opens within the budget."""
    status, text = limited(read_all, _many_pages(tmp_path / "a.tif", 20_000), seconds=SECONDS, memory=MEMORY)
    assert status == "ReadError" and "holds more than 4096 pages" in text
    status, text = limited(read_all, _many_pages(tmp_path / "b.tif", 4096), seconds=2 * SECONDS, memory=MEMORY)
    assert status in ("value", "ReadError"), (status, text)


def test_a_circle_of_pages_is_one_error(tmp_path: Path) -> None:
    """The fuzzer found it: tifffile follows the circle for minutes."""
    path = _many_pages(tmp_path / "a.tif", 3)
    data = bytearray(path.read_bytes())
    data[-4:] = data[4:8]  # the last page is followed by the first
    path.write_bytes(data)
    status, text = limited(read_all, path, seconds=SECONDS, memory=MEMORY)
    assert status == "ReadError" and "which comes before it" in text, (status, text)


def test_a_circle_below_a_page_is_one_error(tmp_path: Path) -> None:
    """A page below the first that is followed by itself."""
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as file:
        file.write(coordinate_image(200, 130), metadata=None, subifds=1, **KINDS["tiles"])
        file.write(coordinate_image(100, 65), metadata=None, subfiletype=1, **KINDS["tiles"])
    with tifffile.TiffFile(path) as tiff:
        offsets = tiff.pages.first.subifds
    assert offsets
    below = offsets[0]
    data = bytearray(path.read_bytes())
    (fields,) = struct.unpack_from("<H", data, below)
    struct.pack_into("<I", data, below + 2 + 12 * fields, below)
    path.write_bytes(data)
    status, text = limited(read_all, path, seconds=SECONDS, memory=MEMORY)
    assert status == "ReadError" and "which comes before it" in text, (status, text)


def test_pages_lie_in_any_order(tmp_path: Path) -> None:
    """The levels' tables lie in the file from the last to the first, and the pixels are those of each level."""
    path, levels = tmp_path / "a.tif", [coordinate_image(200 >> n, 128 >> n, 1 << n) for n in range(3)]
    with tifffile.TiffWriter(path) as file:
        for number, pixels in enumerate(levels):
            file.write(pixels, metadata=None, subfiletype=int(number > 0), **KINDS["tiles"])
    with tifffile.TiffFile(path) as tiff:
        places = [page.offset for page in tiff.pages]
    data = bytearray(path.read_bytes())
    following = 0
    for place in reversed(places):  # each page's table is copied to the file's end
        (fields,) = struct.unpack_from("<H", data, place)
        table = data[place : place + 2 + 12 * fields] + struct.pack("<I", following)
        following = len(data)
        data += table
    struct.pack_into("<I", data, 4, following)
    path.write_bytes(data)
    raster = open_raster(path)
    assert isinstance(raster, TiffRaster)
    assert raster.level_dimensions == ((200, 128), (100, 64), (50, 32))
    for number, pixels in enumerate(levels):
        assert np.array_equal(raster.read(Window(0, 0, *raster.level_dimensions[number], number)), pixels)


HUGE: dict[str, Callable[[Path], Path]] = {
    "tile of 46,080 px in 178 bytes": lambda path: files.raw_tiff(
        path, files.tiled(46080, 46080, 46080, _305=("s", b"MedScan"))
    ),
    "broken header": lambda path: files.with_field(
        files.raw_tiff(path, files.tiled(64, 64, 64, data=bytes(12288), _305=("s", b"MedScan")), bytes(12288)),
        256,
        9,
        1,
        b"\xc0\xff\xff\xff",
    ),
}


@pytest.mark.parametrize("name", HUGE)
def test_what_is_broken_or_too_large_never_reaches_openslide(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its GLib would end the process where memory is limited."""
    import openslide

    path = HUGE[name](tmp_path / "a.tif")
    assert path.stat().st_size < 20_000

    def opened(*_: Any) -> None:
        raise AssertionError("OpenSlide was asked")

    monkeypatch.setattr(openslide, "OpenSlide", opened)
    with pytest.raises(ReadError, match=r"a\.tif: (tiles of 46080 x 46080 px|broken TIFF header)"):
        open_slide(path)


def test_openslides_tiles_have_the_same_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the format: OpenSlide's own property says how large a tile is."""
    from patchaug.readers import openslide

    tifffile.imwrite(tmp_path / "a.tif", coordinate_image(200, 130), **KINDS["tiles of OpenSlide"])
    raster = open_raster(tmp_path / "a.tif")
    assert isinstance(raster, OpenSlideRaster)
    assert raster.level_dimensions == ((200, 130),)
    monkeypatch.setattr(openslide, "TILE_LIMIT", 64 * 64 - 1)
    with pytest.raises(ReadError, match=r"tiles of 64 x 64 px on level 0 are above the limit"):
        open_raster(tmp_path / "a.tif")
