"""Pixels from OpenSlide that are kept in the arena: the same contract, each block read once, nothing lost by it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from patchaug.core.memory import arena as arena_file
from patchaug.core.memory.arena import UNIT, arena
from patchaug.core.memory.tile_cache import PrivateTileCache
from patchaug.core.windows import Window
from patchaug.errors import ReadError
from patchaug.readers import OpenSlideRaster, tiled
from patchaug.readers.openslide_origins import SIDE
from patchaug.testing import coordinate_image, write_pyramid
from patchaug.testing.raster_contract import RasterTests, digests, some_windows
from tests.readers.conftest import real, twice_by_two
from tests.readers.made_files import write_dicom
from tests.readers.openslide_files import pyramid, write_scn
from tests.readers.test_openslide import broken_and_good, whole_levels

RAM = 1 << 27
BLOCK = SIDE * SIDE * 4  # colours and transparency


class CountingRaster(OpenSlideRaster):
    """Writes a byte into a file beside its own for each region that it asks OpenSlide for."""

    def _rgba(self, l0_origin, level, size):
        with open(f"{self.path}.reads", "ab", buffering=0) as log:
            log.write(b"x")
        return super()._rgba(l0_origin, level, size)

    def reads(self):
        path = Path(f"{self.path}.reads")
        return path.stat().st_size if path.exists() else 0


@pytest.fixture
def own(monkeypatch):
    """An arena that no other test has filled."""
    monkeypatch.setattr(arena_file, "_arena", None)
    return arena()


class TestKept(RasterTests):
    """Several blocks a level."""

    ram = RAM

    @pytest.fixture
    def expected(self):
        return [coordinate_image(1300, 1100), coordinate_image(325, 275, 4)]

    @pytest.fixture
    def raster(self, expected, tmp_path, own):
        write_pyramid(tmp_path / "slide.tiff", expected)
        return OpenSlideRaster(tmp_path / "slide.tiff", ram=self.ram)


class TestKeptWithLittleRoom(TestKept):
    """Room for the table and two blocks."""

    ram = 2 * BLOCK + 2 * UNIT
    test_spawned_children_read_right = None


class TestKeptByOneProcess(TestKept):
    """Where processes cannot share memory (Windows)."""

    test_spawned_children_read_right = None  # they would share it: the system is not changed there

    @pytest.fixture
    def raster(self, expected, tmp_path, monkeypatch):
        monkeypatch.setattr(tiled, "arena", lambda: None)
        write_pyramid(tmp_path / "slide.tiff", expected)
        raster = OpenSlideRaster(tmp_path / "slide.tiff", ram=4 * BLOCK)
        raster.read(Window(0, 0, 1300, 1100))
        assert isinstance(raster._tile_cache, PrivateTileCache)
        assert len(raster._tile_cache._tiles) == 4
        return raster


class TestKeptWithBounds(RasterTests):
    """A scanned area of several blocks in a larger frame."""

    @pytest.fixture
    def expected(self):
        return [coordinate_image(640, 560), coordinate_image(160, 140, 4)]

    @pytest.fixture
    def raster(self, expected, tmp_path, own):
        write_scn(tmp_path / "slide.scn", [(expected, (100, 52))], (1000, 800))
        return OpenSlideRaster(tmp_path / "slide.scn", ram=RAM)


@pytest.mark.parametrize("name", ["slides/test3-TRITC 2 (560).ndpi", "slides/camelyon_lowres_jpeg.dcm"], scope="class")
class TestRealSlidesKept(RasterTests):
    """NDPI and DICOM."""

    @pytest.fixture
    def expected(self, name):
        return whole_levels(real(name))

    @pytest.fixture
    def raster(self, name):
        return OpenSlideRaster(real(name), ram=RAM)


class TestDicomKept(RasterTests):
    """DICOM written by the tests."""

    @pytest.fixture
    def expected(self):
        return [coordinate_image(330, 250)]

    @pytest.fixture
    def raster(self, expected, tmp_path):
        return OpenSlideRaster(write_dicom(tmp_path / "a.dcm", expected[0]), ram=RAM)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_read_each_block_once(tmp_path, method, own):
    """Whoever asks first; also processes that are started later, as new workers are in each epoch."""
    write_pyramid(tmp_path / "slide.tiff", [coordinate_image(1300, 1100)])
    raster = CountingRaster(tmp_path / "slide.tiff", ram=RAM)
    windows = some_windows(raster.level_dimensions, whole=True)
    assert twice_by_two(raster, windows, method) == [digests(OpenSlideRaster(raster.path), windows)] * 4
    raster.read(Window(0, 0, 1300, 1100))
    assert raster.reads() == 3 * 3


def test_odd_downsamples_are_the_same_with_any_budget(tmp_path, own):
    """Where origins are near the grid, and where none is: what a pixel is does not depend on what is kept."""
    for name, ratio in (("near", 16.0056), ("far", 4.0004)):
        made = pyramid(tmp_path / f"{name}.tiff", 2100, 1300, round(2100 * ratio), round(1300 * ratio))
        assert (name == "near") == np.array_equal(made.raster.read(Window(0, 0, 2100, 1300, 1)), made.noise)
        windows = [w for w in some_windows(made.raster.level_dimensions, whole=False, number=12) if w.level == 1]
        wanted = digests(made.raster, windows)
        for ram in (RAM, 60 * UNIT, 1):
            assert digests(OpenSlideRaster(tmp_path / f"{name}.tiff", ram=ram), windows) == wanted


def test_without_room_only_windows_are_read(tmp_path, own):
    """No block is read whole for nothing once it is known that it finds no room, and a window is one read."""
    write_pyramid(tmp_path / "slide.tiff", [coordinate_image(1300, 1100)])
    raster = OpenSlideRaster(tmp_path / "slide.tiff", ram=BLOCK + 2 * UNIT)
    raster.read(Window(0, 0, 600, 9))
    sizes = []
    raster._rgba = lambda l0, level, size: sizes.append(size) or OpenSlideRaster._rgba(raster, l0, level, size)
    for window in (Window(500, 400, 100, 150), Window(600, 500, 500, 400)):
        seen = raster.read(window)
        assert np.array_equal(seen, coordinate_image(1300, 1100)[window.y : window.bottom, window.x : window.right])
    assert sizes == [(100, 150), (500, 400)]
    raster.read(Window(20, 30, 400, 300))
    assert len(sizes) == 2  # of the block that is kept


@pytest.mark.parametrize("kind", ["made", "real"])
def test_a_broken_tile_harms_no_window_beside_it(tmp_path, kind):
    """Its block cannot be kept; windows of the block that do not touch it read as ever, the others say where."""
    path, whole, (left, top) = broken_and_good(tmp_path, kind)
    good, raster = OpenSlideRaster(whole), OpenSlideRaster(path, ram=RAM)
    for _ in range(2):
        with pytest.raises(ReadError, match=rf"one_tile_zeroed.*level 0, window x={left} y={top} 9 x 9"):
            raster.read(Window(left, top, 9, 9))
        for window in (Window(left - 100, top - 200, 100, 300), Window(5, 6, 700, 80)):
            assert np.array_equal(raster.read(window), good.read(window))
