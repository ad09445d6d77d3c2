"""Lossless strips and tiles, decoded without tifffile: pixels and errors are those that tifffile gives."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from patchaug.core.windows import Window
from patchaug.errors import ReadError
from patchaug.readers import TiffRaster
from patchaug.readers.tiff import decode
from patchaug.testing.raster_contract import some_windows

OPTIONS = st.fixed_dictionaries({
    "compression": st.sampled_from([None, "lzw", "deflate", "zstd", "packbits", "lzma"]),
    "predictor": st.booleans(),
    "byteorder": st.sampled_from("<>"),
})  # fmt: skip


@given(
    options=OPTIONS, dtype=st.sampled_from([np.uint8, np.uint16, np.int16, np.float32]),
    channels=st.sampled_from([1, 3, 4]), planar=st.booleans(), rows=st.sampled_from([None, 1, 7, 16, 64, 500]),
    height=st.integers(1, 90), width=st.integers(1, 120), smooth=st.booleans(), ram=st.sampled_from([0, 1 << 24]),
)  # fmt: skip
def test_windows_are_those_of_tifffile(
    tmp_path_factory, options, dtype, channels, planar, rows, height, width, smooth, ram
):
    """Strips of any number of rows (None: tiles), bands together or apart, all predictors and orders of bytes."""
    rng = np.random.default_rng(height * width)
    pixels = rng.integers(0, 3 if smooth else 250, (height, width, channels)).astype(dtype)
    stored = pixels[..., 0] if channels == 1 else pixels.transpose(2, 0, 1) if planar else pixels
    options = options | {"photometric": "minisblack", "metadata": None}
    difference = options.pop("predictor") and np.dtype(dtype).kind != "f" and options["compression"] is not None
    options |= {"predictor": 2} if difference else {}
    options |= {} if channels == 1 else {"planarconfig": "separate" if planar else "contig"}
    options |= {"tile": (32, 32)} if rows is None else {"rowsperstrip": rows}
    path = tmp_path_factory.mktemp("strips") / "a.tiff"
    tifffile.imwrite(path, stored, **options)
    raster = TiffRaster(path, ram=ram)
    expected = pixels[..., 0] if channels == 1 else pixels
    assert np.array_equal(tifffile.imread(path), stored)
    for window in some_windows(raster.level_dimensions, number=6, whole=True):
        got = raster.read(window)
        assert got.dtype == dtype
        assert np.array_equal(got, expected[window.y : window.bottom, window.x : window.right])


def text_of(raster, window):
    """The pixels of a window, or the text of the error."""
    try:
        return raster.read(window).tobytes()
    except ReadError as error:
        return str(error)


@pytest.mark.parametrize("compression", [None, "lzw", "deflate", "zstd"])
@given(number=st.integers(0, 3), place=st.floats(0, 0.999), flip=st.integers(1, 255))
def test_damaged_strips_are_what_tifffile_makes_of_them(tmp_path_factory, compression, number, place, flip):
    """A byte of a strip is another one: the same pixels, or the same error, as when tifffile decodes the strip."""
    path = tmp_path_factory.mktemp("damaged") / "a.tiff"
    pixels = np.random.default_rng(0).integers(0, 3, (50, 40), np.uint8)
    tifffile.imwrite(path, pixels, compression=compression, rowsperstrip=16, photometric="minisblack", metadata=None)
    with tifffile.TiffFile(path) as tiff:
        at = tiff.pages[0].dataoffsets[number] + int(tiff.pages[0].databytecounts[number] * place)
    content = bytearray(path.read_bytes())
    content[at] ^= flip
    path.write_bytes(content)
    window = Window(0, 16 * number, 40, min(16, 50 - 16 * number))
    got = text_of(TiffRaster(path), window)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decode, "unpack_tile", lambda *arguments: None)  # tifffile decodes
        assert got == text_of(TiffRaster(path), window)
