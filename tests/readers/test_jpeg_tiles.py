"""JPEG tiles: any window of any coding has the pixels that tifffile decodes, however little of a tile is decoded."""

from __future__ import annotations

import io

import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from patchaug.core.windows import Window
from patchaug.readers import TiffRaster
from patchaug.readers.codecs.image_headers import first_rows

TILE = 64


@st.composite
def jpeg_files(draw):
    """A tiled TIFF with noise in it, as bytes: any sampling of colour, with tables beside the tiles or in each."""
    height, width = draw(st.integers(1, 3 * TILE)), draw(st.integers(1, 3 * TILE))
    grey = draw(st.booleans())
    shape = (height, width) if grey else (height, width, 3)
    pixels = np.random.default_rng(draw(st.integers(0, 99))).integers(0, 256, shape, np.uint8)
    colour = {} if grey else {"photometric": draw(st.sampled_from(["ycbcr", "rgb"]))}
    if colour.get("photometric") == "ycbcr":
        colour["subsampling"] = draw(st.sampled_from([(1, 1), (2, 1), (2, 2), (4, 1)]))
    file = io.BytesIO()
    tifffile.imwrite(
        file,
        pixels,
        tile=(draw(st.sampled_from([32, TILE])), TILE),
        compression="jpeg",
        compressionargs={"level": draw(st.integers(5, 100))},
        **colour,
    )
    return file.getvalue()


@given(data=st.data(), content=jpeg_files(), ram=st.sampled_from([0, 1 << 24]))
def test_a_window_has_the_pixels_of_the_whole(tmp_path_factory, data, content, ram):
    path = tmp_path_factory.mktemp("jpeg") / "s.tiff"
    path.write_bytes(content)
    whole = tifffile.imread(path)
    height, width = whole.shape[:2]
    x, y = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    window = Window(x, y, data.draw(st.integers(1, width - x)), data.draw(st.integers(1, height - y)))
    found = TiffRaster(path, ram=ram).read(window)
    np.testing.assert_array_equal(found, whole[window.y : window.bottom, window.x : window.right])


def _picture(subsampling="4:2:0", **options):
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (TILE, TILE, 3), np.uint8)
    Image.fromarray(noise).save(file, "JPEG", subsampling=subsampling, **options)
    return file.getvalue()


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("restart", [0, 1])
def test_first_rows_keep_their_values_and_are_few(subsampling, restart):
    data = _picture(subsampling, restart_marker_rows=restart)
    whole = imagecodecs.jpeg8_decode(data)
    for rows in range(1, TILE - 4):
        shorter, claimed = first_rows(data, TILE, rows)
        assert rows < claimed <= rows + 4
        np.testing.assert_array_equal(imagecodecs.jpeg8_decode(shorter)[:rows], whole[:rows])


def test_what_cannot_be_cut_is_left_whole():
    assert first_rows(_picture(progressive=True), TILE, 3) is None  # each scan runs over the whole picture
    assert first_rows(_picture(), 2 * TILE, 3) is None  # it has another height than it should
    assert first_rows(_picture(), TILE, TILE - 1) is None
    for cut in range(1, 30):
        assert first_rows(_picture()[:cut], TILE, 3) is None
    assert first_rows(b"\x89PNG", TILE, 3) is None
