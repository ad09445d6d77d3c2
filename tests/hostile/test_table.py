"""Hostile and careless input: a table of (recipe, expected error), each in a child with 1 GB and little time.

The rows of `Failure` in brackets are those of the failure list that the project started from.
"""

from __future__ import annotations

import os
import re
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from patchaug import ReadError, Window, open_slide
from patchaug.readers.codecs.image_headers import require_whole_png
from patchaug.testing import coordinate_image, coordinate_mask, write_pyramid
from tests.hostile import files
from tests.hostile.limits import limited

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of memory are set through /proc"),
    pytest.mark.filterwarnings("ignore"),  # Pillow warns of sizes; Python 3.12 of forks
]


def read_all(image: Any, mask: Any = None, codes: list[str] | None = None) -> list[tuple[int, ...]]:
    """Open a slide, and read the first 512 px of each level."""
    slide = open_slide(image, mask, codes=codes, ram=1 << 28)
    return [
        slide.read(Window(0, 0, min(w, 512), min(h, 512), level)).image.shape
        for level, (w, h) in enumerate(slide.level_dimensions)
    ]


def as_mask(mask: Any) -> list[tuple[int, ...]]:
    """Read a mask that lies on a good image."""
    return read_all(np.zeros((64, 64, 3), np.uint8), mask, ["background", "tumour"])


def text(path: Path, content: str | bytes) -> Path:
    """A file of that content."""
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def loop(path: Path) -> Path:
    """A link to itself."""
    path.symlink_to(path)
    return path


def cut(path: Path, share: float) -> Path:
    """A good pyramid, of which only a share was copied."""
    write_pyramid(path, [coordinate_image(600, 500), coordinate_image(300, 250, 2)])
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def ome(path: Path) -> Path:
    """An OME-TIFF whose XML expands to 20 GB."""
    xml = files.LAUGHS + '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">&e10;</OME>'
    return files.raw_tiff(
        path, files.tiled(64, 64, 64, data=bytes(64 * 64 * 3), _270=("s", xml.encode())), bytes(12288)
    )


Recipe = Callable[[Path], Any]
IMAGES: dict[str, tuple[str, Recipe, str]] = {
    # name: (file name, recipe, what the error says)
    "G7 pipe": ("a.svs", files.fifo, r"no regular file"),
    "G7 device": ("a.svs", lambda path: "/dev/zero", r"no regular file"),
    "G7 folder": ("a.svs", lambda path: path.mkdir() or path, r"is a directory"),
    "G9 link to itself": ("a.svs", loop, r"cannot be opened"),
    "no file": ("a.svs", lambda path: path, r"there is no such file"),
    "null byte in the name": ("a.svs", lambda path: f"{path}\0.svs", r"cannot be opened"),
    "empty file": ("a.svs", lambda path: text(path, b""), r"is empty"),
    "text": (
        "a.svs",
        lambda path: text(path, "not found, said the server\n"),
        r"no reader supports the file",
    ),
    "TIFF magic and no more": ("a.tif", lambda path: text(path, b"II*\0"), r"broken TIFF header"),
    "BigTIFF magic and no more": ("a.tif", lambda path: text(path, b"II+\0\x08\0\0\0"), r"a\.tif"),
    "first page beyond the end": (
        "a.tif",
        lambda path: text(path, struct.pack("<2sHI", b"II", 42, 1 << 31)),
        r"a\.tif",
    ),
    "G1 header of 1e6 x 1e6 px in tiles": (
        "a.tif",
        lambda path: files.raw_tiff(path, files.tiled(256, 256, 256, _256=("I", 10**6), _257=("I", 10**6))),
        r"1000000 x 1000000 px need 15264649 tiles, the header lists 1 offsets",
    ),
    "G1 header of 1e6 x 1e6 px in one strip": (
        "a.tif",
        lambda path: files.raw_tiff(
            path,
            {
                256: ("I", 10**6),
                257: ("I", 10**6),
                258: ("H", 8),
                259: ("H", 1),
                262: ("H", 1),
                273: ("I", 8),
                277: ("H", 1),
                278: ("I", 10**6),
                279: ("I", 4),
            },
            b"abcd",
        ),
        r"ram",
    ),
    "G2 sparse tiles": (
        "a.tif",
        lambda path: files.raw_tiff(path, files.tiled(10**6, 10**6, 8192)),
        r"missing: the header says 0 bytes",
    ),
    "tiles at byte 0": (
        "a.tif",
        lambda path: files.raw_tiff(path, files.tiled(512, 512, 256, _324=("I", [0] * 4), _325=("I", [0] * 4))),
        r"missing",
    ),
    "tiles beyond the end": (
        "a.tif",
        lambda path: files.raw_tiff(path, files.tiled(512, 512, 256, _325=("I", [2**32 - 1] * 4))),
        r"cut off: bytes 8 to 4294967303 of a file of \d+ bytes",
    ),
    "G3 tiles of 256 Mpx": (
        "a.tif",
        lambda path: files.raw_tiff(path, files.tiled(16384, 16384, 16384)),
        r"limit of 64 Mpx",
    ),
    "G3 one tile of 46000 px": (
        "a.tif",
        lambda path: files.raw_tiff(path, files.tiled(46000, 46000, 46080)),
        r"limit of 64 Mpx",
    ),
    "no width": ("a.tif", lambda path: files.raw_tiff(path, files.tiled(64, 64, 64, _256=("I", 0))), r"a\.tif"),
    "tiles of 0 px": ("a.tif", lambda path: files.raw_tiff(path, files.tiled(64, 64, 64, _322=("I", 0))), r"a\.tif"),
    "page that follows itself": (
        "a.tif",
        lambda path: files.raw_tiff(path, files.tiled(64, 64, 64), following=8),
        r"a\.tif",
    ),
    "deflate bomb in a tile": ("a.tif", lambda path: files.deflate_bomb(path, 1 << 31), r"INSUFFICIENT_SPACE"),
    "JPEG bomb in a tile": ("a.tif", files.jpeg_bomb_in_tile, r"its data claim 60000 x 60000 px"),
    "JPEG 2000 bomb in a tile": ("a.tif", files.jpeg2000_bomb_in_tile, r"its data claim 100000 x 100000 px"),
    "WebP bomb in a tile": ("a.tif", files.webp_bomb_in_tile, r"its data claim 16384 x 16384 px"),
    "JPEG XL bomb in a tile": ("a.tif", files.jpegxl_bomb_in_tile, r"its data claim 1073741824 x 1073741824 px"),
    "LZW bomb in a tile": ("a.tif", lambda path: files.packed_bomb(path, 5, "lzw"), r"lzw data are more than 196608"),
    "LZMA bomb in a tile": ("a.tif", lambda path: files.packed_bomb(path, 34925, "lzma"), r"lzma data are more than"),
    "zstd bomb in a tile": ("a.tif", lambda path: files.packed_bomb(path, 50000, "zstd"), r"more than 196608 bytes"),
    "PackBits bomb in a tile": ("a.tif", lambda path: files.packed_bomb(path, 32773, "packbits"), r"more than 196608"),
    "rubbish in a JPEG tile": ("a.tif", lambda path: files.one_tile(path, b"\xff\xd8rubbish\xff\xd9", 7), r"tile 0"),
    "rubbish in a deflate tile": ("a.tif", lambda path: files.one_tile(path, b"rubbish", 8), r"tile 0 of level 0"),
    "a quarter of a slide": ("a.tif", lambda path: cut(path, 0.25), r"a\.tif"),
    "half of a slide": ("a.tif", lambda path: cut(path, 0.5), r"a\.tif"),
    "nearly all of a slide": ("a.tif", lambda path: cut(path, 0.97), r"a\.tif"),
    "G5 PNG bomb": (
        "a.png",
        lambda path: files.png(path, 60000, 60000, b""),
        r"ram",
    ),
    "PNG without data": ("a.png", lambda path: files.png(path, 99, 99, b""), r"a\.png"),
    "PNG with half of its data": (
        "a.png",
        lambda path: files.png(path, 99, 99, zlib.compress(bytes(100 * 49))),
        r"end after 4900 of 9900 bytes",
    ),
    "PNG with half of its interlaced data": (
        "a.png",
        lambda path: files.png(path, 9, 9, zlib.compress(bytes(50)), interlaced=1),
        r"end after 50 of 100 bytes",
    ),
    "PNG of transparent colours with half of its data": (
        "a.png",
        lambda path: files.png(path, 99, 99, zlib.compress(bytes(397 * 50)), colour=6),
        r"end after 19850 of 39303",
    ),
    "PNG with a wrong checksum": (
        "a.png",
        lambda path: text(path, files.png(path, 99, 99, zlib.compress(bytes(9900))).read_bytes()[:-16] + bytes(16)),
        r"a\.png",
    ),
    "PNG with a wrong checksum that only libpng sees": (
        "a.png",
        lambda path: text(
            path, files.png(path, 9, 9, zlib.compress(bytes(90))).read_bytes()[:-16] + b"\1\2\3\4" + files.IEND
        ),
        r"its IDAT chunk has a wrong CRC-32",
    ),
    "PNG of 0 px": ("a.png", lambda path: files.png(path, 0, 9, b""), r"a\.png"),
    "JPEG bomb": ("a.jpg", files.jpeg_bomb, r"ram"),
    "JPEG magic and no more": ("a.jpg", lambda path: text(path, b"\xff\xd8\xff\xe0"), r"a\.jpg"),
}
MASKS: dict[str, tuple[str, Recipe, str]] = {
    "G7 pipe": ("m.geojson", files.fifo, r"no regular file"),
    "G7 pipe named like a picture": ("m.png", files.fifo, r"no regular file"),
    "G13 gzip bomb": ("m.geojson.gz", files.gzip_bomb, r"m\.geojson\.gz"),
    "G13 200,000 brackets": ("m.geojson", lambda path: text(path, "[" * 200_000), r"m\.geojson"),
    "G13 200,000 objects": ("m.geojson", lambda path: text(path, '{"a":' * 200_000), r"m\.geojson"),
    "G13 not JSON": (
        "m.geojson",
        lambda path: text(path, '{"type": "FeatureCollection", "features": [}'),
        r"m\.geojson",
    ),
    "no UTF-8": ("m.geojson", lambda path: text(path, b'{"type": "\xff\xfe"}'), r"m\.geojson"),
    "ASAP that expands to 20 GB": (
        "m.xml",
        lambda path: text(path, files.LAUGHS + "<ASAP_Annotations>&e10;</ASAP_Annotations>"),
        r"m\.xml",
    ),
    "ASAP that reads another file": (
        "m.xml",
        lambda path: text(
            path, '<!DOCTYPE a [<!ENTITY e SYSTEM "file:///etc/passwd">]><ASAP_Annotations>&e;</ASAP_Annotations>'
        ),
        r"m\.xml",
    ),
    "C5 mask as JPEG": (
        "m.jpg",
        lambda path: Image.fromarray(np.zeros((64, 64), np.uint8)).save(path) or path,
        r"m\.jpg",
    ),
    "C4 mask of fractions": (
        "m.tif",
        lambda path: tifffile.imwrite(path, np.full((64, 64), 0.5, np.float32), tile=(64, 64)) or path,
        r"0\.5",
    ),
    "C7 mask of another size": (
        "m.png",
        lambda path: Image.fromarray(np.zeros((63, 64), np.uint8)).save(path) or path,
        r"63",
    ),
}


@pytest.mark.parametrize("name", IMAGES)
def test_hostile_images_end_in_one_clear_error(name: str, tmp_path: Path) -> None:
    """No hang, no abort, no other exception, and never pixels."""
    refused(read_all, tmp_path, *IMAGES[name])


@pytest.mark.parametrize("name", MASKS)
def test_hostile_masks_end_in_one_clear_error(name: str, tmp_path: Path) -> None:
    """As images; polygons too."""
    if MASKS[name][0].split(".", 1)[1] in ("geojson", "geojson.gz", "xml"):
        pytest.importorskip("shapely")
    refused(as_mask, tmp_path, *MASKS[name])


def refused(function: Callable[[Any], Any], folder: Path, file: str, recipe: Recipe, pattern: str) -> None:
    """Check that a file of a table ends in one clear error."""
    kind, said = limited(function, recipe(folder / file))
    assert kind in ("ReadError", "MissingError", "FrameError", "LabelError", "OptionError"), (kind, said)
    assert re.search(pattern, said), said
    assert said.count("\n") <= 1, said  # the place stands in a line of its own, where one would get too long
    assert len(said) < 800


@pytest.mark.parametrize("mask", [False, True], ids=["image", "mask"])
def test_real_bad_files_keep_the_limits(mask: bool, data: Path) -> None:
    """Each file in data/bad: an answer in time and within 1 GB (their pixels are compared in rasters/test_opening)."""
    found = {}
    for path in sorted(path for path in (data / "bad").rglob("*") if path.name != ".keep"):
        found[path.name] = limited(*((as_mask, path) if mask else (read_all, path)))
    wrong = {name: said for name, said in found.items() if not said[0].endswith("Error") and said[0] != "value"}
    assert not wrong
    assert len(found) >= 40
    texts = {name: said for name, (kind, said) in found.items() if kind != "value"}
    assert all(name in said and said.count("\n") <= 1 for name, said in texts.items() if not mask), texts


def _busy() -> None:
    while True:
        pass


def test_the_limits_are_limits(tmp_path: Path) -> None:
    """What runs away, aborts or raises is seen: else the tables above would prove nothing."""
    assert limited(lambda: bytearray(3 << 30))[0] == "ESCAPED"
    assert limited(os.abort) == ("DIED", "exit code -6")
    assert limited(files.fifo(tmp_path / "pipe").read_bytes, patience=1)[0] == "HUNG"
    assert limited(_busy, seconds=1) == ("SLOW", "more than 1 s of processor time")
    assert limited(lambda: 7) == ("value", 7)


def test_good_files_pass_the_same_limits(tmp_path: Path) -> None:
    """The recipes' own writer makes files that are read, where its tags are true."""
    pixels = coordinate_image(64, 64)
    good = files.raw_tiff(tmp_path / "a.tif", files.tiled(64, 64, 64, data=pixels.tobytes()), pixels.tobytes())
    assert limited(read_all, good) == ("value", [(64, 64, 3)])
    assert np.array_equal(open_slide(good).read(Window(0, 0, 64, 64)).image, pixels)


def test_words_of_a_file_cannot_harm_its_pixels(tmp_path: Path) -> None:
    """OME-XML that expands to 20 GB and a PNG text of 2 GB: the pixels are right, the words are not believed."""
    assert limited(read_all, ome(tmp_path / "a.ome.tif")) == ("value", [(64, 64, 3)])
    assert open_slide(tmp_path / "a.ome.tif").mpp is None
    kind, said = limited(read_all, files.png_text_bomb(tmp_path / "a.png"))
    assert (kind, said) == ("value", [(9, 9, 1)]) or (kind == "ReadError" and "a.png" in said), (kind, said)


@pytest.mark.parametrize("interlaced", [0, 1])
@pytest.mark.parametrize(("mode", "side"), [("1", 1), ("P", 7), ("LA", 5), ("RGBA", 8), ("RGBA", 33)])
def test_whole_png_files_are_whole(mode: str, side: int, interlaced: int, tmp_path: Path) -> None:
    """The count of bytes is right for each kind of PNG; Pillow writes no interlaced ones, so these are made by hand."""
    if interlaced:
        samples = {"1": (1, 0), "P": (8, 0), "LA": (16, 4), "RGBA": (32, 6)}[mode]
        starts = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
        sizes = [(len(range(x, side, dx)), len(range(y, side, dy))) for x, y, dx, dy in starts]
        length = sum(rows * (1 + (columns * samples[0] + 7) // 8) for columns, rows in sizes if columns)
        depth = 1 if mode == "1" else 8
        for size, whole in ((length, True), (length - 1, False)):
            path = files.png(
                tmp_path / "a.png", side, side, zlib.compress(bytes(size)), colour=samples[1], depth=depth, interlaced=1
            )
            if whole:
                require_whole_png(str(path))
            else:
                with pytest.raises(ReadError, match=f"end after {length - 1} of {length} bytes"):
                    require_whole_png(str(path))
    else:
        Image.new(mode, (side, side)).save(tmp_path / "a.png")
        require_whole_png(str(tmp_path / "a.png"))


@pytest.mark.parametrize(
    "window",
    [(0, 0, 9, 9, 7), (60, 0, 9, 9, 0), (0, 2**63, 9, 9, 0), (0, 0, 2**31, 2**31, 0)],
    ids=["level", "border", "far", "large"],
)
def test_windows_outside_are_refused_before_a_reader_sees_them(window: tuple[int, ...], tmp_path: Path) -> None:
    """OpenSlide returns black for each of them (A8); nothing is allocated for a window that does not fit."""
    write_pyramid(tmp_path / "a.tif", [coordinate_image(64, 64)])

    def read() -> Any:
        return open_slide(tmp_path / "a.tif", coordinate_mask(64, 64)).read(Window(*window)).image.shape

    kind, said = limited(read)
    assert kind == "WindowError", (kind, said)
    assert "a.tif" in said


def test_where_nothing_was_scanned_is_background(tmp_path: Path) -> None:
    """Policy for alpha 0 (B2): the slide's background colour, white where it names none, never black."""
    pixels = np.zeros((64, 64, 4), np.uint8)
    pixels[:32, :, 3] = 255
    tifffile.imwrite(tmp_path / "a.tif", pixels, tile=(32, 32), extrasamples=[2], photometric="rgb")
    image = open_slide(tmp_path / "a.tif").read(Window(0, 0, 64, 64)).image
    assert (image[:32] == 0).all()
    assert (image[32:] == 255).all()
