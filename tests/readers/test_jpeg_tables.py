"""JPEG tiles as slide scanners write them: tables beside the tiles, RGB inside JPEG, edge tiles whole or cut."""

from __future__ import annotations

import struct

import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from patchaug.core.windows import Window
from patchaug.errors import ReadError
from patchaug.readers import TiffRaster
from tests.hostile import files

_TABLES = {0xDB, 0xC4}  # of quantisation, and of Huffman's codes


def split(data: bytes) -> tuple[bytes, bytes]:
    """The tables of a JPEG, as a stream of their own, and the rest of it."""
    tables, rest, at = b"", b"", 2
    while data[at + 1] != 0xDA:
        end = at + 2 + struct.unpack_from(">H", data, at + 2)[0]
        if data[at + 1] in _TABLES:
            tables += data[at:end]
        else:
            rest += data[at:end]
        at = end
    return b"\xff\xd8" + tables + b"\xff\xd9", b"\xff\xd8" + rest + data[at:]


@st.composite
def slides(draw):
    """(width, height, tags, tiles) of a TIFF in JPEG: any quality, sampling and colour, with and without tables."""
    width, height = draw(st.integers(1, 150)), draw(st.integers(1, 150))
    tile_width, tile_height = draw(st.sampled_from([16, 48, 64])), draw(st.sampled_from([16, 48, 64]))
    colour = draw(st.sampled_from(["grey", "rgb", "ycbcr"]))
    sampling = draw(st.sampled_from(["444", "422", "420"])) if colour == "ycbcr" else "444"
    apart = draw(st.booleans())  # tables beside the tiles
    cut = draw(st.booleans())  # tiles at the edge have the size that is left
    level = draw(st.integers(5, 100))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    pixels = rng.integers(0, 256, (height, width, *(() if colour == "grey" else (3,))), np.uint8)
    across, down = -(-width // tile_width), -(-height // tile_height)
    options = {"level": level, "subsampling": sampling} if colour == "ycbcr" else {"level": level}
    if colour == "rgb":
        options |= {"colorspace": "rgb", "outcolorspace": "rgb"}
    tiles, tables = [], b""
    for row in range(down):
        for column in range(across):
            part = pixels[row * tile_height :, column * tile_width :][:tile_height, :tile_width]
            if not cut:
                beyond = [(0, tile_height - part.shape[0]), (0, tile_width - part.shape[1]), (0, 0)][: part.ndim]
                part = np.pad(part, beyond, mode="edge")
            tables, rest = split(whole := bytes(imagecodecs.jpeg8_encode(np.ascontiguousarray(part), **options)))
            tiles.append(rest if apart else whole)
    samples = 1 if colour == "grey" else 3
    tags = {
        256: ("I", width), 257: ("I", height), 258: ("H", [8] * samples), 259: ("H", 7),
        262: ("H", {"grey": 1, "rgb": 2, "ycbcr": 6}[colour]), 277: ("H", samples), 284: ("H", 1),
        322: ("I", tile_width), 323: ("I", tile_height),
        324: ("I", [8 + sum(map(len, tiles[:n])) for n in range(len(tiles))]), 325: ("I", [len(one) for one in tiles]),
    }  # fmt: skip
    if colour == "ycbcr":
        tags[530] = ("H", {"444": [1, 1], "422": [2, 1], "420": [2, 2]}[sampling])
    if apart:
        tags[347] = ("B", list(tables))
    return tags, tiles


@given(made=slides(), ram=st.sampled_from([0, 1 << 24]), data=st.data())
def test_pixels_are_those_that_tifffile_decodes(tmp_path_factory, made, ram, data):
    """Decoded straight by imagecodecs, without the ways round."""
    tags, tiles = made
    path = files.raw_tiff(tmp_path_factory.mktemp("jpeg") / "a.tif", tags, b"".join(tiles))
    wanted = tifffile.imread(path)
    raster = TiffRaster(path, ram=ram)
    assert raster.header.levels[0].jpeg is not None
    height, width = wanted.shape[:2]
    assert np.array_equal(raster.read(Window(0, 0, width, height)), wanted)
    x, y = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    window = Window(x, y, data.draw(st.integers(1, width - x)), data.draw(st.integers(1, height - y)))
    found = TiffRaster(path, ram=ram).read(window)
    assert np.array_equal(found, wanted[window.y : window.bottom, window.x : window.right])


@given(slides())
def test_without_the_tables_that_it_needs_a_tile_is_an_error(tmp_path_factory, made):
    """libjpeg has no tables of its own."""
    tags, tiles = made
    if 347 not in tags:
        return
    path = files.raw_tiff(tmp_path_factory.mktemp("jpeg") / "a.tif", {k: v for k, v in tags.items() if k != 347},
                          b"".join(tiles))  # fmt: skip
    with pytest.raises(ReadError, match="tile 0 of level 0 cannot be read"):
        TiffRaster(path).read(Window(0, 0, 1, 1))
