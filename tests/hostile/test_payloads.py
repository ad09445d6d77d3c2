"""Payloads that unpack to more than they may: each codec of TIFF and zarr, within 2 s and 512 MiB."""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import pytest

from tests.hostile import files
from tests.hostile.limits import limited
from tests.hostile.test_table import as_mask, read_all
from tests.hostile.zarrs import zarr2

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of memory are set through /proc"),
    pytest.mark.filterwarnings("ignore"),
]

MEMORY, SECONDS = 512 << 20, 2
SIDE = 46_000
SMALL = np.zeros((256, 256, 3), np.uint8)


def lerc(side: int = SIDE, values: int = 3) -> bytes:
    """LERC of constant pixels, which has 70 bytes whatever its size."""
    data = bytearray(imagecodecs.lerc_encode(np.zeros((8, 8, 3), np.uint8)))
    struct.pack_into("<iii", data, 14, side, side, values)
    return bytes(data)


def lerc_of_zeros(compression: str) -> bytes:
    """A second compression around LERC that unpacks to 2 GB."""
    packed = files.zeros(1 << 31) if compression == "deflate" else imagecodecs.zstd_encode(bytes(1 << 30))
    return bytes(packed)


def jpegxr() -> bytes:
    """JPEG XR whose tag table claims other sides."""
    data = bytearray(imagecodecs.jpegxr_encode(SMALL))
    for tag in (0xBC80, 0xBC81):
        at = data.index(struct.pack("<HH", tag, 4))
        struct.pack_into("<I", data, at + 8, SIDE)
    return bytes(data)


def jpeg2000_channels() -> bytes:
    """JPEG 2000 of the right sides with 16,000 channels."""
    data = bytearray(imagecodecs.jpeg2k_encode(SMALL, codecformat="j2k"))
    at = data.index(b"\xff\x51")
    struct.pack_into(">H", data, at + 38, 16_000)
    return bytes(data)


TIFFS: dict[str, tuple[int, Callable[[], bytes], str]] = {
    "LERC": (34887, lerc, "claim 46000 x 46000 px"),
    "LERC of many values": (34887, lambda: lerc(256, 9000), "claim 9000 channels"),
    "LERC in deflate": (34887, lambda: lerc_of_zeros("deflate"), "tile 0"),
    "LERC in zstd": (34887, lambda: lerc_of_zeros("zstd"), "tile 0"),
    "JPEG XR": (34934, jpegxr, "JPEG XR is not supported"),
    "JPEG 2000 of many channels": (33005, jpeg2000_channels, "claim 16000 channels"),
}


@pytest.mark.parametrize("name", TIFFS)
def test_tiles_claim_no_more_than_they_have(name: str, tmp_path: Path) -> None:
    """Refused before anything is allocated."""
    compression, make, text = TIFFS[name]
    path = files.one_tile(tmp_path / "a.tif", make(), compression)
    status, found = limited(read_all, path, memory=MEMORY, seconds=SECONDS)
    assert status == "ReadError" and text in found, (status, found)


ZARRS: dict[str, tuple[dict[str, object], Callable[[], bytes], str]] = {
    "imagecodecs_lerc": ({"id": "imagecodecs_lerc"}, lerc, "claim 46000 x 46000 px"),
    "imagecodecs_jpegxr": ({"id": "imagecodecs_jpegxr"}, jpegxr, "ends the whole process"),
    "imagecodecs_webp": ({"id": "imagecodecs_webp"}, lambda: b"RIFF0000WEBPVP8X" + bytes(8) + b"\xff" * 6, "claim"),
    "imagecodecs_zstd": ({"id": "imagecodecs_zstd"}, lambda: bytes(imagecodecs.zstd_encode(bytes(1 << 30))), "tile 0"),
    "imagecodecs_brotli": ({"id": "imagecodecs_brotli"}, lambda: bytes(imagecodecs.brotli_encode(bytes(1 << 28))),
                           "tile 0"),
    "imagecodecs_szip": ({"id": "imagecodecs_eer", "shape": [SIDE, SIDE], "skipbits": 8, "horzbits": 2,
                          "vertbits": 2}, lambda: bytes(64), "imagecodecs_eer"),
    "vlen-utf8": ({"id": "vlen-utf8"}, lambda: struct.pack("<I", 1 << 28) + bytes(64), "vlen-utf8"),
    "vlen-bytes": ({"id": "vlen-bytes"}, lambda: struct.pack("<I", 1 << 28) + bytes(64), "vlen-bytes"),
    "json2": ({"id": "json2"}, lambda: b"[]", "json2"),
    "msgpack2": ({"id": "msgpack2"}, lambda: b"\xdd\x7f\xff\xff\xff", "msgpack2"),
}  # fmt: skip


@pytest.mark.parametrize("name", ZARRS)
def test_chunks_unpack_to_no_more_than_they_have(name: str, tmp_path: Path) -> None:
    """What cannot be bounded is not read."""
    pytest.importorskip("numcodecs")
    codec, make, text = ZARRS[name]
    path = zarr2(tmp_path / "a.zarr", make(), compressor=codec)
    status, found = limited(read_all, path, memory=MEMORY, seconds=SECONDS)
    assert status == "ReadError" and text in found, (status, found)


def test_good_payloads_of_the_same_codecs_are_read(tmp_path: Path) -> None:
    """The checks refuse lies alone."""
    codecs = pytest.importorskip("imagecodecs.numcodecs")
    pixels = np.arange(64 * 64 * 3, dtype=np.uint8).reshape(64, 64, 3)
    from patchaug import Window
    from patchaug.readers import open_raster

    for name in ("Lerc", "Png", "Brotli", "Zstd", "Lzw", "Webp", "Jpegxl", "Jpegls", "Qoi"):
        codec = getattr(codecs, name)(**({"level": 100, "lossless": True} if name == "Webp" else {}))
        path = zarr2(tmp_path / f"{name}.zarr", bytes(codec.encode(pixels)), compressor=codec.get_config())
        found = open_raster(path).read(Window(0, 0, 64, 64))
        assert found.shape == pixels.shape
        if name != "Jpegxl":
            assert np.array_equal(found, pixels), name
    for options in ({}, {"compression": "zstd"}, {"compression": "deflate"}):
        path = files.one_tile(tmp_path / "a.tif", bytes(imagecodecs.lerc_encode(SMALL, **options)), 34887)
        assert not open_raster(path).read(Window(0, 0, 256, 256)).any()


def test_a_ring_of_millions_of_points_is_refused(tmp_path: Path) -> None:
    """Points are counted before they become numbers: nine million cost 2.6 GB and 23 s."""
    pytest.importorskip("shapely")
    ring = "[" + ",".join(["[1,2]"] * 9_000_000) + "]"
    head = '{"type":"Feature","properties":{"classification":"tumour"},"geometry":{"type":"Polygon","coordinates":['
    path = tmp_path / "m.geojson"
    path.write_text(head + ring + "]}}")
    status, found = limited(as_mask, path, memory=MEMORY, seconds=SECONDS)
    assert status == "ReadError" and "a ring of 9,000,00" in found, (status, found)
    assert json.loads(head + "[[1,2]]]}}")
    many = tmp_path / "many.geojson"
    many.write_text(head + ",".join(["[[1,1],[9,1],[9,9]]"] * 200_000) + "]}}")  # few points each
    status, found = limited(as_mask, many, memory=MEMORY, seconds=8)
    assert status == "ReadError" and "a polygon of 200,000 rings" in found, (status, found)
