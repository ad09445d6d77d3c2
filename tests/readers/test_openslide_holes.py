"""Places that a slide leaves out: OpenSlide makes them transparent, and they are not valid."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from patchaug import Foreground, LabelError, Plan, Slide, Window
from patchaug.readers import ArrayRaster, OpenSlideRaster
from patchaug.readers.hooks import all_valid
from patchaug.testing import coordinate_image, write_pyramid
from tests.readers.made_files import write_svs
from tests.readers.test_tiff import _patched

openslide = pytest.importorskip("openslide")
MISSING = (2, 7, 8)  # tiles of level 0 that are not stored
SIDE = 600


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A generic tiled TIFF of two levels, some of whose tiles are not stored."""
    path = tmp_path / "slide.tiff"
    write_pyramid(path, [coordinate_image(SIDE, SIDE), coordinate_image(SIDE // 2, SIDE // 2, 2)], tile=128)
    _patched(path, "TileByteCounts", dict.fromkeys(MISSING, 0))
    _patched(path, "TileOffsets", dict.fromkeys(MISSING, 0))
    return path


def scanned() -> np.ndarray:
    """Which pixels of level 0 are stored."""
    valid = np.ones((SIDE, SIDE), bool)
    for number in MISSING:
        y, x = (128 * at for at in divmod(number, 5))
        valid[y : y + 128, x : x + 128] = False
    return valid


@pytest.mark.parametrize("ram", [0, 1 << 26])
def test_transparent_pixels_are_not_valid(path: Path, ram: int) -> None:
    """With blocks in the cache and without, at each level, also in a copy; colours stay those on the background."""
    raster = OpenSlideRaster(path, ram=ram)
    assert not all_valid(raster) and raster.channels == 3
    slide = openslide.OpenSlide(path)
    for one in (raster, raster, pickle.loads(pickle.dumps(raster))):
        for window in (Window(0, 0, SIDE, SIDE), Window(100, 90, 300, 211), Window(30, 40, 200, 150, 1)):
            pixels, valid = one.read_valid(window)
            scale = 2**window.level
            rgba = np.asarray(
                slide.read_region((window.x * scale, window.y * scale), window.level, (window.width, window.height))
            )
            assert pixels.shape == (window.height, window.width, 3) and pixels.flags.c_contiguous
            expected = rgba[..., 3] > 0
            assert expected.all() if valid is None else np.array_equal(valid, expected)
            assert np.array_equal(pixels, np.where(expected[..., None], rgba[..., :3], 255))
            assert np.array_equal(one.read(window), pixels)
    assert np.array_equal(raster.read_valid(Window(0, 0, SIDE, SIDE))[1], scanned())


def test_labels_of_places_that_were_not_scanned(path: Path) -> None:
    """Ignored in patches and in the index; an error where there is no ignore_index."""
    labels = np.ones((SIDE // 4, SIDE // 4), np.uint8)  # coarser than the image
    raster = OpenSlideRaster(path, ram=1 << 26)
    slide = Slide(raster, ArrayRaster(labels), name="slide", ignore_index=255)
    expected = np.where(scanned(), 1, 255)
    assert np.array_equal(slide.read(Window(0, 0, SIDE, SIDE)).mask, expected)
    index = slide.labels()
    assert {value: index.pixels(value) for value in index.runs} == {
        1: np.count_nonzero(scanned()), 255: np.count_nonzero(~scanned())
    }  # fmt: skip
    for draw in Plan([slide], Foreground(64, per_slide=20, foreground=1.0, min_valid=1.0)):
        assert scanned()[draw.window.y : draw.window.bottom, draw.window.x : draw.window.right].all()
    bare = Slide(raster, ArrayRaster(labels), name="slide")
    bare.read(Window(0, 0, 100, 100))
    with pytest.raises(LabelError, match="slide: 16384 px of level 0, window x=200 y=0 200 x 128 hold no data"):
        bare.read(Window(200, 0, 200, 128))


def test_formats_that_store_all_tiles_keep_three_channels(tmp_path: Path) -> None:
    """Their blocks take no more room, and no index reads them."""
    raster = OpenSlideRaster(write_svs(tmp_path / "a.svs", [coordinate_image(500, 400)]))
    assert all_valid(raster) and raster.layout.channels == (3,)
    assert raster.read_valid(Window(0, 0, 9, 9))[1] is None
