"""A reader for a made-up format, as a stranger adds it: raw pixels behind one line of JSON."""

from __future__ import annotations

import json

import numpy as np
import pytest

from patchaug import MissingError, OptionError, ReadError, Window, open_slide, register_reader
from patchaug.readers import (
    ArrayRaster,
    FileRaster,
    TiffRaster,
    UnsupportedError,
    known_suffixes,
    missing_tiles,
    open_raster,
    path_of,
    reader_entry,
    registry,
    require_inside,
    tile_size,
    uncached,
    unregister_reader,
)
from patchaug.readers.base import Raster, is_raster
from patchaug.slides.audit import audit_slides
from patchaug.slides.discovery import get_slide_files
from patchaug.slides.pairing import find_masks
from patchaug.testing import RasterTests, coordinate_image, coordinate_mask, write_pyramid


class RawRaster(FileRaster):
    def __init__(self, path, *, name=None, ram=0):
        super().__init__(path, name=name)
        with open(path, "rb") as file:
            self.shape = tuple(json.loads(file.readline())["shape"])
            self.start = file.tell()
        self.level_dimensions = ((self.shape[1], self.shape[0]),)
        self.level_downsamples, self.mpp = (1.0,), None

    def read(self, window):
        require_inside(self.name, self.level_dimensions, window)
        pixels = np.memmap(self.path, np.uint8, "r", self.start, self.shape)
        return np.array(pixels[window.y : window.bottom, window.x : window.right])


class TestRaw(RasterTests):
    @pytest.fixture
    def expected(self):
        return [coordinate_image(64, 48)]

    @pytest.fixture
    def raster(self, expected, tmp_path):
        return RawRaster(write_raw(tmp_path / "a.raw", expected[0]))


def write_raw(path, pixels):
    """Write one line of JSON, then the pixels."""
    path.write_bytes(json.dumps({"shape": pixels.shape}).encode() + b"\n" + pixels.tobytes())
    return path


@pytest.fixture
def raw():
    """The made-up format, registered for one test."""
    register_reader("raw", image=RawRaster, mask=RawRaster, suffixes=[".raw"])
    yield
    unregister_reader("raw")


@pytest.mark.usefixtures("raw")
def test_slides_masks_folders_and_the_audit_know_the_format(tmp_path):
    """A registered reader serves as one of ours: also before the reader of JSON, which the head resembles."""
    image, mask = coordinate_image(64, 48), coordinate_mask(64, 48) % 3
    for folder, pixels in (("images", image), ("masks", mask)):
        (tmp_path / folder).mkdir()
        write_raw(tmp_path / folder / "a.raw", pixels)
    assert get_slide_files(tmp_path / "images") == [tmp_path / "images" / "a.raw"]
    (found,) = find_masks([tmp_path / "images" / "a.raw"], tmp_path / "masks")
    slide = open_slide(tmp_path / "images" / "a.raw", found, codes=["a", "b", "c"])
    patch = slide.read(Window(3, 5, 20, 10))
    assert np.array_equal(patch.image, image[5:15, 3:23]) and np.array_equal(patch.mask, mask[5:15, 3:23])
    assert (slide.name, slide.path) == ("a.raw", str(tmp_path / "images" / "a.raw"))
    (report,) = audit_slides([tmp_path / "images"], masks=tmp_path / "masks", codes=["a", "b", "c"])
    assert (report.problems, report.codec, report.tiles) == ((), "Raw", 2)
    assert report.pixels == {value: int((mask == value).sum()) for value in (0, 1, 2)}


@pytest.mark.usefixtures("raw")
def test_errors_of_a_reader_become_one_read_error(tmp_path):
    """The text names the file, the reader and the cause."""
    (tmp_path / "bad.raw").write_bytes(b"no JSON\n")
    with pytest.raises(ReadError, match=r"bad\.raw: reader 'raw' failed \(JSONDecodeError"):
        open_raster(tmp_path / "bad.raw")
    with pytest.raises(MissingError, match="no such file"):
        open_raster(tmp_path / "none.raw")


def test_an_unsupported_file_goes_to_the_next_reader(tmp_path):
    """Priority decides who is asked first; all reasons are in the error of a file that no reader supports."""

    def refuse(path, *, name, ram):
        asked.append(path)
        raise UnsupportedError(f"{path}: only on Sundays")

    asked = []
    write_pyramid(tmp_path / "a.tiff", [coordinate_image(90, 70)])
    (tmp_path / "b.tiff").write_text("no picture")
    register_reader("shy", image=refuse, suffixes=[".tiff"])
    try:
        assert isinstance(open_raster(tmp_path / "a.tiff"), TiffRaster)
        assert asked == [str(tmp_path / "a.tiff")]
        with pytest.raises(ReadError, match="as an image .*shy: only on Sundays.*OpenSlide:"):
            open_raster(tmp_path / "b.tiff")
    finally:
        unregister_reader("shy")
    register_reader("shy", image=refuse, suffixes=[".tiff"], priority=-20)
    try:
        open_raster(tmp_path / "a.tiff")
        assert len(asked) == 2
    finally:
        unregister_reader("shy")


def test_content_and_objects_choose_a_reader(tmp_path):
    """`magic` compares first bytes, `accepts` looks at paths and objects; suffixes then only list files."""

    class Scene:
        pixels = coordinate_image(9, 7)

    register_reader("magic", image=RawRaster, magic=[b'{"shape'], suffixes=[".raw"])
    register_reader(
        "scene", image=lambda s, *, name, ram: open_raster(s.pixels), accepts=lambda s: isinstance(s, Scene)
    )
    try:
        assert isinstance(open_raster(write_raw(tmp_path / "a.bin", coordinate_image(9, 7))), RawRaster)
        (tmp_path / "b.raw").write_text("something else")
        with pytest.raises(ReadError, match="no reader supports"):
            open_raster(tmp_path / "b.raw")
        assert np.array_equal(open_slide(Scene()).read(Window(0, 0, 9, 7)).image, Scene.pixels)
        assert ".raw" in known_suffixes("image") and ".raw" not in known_suffixes("mask")
    finally:
        unregister_reader("magic")
        unregister_reader("scene")


@pytest.mark.usefixtures("raw")
@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"suffixes": [".raw"], "image": RawRaster}, "registered already; pass replace=True"),
        ({"name": "b", "suffixes": [".raw"]}, "at least one of image=, mask= and annotations="),
        ({"name": "b", "image": RawRaster}, "at least one of suffixes=, magic= and accepts="),
        ({"name": "b", "image": 5, "suffixes": [".b"]}, "image must be callable, got int"),
        ({"name": "b", "image": RawRaster, "suffixes": ".raw"}, "must be lists"),
        ({"name": "b", "image": RawRaster, "suffixes": ["RAW"]}, "lower-case text such as '.raw', got 'RAW'"),
        ({"name": "b", "image": RawRaster, "magic": [""]}, "bytes of length 1 to 4096"),
    ],
)
def test_wrong_arguments_are_errors(options, text):
    """Each names the argument and the cure, and registers nothing."""
    with pytest.raises(OptionError, match=text):
        register_reader(**{"name": "raw", **options})
    with pytest.raises(OptionError, match="no reader is named 'b'; registered are raw, "):
        unregister_reader("b")


def test_a_reader_that_returns_something_else_is_an_error(tmp_path):
    """The text lists what a raster has."""
    register_reader("odd", image=lambda path, *, name, ram: 5, suffixes=[".odd"])
    (tmp_path / "a.odd").write_text("x")
    try:
        with pytest.raises(OptionError, match="reader 'odd' must return a Raster, .* got int"):
            open_raster(tmp_path / "a.odd")
    finally:
        unregister_reader("odd")


def test_hooks_have_defaults_for_a_plain_raster(tmp_path):
    """A raster without hooks is read in blocks; one of a file in its tiles, and without a cache on request."""

    class Plain:
        name, level_dimensions, level_downsamples, mpp = "plain", ((9, 7),), (1.0,), None

        def read(self, window):
            return np.zeros((window.height, window.width), np.uint8)

    plain = Plain()
    assert (path_of(plain), tile_size(plain, 0), missing_tiles(plain)) == (None, (1024, 1024), (0, 0))
    assert uncached(plain) is plain
    write_pyramid(tmp_path / "a.tiff", [coordinate_image(90, 70)])
    tiff = open_raster(tmp_path / "a.tiff", ram=1 << 20)
    cold = uncached(tiff)
    assert (tiff.ram, cold.ram, path_of(cold)) == (1 << 20, 0, str(tmp_path / "a.tiff"))
    assert tile_size(tiff, 0) == (tiff.grids[0].tile_width, tiff.grids[0].tile_height)
    assert np.array_equal(cold.read(Window(0, 0, 90, 70)), coordinate_image(90, 70))


def test_of_thousands_of_slides_signatures_are_looked_up_and_first_bytes_read_once(tmp_path, monkeypatch):
    path = tmp_path / "a.tiff"
    write_pyramid(path, [coordinate_image(200, 100)])
    open_slide(path)
    heads = []

    def counted(source):
        heads.append(source)
        return first_bytes(source)

    def looked_up(opener):
        raise AssertionError(f"signature of {opener}")

    first_bytes = registry.first_bytes
    monkeypatch.setattr(registry, "first_bytes", counted)
    monkeypatch.setattr(reader_entry, "signature", looked_up)
    open_slide(path)
    assert heads == [str(path)]


class WithoutRead:
    name, level_dimensions, level_downsamples, mpp = "a", ((1, 1),), (1.0,), None


class WithNone(WithoutRead):
    read = None


class Named(WithoutRead, Raster):
    pass


def test_rasters_are_told_as_isinstance_tells_them(tmp_path):
    raster = ArrayRaster(np.zeros((2, 2), np.uint8))
    for one in (raster, WithoutRead(), WithNone(), Named(), "a.tiff", tmp_path, None, 3, np.zeros(3), RawRaster):
        assert is_raster(one) == isinstance(one, Raster)
    assert is_raster(raster)
    assert not is_raster(WithNone())
