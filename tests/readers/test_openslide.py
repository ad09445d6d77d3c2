"""Slides through OpenSlide."""

from __future__ import annotations

import functools
import itertools

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from patchaug.core.windows import Window
from patchaug.errors import MissingError, ReadError
from patchaug.readers import OpenSlideRaster, TiffRaster
from patchaug.readers.openslide import _composite
from patchaug.readers.openslide_origins import pieces
from patchaug.slides.open import open_slide
from patchaug.testing import coordinate_image, coordinate_mask, mask_at, places, write_pyramid
from patchaug.testing.raster_contract import RasterTests
from tests.readers.conftest import real
from tests.readers.made_files import write_dicom, write_ndpi, write_svs
from tests.readers.openslide_files import pyramid, write_scn

openslide = pytest.importorskip("openslide")


@functools.lru_cache(maxsize=1)
def whole_levels(path):
    """All levels, each read at once."""
    slide = openslide.OpenSlide(path)
    return [
        np.asarray(slide.read_region((0, 0), level, size))[..., :3].copy()
        for level, size in enumerate(slide.level_dimensions)
    ]


class TestCoordinates(RasterTests):
    """A pyramid of whole downsamples: every pixel in its place."""

    @pytest.fixture
    def expected(self):
        return [coordinate_image(640, 480), coordinate_image(160, 120, 4)]

    @pytest.fixture
    def raster(self, expected, tmp_path):
        write_pyramid(tmp_path / "slide.tiff", expected)
        return OpenSlideRaster(tmp_path / "slide.tiff")


@pytest.mark.parametrize("name", ["slides/test3-TRITC 2 (560).ndpi", "slides/camelyon_lowres_jpeg.dcm"], scope="class")
class TestRealSlides(RasterTests):
    """NDPI and DICOM: windows are slices of the whole level, read at once."""

    @pytest.fixture
    def expected(self, name):
        return whole_levels(real(name))

    @pytest.fixture
    def raster(self, name):
        return OpenSlideRaster(real(name))


@pytest.mark.parametrize("kind", ["ndpi", "dcm"], scope="class")
class TestMakersFormats(RasterTests):
    """NDPI and DICOM written by the tests: level 0 is what was written, coarser levels what OpenSlide reads at once."""

    @pytest.fixture
    def expected(self, kind, tmp_path):
        path, pixels = tmp_path / f"a.{kind}", coordinate_image(330, 250)
        l0 = write_ndpi(path, pixels) if kind == "ndpi" else write_dicom(path, pixels) and pixels
        return [l0, *whole_levels(path)[1:]]

    @pytest.fixture
    def raster(self, kind, expected, tmp_path):
        return OpenSlideRaster(tmp_path / f"a.{kind}")

    def test_mpp(self, raster, expected):
        """Both formats store half a micrometre per pixel."""
        assert raster.mpp == (0.5, 0.5)


def off_grid(downsample, start, stop):
    """How far beside the level's grid OpenSlide begins to read, for each pixel of an axis; 0 where it cannot tell."""
    off = [
        np.full(p.stop - p.start, p.l0_origin / downsample - (p.start - p.before))
        for p in pieces(downsample, 0, start, stop)
    ]
    joined = np.abs(np.concatenate(off))
    return np.where(joined < 1 / 512, 0, joined)


ratios = st.tuples(st.integers(2, 40), st.floats(-0.9, 0.9), st.floats(-0.9, 0.9))


@example(w=5000, h=3, ratio=(4, 0.001, 0.0), at=(0.0, 0.0), length=(4999, 2))
@example(w=1400, h=1100, ratio=(4, 0.0001, 0.0), at=(0.9, 0.9), length=(100, 100))
@example(w=1025, h=823, ratio=(16, 0.0056, 0.0056), at=(0.9, 0.4), length=(100, 600))
@given(
    w=st.integers(1, 1500),
    h=st.integers(1, 300),
    ratio=ratios,
    at=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    length=st.tuples(st.integers(1, 700), st.integers(1, 700)),
)
def test_windows_of_odd_downsamples_are_those_of_the_file(tmp_path_factory, w, h, ratio, at, length):
    """Noise, pixel by pixel: exact where an origin is near the grid, as said beforehand; else within the bound."""
    whole, more_x, more_y = ratio
    l0_w, l0_h = max(round(w * (whole + more_x)), w, 1), max(round(h * (whole + more_y)), h, 1)
    made = pyramid(tmp_path_factory.mktemp("odd") / "slide.tiff", w, h, l0_w, l0_h)
    x, y = (min(int(part * side), side - 1) for part, side in zip(at, (w, h), strict=True))
    window = Window(x, y, min(length[0], w - x), min(length[1], h - y), 1)
    seen = made.raster.read(window).astype(int)
    wrong = np.abs(seen - made.noise[window.y : window.bottom, window.x : window.right]).max(axis=2)
    off_x = off_grid(made.downsample, window.x, window.right)[None]
    off_y = off_grid(made.downsample, window.y, window.bottom)[:, None]
    assert not wrong[np.broadcast_to(off_x + off_y == 0, wrong.shape)].any()
    # A pixel is mixed with its neighbours in these shares; 3 grey values more where two tiles meet.
    assert (wrong <= 255 * (off_x + off_y) + 3).all()
    assert max(off_x.max(), off_y.max()) <= 0.5 / made.downsample + 1e-9
    # The same through another window.
    part = Window(x, y, -(-window.width // 2), -(-window.height // 3), 1)
    assert np.array_equal(made.raster.read(part), seen[: part.height, : part.width])


@pytest.mark.parametrize("downsample", [16.0056, 7.123])
def test_common_odd_downsamples_are_exact(tmp_path, downsample):
    """Every pixel of a level that is larger than what OpenSlide reads at once: the same as the file's."""
    made = pyramid(tmp_path / "slide.tiff", 4700, 600, round(4700 * downsample), round(600 * downsample))
    assert made.downsample == pytest.approx(downsample, abs=1e-3)
    assert np.array_equal(made.raster.read(Window(0, 0, 4700, 600, 1)), made.noise)
    for x in range(0, 4200, 97):
        y = x % 87
        assert np.array_equal(made.raster.read(Window(x, y, 500, 500, 1)), made.noise[y : y + 500, x : x + 500])


def test_a_real_slide_of_an_odd_downsample():
    """SVS of 2.0005 to 1, decoded by tifffile and by OpenSlide: as far apart as two JPEG 2000 decoders are."""
    path = real("slides/TCGA-CR-7395-01A-01-TS1.svs")
    tiff, other = TiffRaster(path), OpenSlideRaster(path)
    assert tiff.level_dimensions == other.level_dimensions and other.level_downsamples[1] % 1 != 0
    for x, y in ((0, 0), (300, 200), (1100, 900), (1900, 1500)):
        window = Window(x, y, 300, 250, 1)
        off = max(off_grid(other.level_downsamples[1], at, at + 300).max() for at in (x, y))
        apart = np.abs(tiff.read(window).astype(int) - other.read(window)).mean()
        assert apart < (1 if off == 0 else 12), (window, off)


class TestBounds(RasterTests):
    """A scanned area in a larger frame: the slide is the area, at each level."""

    @pytest.fixture
    def expected(self):
        return [coordinate_image(640, 480), coordinate_image(160, 120, 4)]

    @pytest.fixture
    def raster(self, expected, tmp_path):
        write_scn(tmp_path / "slide.scn", [(expected, (100, 52))], (1000, 800))
        return OpenSlideRaster(tmp_path / "slide.scn")


def test_bounds_at_any_corner_and_odd_downsamples(tmp_path):
    """Each level begins at the pixel nearest to the corner, is as long as the scanned area, and keeps pixels whole."""
    rng = np.random.default_rng(0)
    levels = [rng.integers(0, 256, (h, w, 3), np.uint8) for w, h in ((641, 479), (160, 120), (40, 30))]
    for corner in ((0, 0), (7, 301), (358, 12)):
        write_scn(tmp_path / "slide.scn", [(levels, corner)], (1000, 801))
        slide = openslide.OpenSlide(tmp_path / "slide.scn")
        assert slide.level_dimensions[0] == (1000, 801) and slide.level_downsamples[2] % 1 != 0
        raster = OpenSlideRaster(tmp_path / "slide.scn")
        assert raster.level_dimensions == ((641, 479), (160, 120), (40, 30))
        assert raster.level_downsamples == slide.level_downsamples
        assert np.array_equal(raster.read(Window(0, 0, 641, 479)), levels[0])
        for level in (1, 2):
            w, h = raster.level_dimensions[level]
            seen, stored = raster.read(Window(0, 0, w, h, level)), levels[level]
            # OpenSlide rounds the corner of the area down, the frame's is rounded to the nearest pixel.
            fits = [
                (i, j)
                for i, j in itertools.product((0, 1), repeat=2)
                if np.array_equal(seen[: h - j, : w - i], stored[j:, i:])
                or np.array_equal(seen[j:, i:], stored[: h - j, : w - i])
            ]
            assert fits, (corner, level)
            part = Window(3, 5, w - 9, h - 8, level)
            assert np.array_equal(raster.read(part), seen[5 : h - 3, 3 : w - 6])


def test_what_was_not_scanned_has_the_background(tmp_path):
    """Two areas: between them OpenSlide's pixels are transparent black, ours the slide's background, white."""
    first, second = coordinate_image(200, 160), coordinate_image(120, 240)
    areas = [([one, one[::4, ::4].copy()], corner) for one, corner in ((first, (40, 80)), (second, (400, 100)))]
    write_scn(tmp_path / "slide.scn", areas, (640, 480))
    bare = np.asarray(openslide.OpenSlide(tmp_path / "slide.scn").read_region((40, 80), 0, (480, 260)))
    assert not bare[0, 300].any() and bare[0, 0, 3] == 255
    expected = np.full((260, 480, 3), 255, np.uint8)
    expected[:160, :200], expected[20:, 360:] = first, second
    raster = OpenSlideRaster(tmp_path / "slide.scn")
    assert raster.level_dimensions == ((480, 260), (120, 65))
    assert np.array_equal(raster.read(Window(0, 0, 480, 260)), expected)
    assert np.array_equal(raster.read(Window(150, 3, 300, 200)), expected[3:203, 150:450])
    assert np.array_equal(raster.read(Window(7, 5, 100, 60, 1)), expected[::4, ::4][5:65, 7:107])


@pytest.mark.parametrize("said", [{"x": "-1"}, {"width": "641"}, {"height": "0"}, {"y": "a"}])
def test_bounds_that_cannot_be(tmp_path, monkeypatch, said):
    """One clear error; the slide is not read in another frame in silence."""
    write_pyramid(tmp_path / "slide.tiff", [coordinate_image(640, 480)])
    raster = OpenSlideRaster(tmp_path / "slide.tiff")
    true = {f"openslide.bounds-{k}": v for k, v in {"x": "0", "y": "0", "width": "640", "height": "480"}.items()}
    told = true | {f"openslide.bounds-{key}": value for key, value in said.items()}
    monkeypatch.setattr(openslide.OpenSlide, "properties", told)
    with pytest.raises(ReadError, match="cannot read its header .*(bounds x=.*leave its 640 x 480 px|invalid literal)"):
        _ = raster.level_dimensions


def test_a_mask_belongs_to_the_frame_of_the_bounds(tmp_path):
    """Image and mask of the scanned area, and a polygon counted from its corner, pixel by pixel."""
    levels = [coordinate_image(640, 480), coordinate_image(160, 120, 4)]
    write_scn(tmp_path / "slide.scn", [(levels, (100, 52))], (1000, 800))
    write_pyramid(tmp_path / "mask.tiff", [coordinate_mask(640, 480), coordinate_mask(160, 120, 4)])
    slide = open_slide(tmp_path / "slide.scn", tmp_path / "mask.tiff")
    assert isinstance(slide.image, OpenSlideRaster)
    for window in (Window(3, 70, 200, 100), Window(11, 20, 90, 80, 1)):
        image, mask = slide.read(window)
        assert np.array_equal(mask, mask_at(*places(image)))
    box = {"type": "Polygon", "coordinates": [[[10, 20], [30, 20], [30, 60], [10, 60], [10, 20]]]}
    shape = {"type": "Feature", "geometry": box, "properties": {"classification": {"name": "a"}}}
    drawn = open_slide(tmp_path / "slide.scn", [shape], codes=["none", "a"])
    image, mask = drawn.read(Window(0, 0, 100, 100))
    x0, y0 = places(image)
    assert np.array_equal(mask == 1, (x0 >= 10) & (x0 < 30) & (y0 >= 20) & (y0 < 60))


def test_transparency_is_laid_on_the_background():
    """Opaque pixels stay as they are, transparent ones take the background, half-transparent ones lie between."""
    rgba = np.array([[[10, 20, 30, 255], [10, 20, 30, 0], [100, 0, 255, 128]]], np.uint8)
    blended = [[[10, 20, 30], [200, 255, 0], [150, 127, 128]]]
    assert _composite(rgba, (200, 255, 0), alpha=False).tolist() == blended
    assert _composite(rgba, (200, 255, 0), alpha=True)[..., :3].tolist() == blended
    assert _composite(rgba, (200, 255, 0), alpha=True)[..., 3].tolist() == [[255, 0, 128]]
    assert _composite(rgba[:, :1], (0, 0, 0), alpha=False).tolist() == [[[10, 20, 30]]]


def test_mpp_that_is_none(tmp_path):
    """0 micrometres per pixel is no resolution."""
    pixels = coordinate_image(300, 250)
    assert OpenSlideRaster(write_svs(tmp_path / "a.svs", [pixels], mpp="0")).mpp is None
    assert OpenSlideRaster(write_svs(tmp_path / "b.svs", [pixels])).mpp == (0.499, 0.499)


def test_mpp_of_a_real_slide():
    """As the scanner wrote it."""
    assert OpenSlideRaster(real("bad/made/CMU-1-Small-Region_mpp_zero.svs")).mpp is None
    assert OpenSlideRaster(real("slides/CMU-1-Small-Region.svs")).mpp == (0.499, 0.499)


def broken_and_good(tmp_path, kind):
    """A slide with one broken tile, the same slide whole, and the tile's corner."""
    if kind == "made":
        write = functools.partial(write_svs, levels=[coordinate_image(900, 700)])
        return write(tmp_path / "one_tile_zeroed.svs", broken=5), write(tmp_path / "good.svs"), (240, 240)
    path = real("bad/made/CMU-1-Small-Region_one_tile_zeroed.svs")
    return path, real("slides/CMU-1-Small-Region.svs"), (65 % 10 * 240, 65 // 10 * 240)


@pytest.mark.parametrize("kind", ["made", "real"])
def test_an_error_does_not_poison_later_reads(tmp_path, kind):
    """The broken tile fails each time with file, level and window; others are read right, before and after."""
    path, whole, (left, top) = broken_and_good(tmp_path, kind)
    good, raster = OpenSlideRaster(whole), OpenSlideRaster(path)
    for _ in range(2):
        with pytest.raises(ReadError, match=rf"one_tile_zeroed.*level 0, window x={left} y={top} 9 x 9"):
            raster.read(Window(left, top, 9, 9))
        assert np.array_equal(raster.read(Window(5, 6, 70, 80)), good.read(Window(5, 6, 70, 80)))


@pytest.mark.parametrize("kind", ["made", "real"])
def test_a_poisoned_handle_is_replaced(tmp_path, kind):
    """An error that another thread met first costs one retry and no more."""
    path, _, corner = broken_and_good(tmp_path, kind)
    raster = OpenSlideRaster(path)
    before = raster.read(Window(5, 6, 70, 80))
    with pytest.raises(openslide.OpenSlideError):
        raster._slide().read_region(corner, 0, (9, 9))
    assert np.array_equal(raster.read(Window(5, 6, 70, 80)), before)


def test_what_openslide_does_not_open():
    """A missing file and a text file: one clear error each."""
    with pytest.raises(MissingError, match="no such file"):
        _ = OpenSlideRaster("/no/such/slide.svs").level_dimensions
    with pytest.raises(ReadError, match="no format that OpenSlide knows"):
        _ = OpenSlideRaster(__file__).level_dimensions
