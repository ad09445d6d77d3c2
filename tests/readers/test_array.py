"""Arrays as rasters."""

from __future__ import annotations

import numpy as np
import pytest

from patchaug.core.windows import Window
from patchaug.errors import OptionError
from patchaug.readers import ArrayRaster
from patchaug.testing import coordinate_image, coordinate_mask
from patchaug.testing.raster_contract import RasterTests


class TestLevels(RasterTests):
    """Two levels of a coordinate image."""

    pickles_small = False

    @pytest.fixture
    def expected(self):
        return [coordinate_image(301, 203), coordinate_image(150, 101, 2)]

    @pytest.fixture
    def raster(self, expected):
        return ArrayRaster([level.copy() for level in expected])


class TestMemmap(RasterTests):
    """A mask of 16 bits that lies in a read-only memmap."""

    pickles_small = False

    @pytest.fixture
    def expected(self):
        return [coordinate_mask(301, 203, classes=70).astype(np.uint16) * 900]

    @pytest.fixture
    def raster(self, expected, tmp_path):
        np.save(tmp_path / "mask.npy", expected[0])
        return ArrayRaster(np.load(tmp_path / "mask.npy", mmap_mode="r"))

    def test_pixels_are_a_plain_array(self, raster):
        """What is handed out holds no file open, and can be written to."""
        pixels = raster.read(Window(0, 0, 4, 3))
        assert type(pixels) is np.ndarray
        assert pixels.flags.writeable


@pytest.mark.parametrize(
    ("source", "word"),
    [
        ([], "at least one"),
        (np.zeros(4), "shape"),
        (np.zeros((0, 4)), "shape"),
        (["x"], "str"),
        ([np.zeros((4, 4)), np.zeros((2, 2, 3))], "same"),
    ],
)
def test_what_is_no_picture_is_refused(source, word):
    """The error names what is wrong."""
    with pytest.raises(OptionError, match=word):
        ArrayRaster(source)
