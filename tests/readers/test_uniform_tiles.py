"""Tiles of one value are decoded once; pixels, types and errors are those of decoding each."""

from __future__ import annotations

import os
import pickle

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from patchaug.core.windows import Window
from patchaug.errors import ReadError
from patchaug.readers import TiffRaster
from patchaug.readers.tiff.uniform import UniformTiles
from patchaug.testing.raster_contract import forked

KINDS = [
    {"compression": "deflate"},
    {"compression": "lzw"},
    {"compression": "zstd", "predictor": 2},
    {"compression": "packbits"},
    {"compression": None},
]


def write(path, values, *, dtype, channels, options):
    """A picture of tiles of 64 px: each of one value, or of one value but for its middle pixel (value None)."""
    rows = []
    for row in values:
        tiles = [np.full((64, 64, channels), 1 if value is None else value, dtype) for value in row]
        for tile, value in zip(tiles, row, strict=True):
            if value is None:
                tile[32, 32, channels // 2] = 2
        rows.append(np.hstack(tiles))
    pixels = np.vstack(rows)[..., 0] if channels == 1 else np.vstack(rows)
    form = {"tile": (64, 64), "photometric": "minisblack", "metadata": None}
    tifffile.imwrite(path, pixels, **form, **({"planarconfig": "contig"} if channels > 1 else {}), **options)
    return pixels


@given(
    values=st.lists(st.lists(st.sampled_from([0, 1, 7, 255, None]), min_size=3, max_size=3), min_size=1, max_size=3),
    dtype=st.sampled_from([np.uint8, np.uint16, np.int16, np.float32]), channels=st.sampled_from([1, 3]),
    options=st.sampled_from(KINDS),
)  # fmt: skip
def test_pixels_are_those_of_the_file(tmp_path_factory, values, dtype, channels, options):
    """Read twice, also from a pickle, and in windows across tiles."""
    if np.dtype(dtype).kind == "f" and "predictor" in options:
        options = {"compression": "zstd"}
    path = tmp_path_factory.mktemp("uniform") / "a.tiff"
    pixels = write(path, values, dtype=dtype, channels=channels, options=options)
    raster = TiffRaster(path)
    height, width = pixels.shape[:2]
    for one in (raster, raster, pickle.loads(pickle.dumps(raster))):
        for window in (Window(0, 0, width, height), Window(40, 20, 100, 30)):
            got = one.read(window)
            assert got.dtype == dtype
            assert got.flags.writeable
            assert np.array_equal(got, pixels[window.y : window.bottom, window.x : window.right])


def test_tiles_of_one_value_are_decoded_once(tmp_path, monkeypatch):
    """Twelve tiles of two values: two are decoded; others each time."""
    import imagecodecs

    path = tmp_path / "a.tiff"
    pixels = write(path, [[0, 0, 5, None]] * 3, dtype=np.uint8, channels=1, options={"compression": "deflate"})
    raster = TiffRaster(path, mask=True)
    decoded, decode = [], imagecodecs.zlibng_decode
    monkeypatch.setattr(imagecodecs, "zlibng_decode", lambda *args, **kw: decoded.append(1) or decode(*args, **kw))
    for _ in range(2):
        assert np.array_equal(raster.read(Window(0, 0, 256, 192)), pixels)
    assert len(decoded) == 2 + 2 * 3


def test_what_is_remembered_is_bounded():
    """Many tiles of one value, tiles that hardly compress, and floats, where -0.0 is another 0.0."""
    known = UniformTiles()
    for value in range(200):
        known.add(b"%3d" % value, np.full((64, 64), value, np.uint8))
    found = [known.find(b"%3d" % value) for value in range(200)]
    assert sum(tile is not None for tile in found) == 64
    assert all(tile is None or (tile == value).all() for value, tile in enumerate(found))
    large = UniformTiles()
    large.add(bytes(1000), np.zeros((64, 64), np.uint8))
    assert large.find(bytes(1000)) is None
    floats = UniformTiles()
    floats.add(b"0", np.array([[0.0, -0.0]] * 64, np.float32))
    assert floats.find(b"0") is None


def test_a_damaged_tile_is_an_error_each_time(tmp_path):
    """A tile of other bytes than a known one is decoded, and a known one in a rewritten file is not taken for it."""
    path = tmp_path / "a.tiff"
    write(path, [[3, 3, 3]], dtype=np.uint8, channels=1, options={"compression": "deflate"})
    with tifffile.TiffFile(path) as tiff:
        offset, count = tiff.pages[0].dataoffsets[1], tiff.pages[0].databytecounts[1]
    content = bytearray(path.read_bytes())
    content[offset + count // 2] ^= 0xFF
    path.write_bytes(content)
    raster = TiffRaster(path, mask=True)
    assert (raster.read(Window(0, 0, 64, 64)) == 3).all()
    for _ in range(2):
        with pytest.raises(ReadError, match="tile 1 of level 0 cannot be read"):
            raster.read(Window(0, 0, 192, 64))
    write(path, [[4, 4, 4]], dtype=np.uint8, channels=1, options={"compression": "deflate"})
    with pytest.raises(ReadError, match="changed since it was first opened"):
        raster.read(Window(128, 0, 64, 64))
    assert (TiffRaster(path, mask=True).read(Window(0, 0, 192, 64)) == 4).all()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
def test_a_forked_child_reads_the_same(tmp_path):
    """What the parent knows, the child knows too, and what it adds stays its own."""
    path = tmp_path / "a.tiff"
    pixels = write(path, [[0, 9, 200]], dtype=np.uint8, channels=1, options={"compression": "lzw"})
    raster = TiffRaster(path, mask=True)
    raster.read(Window(0, 0, 64, 64))
    whole = Window(0, 0, 192, 64)
    assert forked(lambda: np.array_equal(raster.read(whole), pixels) and np.array_equal(raster.read(whole), pixels))()
    assert np.array_equal(raster.read(whole), pixels)
