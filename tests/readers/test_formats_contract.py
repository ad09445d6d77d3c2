"""The contract of rasters over types, channels, and how their samples lie in the file."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile

from patchaug.readers import ImageRaster, TiffRaster
from patchaug.testing import RasterTests

# (dtype, channels, planar, tiles)
FORMS = [
    ("uint8", 1, False, True), ("uint8", 4, True, True), ("uint16", 3, False, True), ("uint16", 6, True, True),
    ("int16", 2, True, False), ("int16", 1, False, True), ("float32", 6, False, False), ("float32", 3, True, True),
]  # fmt: skip
SPAWNED = FORMS[3]  # a process takes seconds, and the pickle is of one kind


@pytest.mark.parametrize("form", FORMS, ids=lambda form: "-".join(map(str, form)))
class TestForms(RasterTests):
    """Two levels in tiles, or one in strips; extreme values included."""

    @pytest.fixture
    def expected(self, form):
        dtype, channels, _, tiles = form
        rng = np.random.default_rng(channels)
        levels = []
        for width, height in ((301, 203), (150, 101))[: 2 if tiles else 1]:
            shape = (height, width) if channels == 1 else (height, width, channels)
            if dtype == "float32":
                levels.append(rng.normal(size=shape).astype(dtype) * 1e6)
                continue
            info = np.iinfo(dtype)
            levels.append(rng.integers(info.min, info.max, shape, dtype, endpoint=True))
        return levels

    @pytest.fixture
    def raster(self, form, expected, tmp_path):
        _, channels, planar, tiles = form
        options = {"photometric": "minisblack", "compression": "deflate", "metadata": None}
        options |= {"tile": (64, 48)} if tiles else {"rowsperstrip": 7}
        with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
            for number, level in enumerate(expected):
                if planar:
                    level = level.transpose(2, 0, 1).copy()
                layout = None if channels == 1 else "separate" if planar else "contig"
                writer.write(level, planarconfig=layout, subfiletype=min(number, 1), **options)
        if tiles:
            return TiffRaster(tmp_path / "a.tif", ram=1 << 22)
        return ImageRaster(tmp_path / "a.tif", mask=False, ram=1 << 22)

    def test_spawned_children_read_right(self, raster, expected, form):
        """For one form."""
        if form == SPAWNED:
            super().test_spawned_children_read_right(raster, expected)
