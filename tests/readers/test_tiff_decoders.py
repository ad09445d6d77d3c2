"""Decoders that only odd tiles need are made when one comes: headers, pixels and errors stay those of eager decoders.

Every test runs as in a process that has opened files of the same kinds.
"""

from __future__ import annotations

import dataclasses
import zlib
from concurrent.futures import ThreadPoolExecutor

import imagecodecs
import numpy as np
import pytest
import tifffile

from patchaug import PatchaugError, ReadError, Window
from patchaug.readers import TiffRaster
from patchaug.readers.tiff import levels
from patchaug.readers.tiff.header import MAGIC, read_header
from patchaug.testing import coordinate_image
from patchaug.testing.fuzz_seeds import seed_files

HEIGHT, WIDTH, TILE = 100, 90, 64


class Everything(set):
    def __contains__(self, kind):
        return True


@pytest.fixture(autouse=True)
def opened_before(monkeypatch):
    monkeypatch.setattr(levels, "_loaded", Everything())


def values_of(thing):
    """Return a header, and all that it holds but decoders, as plain values."""
    if dataclasses.is_dataclass(thing):
        names = [field.name for field in dataclasses.fields(thing) if field.name != "decode"]
        return type(thing).__name__, [(name, values_of(getattr(thing, name))) for name in names]
    if isinstance(thing, np.ndarray):
        return str(thing.dtype), thing.tolist()
    if isinstance(thing, tuple):
        return [values_of(one) for one in thing]
    return repr(thing)


def header_or_error(path, **options):
    try:
        return read_header(str(path), **options)
    except PatchaugError as error:
        return error


def parts_of(header):
    return [part for level in header.levels for part in level.parts]


def test_headers_are_those_with_all_decoders(tmp_path):
    lazy = 0
    for name, data in seed_files().items():
        if not data.startswith(MAGIC):
            continue
        path = tmp_path / name
        path.write_bytes(data)
        for mask in (False, True):
            without, every = (header_or_error(path, mask=mask, decoders=decoders) for decoders in (False, True))
            if isinstance(every, PatchaugError):
                assert (type(without), str(without)) == (type(every), str(every))
                continue
            assert values_of(without) == values_of(every)
            assert all(part.decode is not None for part in parts_of(every))
            for part in parts_of(without):
                alone = part.jpeg is not None or part.packing is not None
                assert (part.decode is None) == (without.tiled and alone)
                lazy += part.decode is None
    assert lazy > 10


def write_odd(path, kind):
    """Write a TIFF whose tiles at the edges end with the picture; return the pixels."""
    pixels = coordinate_image(WIDTH, HEIGHT)
    pixels = pixels[..., 1].copy() if kind == "mask" else pixels
    crops = [pixels[y : y + TILE, x : x + TILE] for y in range(0, HEIGHT, TILE) for x in range(0, WIDTH, TILE)]
    if kind == "jpeg":
        tiles = [imagecodecs.jpeg8_encode(crop, level=95, colorspace="RGB", outcolorspace="YCBCR") for crop in crops]
        pixels = np.zeros_like(pixels)
        places = [(y, x) for y in range(0, HEIGHT, TILE) for x in range(0, WIDTH, TILE)]
        for (y, x), tile in zip(places, tiles, strict=True):
            pixels[y : y + TILE, x : x + TILE] = imagecodecs.jpeg8_decode(tile)
    else:
        tiles = [zlib.compress(np.ascontiguousarray(crop).tobytes()) for crop in crops]
    photometric = {"mask": "minisblack", "jpeg": "ycbcr", "deflate": "rgb"}[kind]
    tifffile.imwrite(
        path, iter(tiles), shape=pixels.shape, dtype=np.uint8, tile=(TILE, TILE), photometric=photometric,
        compression="jpeg" if kind == "jpeg" else "zlib", metadata=None,
    )  # fmt: skip
    return pixels


@pytest.mark.parametrize("kind", ["deflate", "mask", "jpeg"])
def test_odd_tiles_are_read_by_any_thread(tmp_path, kind):
    pixels = write_odd(tmp_path / "a.tiff", kind)
    raster = TiffRaster(tmp_path / "a.tiff", mask=kind == "mask")
    inside = Window(3, 5, 40, 50)
    np.testing.assert_array_equal(raster.read(inside), pixels[5:55, 3:43])
    assert all(part.decode is None for part in parts_of(raster.header))
    whole = Window(0, 0, WIDTH, HEIGHT)
    with ThreadPoolExecutor(4) as threads:
        for found in threads.map(raster.read, [whole] * 8):
            np.testing.assert_array_equal(found, pixels)
    np.testing.assert_array_equal(raster.read(inside), pixels[5:55, 3:43])


def test_damaged_tiles_are_the_same_error(tmp_path, monkeypatch):
    path = tmp_path / "a.tiff"
    tifffile.imwrite(path, coordinate_image(WIDTH, HEIGHT), tile=(TILE, TILE), photometric="rgb", compression="jpeg")
    with tifffile.TiffFile(path) as tiff:
        offset = tiff.pages[0].dataoffsets[0]
    data = bytearray(path.read_bytes())
    data[offset + 2 : offset + 40] = bytes(38)
    path.write_bytes(data)
    texts = []
    for loaded in (Everything(), set()):
        monkeypatch.setattr(levels, "_loaded", loaded)
        with pytest.raises(ReadError) as raised:
            TiffRaster(path).read(Window(0, 0, 10, 10))
        texts.append(str(raised.value))
    assert texts[0] == texts[1]
