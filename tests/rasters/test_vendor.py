"""Slides through OpenSlide."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from conftest import real

from patchaug.errors import MissingError, ReadError
from patchaug.geometry import Window
from patchaug.rasters import OpenSlideRaster
from patchaug.rasters.vendor import _composited
from patchaug.testing import coordinate_image, write_pyramid
from patchaug.testing.contract import RasterTests

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


def test_windows_of_odd_downsamples_are_at_most_half_a_level0_pixel_off(tmp_path):
    """At a downsample that is no whole number OpenSlide takes no exact origin: a ramp shows how far it is off."""
    ramp = np.tile(np.arange(240, dtype=np.uint8)[None, :, None], (200, 1, 3))
    write_pyramid(tmp_path / "slide.tiff", [np.zeros((667, 801, 3), np.uint8), ramp])
    raster = OpenSlideRaster(tmp_path / "slide.tiff")
    assert raster.level_downsamples[1] % 1 > 0.1
    for x in range(0, 200, 7):
        seen = raster.read(Window(x, 50, 30, 30, 1)).astype(float)
        # Half a level-0 pixel, and 2 grey values where OpenSlide blends the seam of two tiles.
        assert np.abs(seen[..., 0] - np.arange(x, x + 30)).max() <= 0.5 / raster.level_downsamples[1] + 2


def test_transparency_is_laid_on_the_background():
    """Opaque pixels stay as they are, transparent ones take the background, half-transparent ones lie between."""
    rgba = np.array([[[10, 20, 30, 255], [10, 20, 30, 0], [100, 0, 255, 128]]], np.uint8)
    assert _composited(rgba, (200, 255, 0)).tolist() == [[[10, 20, 30], [200, 255, 0], [150, 127, 128]]]
    assert _composited(rgba[:, :1], (0, 0, 0)).tolist() == [[[10, 20, 30]]]


def test_mpp_that_is_none():
    """0 micrometres per pixel is no resolution."""
    assert OpenSlideRaster(real("bad/made/CMU-1-Small-Region_mpp_zero.svs")).mpp is None
    assert OpenSlideRaster(real("slides/CMU-1-Small-Region.svs")).mpp == (0.499, 0.499)


def test_an_error_does_not_poison_later_reads():
    """The broken tile fails each time with file, level and window; others are read right, before and after."""
    path = real("bad/made/CMU-1-Small-Region_one_tile_zeroed.svs")
    good = OpenSlideRaster(real("slides/CMU-1-Small-Region.svs"))
    raster = OpenSlideRaster(path)
    left, top = 65 % 10 * 240, 65 // 10 * 240
    for _ in range(2):
        with pytest.raises(ReadError, match=rf"one_tile_zeroed.*level 0, window x={left} y={top} 9 x 9"):
            raster.read(Window(left, top, 9, 9))
        assert np.array_equal(raster.read(Window(5, 6, 70, 80)), good.read(Window(5, 6, 70, 80)))


def test_a_poisoned_handle_is_replaced():
    """An error that another thread met first costs one retry and no more."""
    path = real("bad/made/CMU-1-Small-Region_one_tile_zeroed.svs")
    raster = OpenSlideRaster(path)
    before = raster.read(Window(5, 6, 70, 80))
    with pytest.raises(openslide.OpenSlideError):
        raster._slide().read_region((65 % 10 * 240, 65 // 10 * 240), 0, (9, 9))
    assert np.array_equal(raster.read(Window(5, 6, 70, 80)), before)


def test_what_openslide_does_not_open():
    """A missing file and a text file: one clear error each."""
    with pytest.raises(MissingError, match="no such file"):
        _ = OpenSlideRaster("/no/such/slide.svs").level_dimensions
    with pytest.raises(ReadError, match="no format that OpenSlide knows"):
        _ = OpenSlideRaster(__file__).level_dimensions
