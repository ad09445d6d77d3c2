"""Lossless tiles unpacked without tifffile: its pixels, and never more memory than a tile has."""

from __future__ import annotations

import bz2
import io
import lzma
import struct
import zlib

import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import assume, given
from hypothesis import strategies as st

from patchaug.core.windows import Window
from patchaug.errors import ReadError
from patchaug.readers import TiffRaster
from patchaug.readers.codecs.decompress import CODECS, unpack
from patchaug.readers.codecs.image_headers import frame_size
from tests.hostile import files

TILE = 32


@st.composite
def packed_files(draw):
    """A tiled TIFF of noise or of steps, as bytes, and whether it is a mask."""
    dtype = np.dtype(draw(st.sampled_from(["u1", "u1", "u2", "i4", "u8", "?"])))
    mask = dtype != np.uint8 or draw(st.booleans())
    shape = (draw(st.integers(1, 3 * TILE)), draw(st.integers(1, 3 * TILE)), *(() if mask else (3,)))
    most = 2 if dtype.kind == "b" else 1 << min(8 * dtype.itemsize - 1, 62)
    pixels = np.random.default_rng(draw(st.integers(0, 99))).integers(0, most, shape).astype(dtype)
    if draw(st.booleans()):
        pixels[:] = np.sort(pixels, axis=1)
    compression = draw(st.sampled_from([None, "lzw", "deflate", "zlib", "lzma", "zstd", "packbits"]))
    file = io.BytesIO()
    tifffile.imwrite(
        file, pixels, tile=(TILE, draw(st.sampled_from([16, TILE]))), compression=compression,
        photometric="minisblack" if mask else "rgb", byteorder=draw(st.sampled_from("<>")),
        predictor=dtype.str[1:] not in ("b1", "u8") and compression not in (None, "packbits") and draw(st.booleans()),
    )  # fmt: skip
    return file.getvalue(), mask


@given(packed_files(), st.integers(0, 1 << 24))
def test_a_window_has_the_pixels_that_tifffile_decodes(tmp_path_factory, made, ram):
    """Every codec, predictor, byte order and dtype, and tiles over the edge."""
    content, mask = made
    path = tmp_path_factory.mktemp("packed") / "a.tiff"
    path.write_bytes(content)
    wanted = tifffile.imread(path)
    raster = TiffRaster(path, mask=mask, ram=ram)
    assert raster.header.levels[0].packing is not None  # or else tifffile would be compared with itself
    height, width = wanted.shape[:2]
    found = raster.read(Window(0, 0, width, height))
    assert found.dtype == (np.uint8 if wanted.dtype == bool else wanted.dtype)
    assert np.array_equal(found, wanted)
    assert np.array_equal(raster.read(Window(width // 2, height // 3, 1, 1))[0, 0], wanted[height // 3, width // 2])


PACK = {
    "none": bytes, "lzw": imagecodecs.lzw_encode, "deflate": zlib.compress, "lzma": lzma.compress,
    "packbits": imagecodecs.packbits_encode, "zstd": imagecodecs.zstd_encode,
}  # fmt: skip


@pytest.mark.parametrize("number", CODECS)
@pytest.mark.parametrize(("change", "pattern"), [(1, r"more than|has 12288|INSUFFICIENT"), (-1, "tile 0")])
def test_tiles_of_another_length_are_errors(tmp_path, number, change, pattern):
    """One byte more than a tile has used to be cut without a word; one byte less was always seen."""
    noise = np.random.default_rng(0).integers(0, 9, 64 * 64 * 3 + 1, np.uint8).tobytes()
    path = files.one_tile(tmp_path / "a.tif", PACK[CODECS[number]](noise[:-1]), number, tile=64)
    assert TiffRaster(path).read(Window(0, 0, 64, 64)).tobytes() == noise[:-1]
    path = files.one_tile(
        tmp_path / "b.tif", PACK[CODECS[number]]((noise + b"x")[: 64 * 64 * 3 + change]), number, tile=64
    )
    with pytest.raises(ReadError, match=pattern):
        TiffRaster(path).read(Window(0, 0, 64, 64))


# Some decoders are chosen for long runs.
RUNS = st.lists(st.tuples(st.binary(min_size=1, max_size=2), st.integers(1, 1_500)), min_size=1, max_size=9).map(
    lambda runs: b"".join(content * count for content, count in runs)
)


@pytest.mark.parametrize("codec", ["bz2", "lzma", "zlib", "gzip", "zstd", "blosc", "lzw", "deflate", "packbits"])
@given(data=st.binary(max_size=300) | RUNS, size=st.integers(0, 300) | st.integers(9_000, 11_000))
def test_no_more_is_unpacked_than_there_is_room_for(codec, data, size):
    """All of it, or an error: for each codec, also those that stop where the room ends."""
    encode = {"bz2": bz2.compress, "lzma": lzma.compress}.get(codec) or getattr(imagecodecs, f"{codec}_encode")
    assume(data)
    packed = bytes(encode(data))
    if len(data) <= size:
        assert bytes(unpack(codec, packed, size)) == data
    else:
        with pytest.raises(ReadError, match=rf"its {codec} data are .*more than {size} bytes"):
            unpack(codec, packed, size)


ENCODE = {
    "JPEG": lambda pixels: imagecodecs.jpeg8_encode(pixels),
    "JPEG 2000": lambda pixels: imagecodecs.jpeg2k_encode(pixels),
    "JPEG 2000, bare": lambda pixels: imagecodecs.jpeg2k_encode(pixels, codecformat="j2k"),
    "WebP": lambda pixels: imagecodecs.webp_encode(pixels, level=50),
    "WebP, lossless": lambda pixels: imagecodecs.webp_encode(pixels, lossless=True),
    "JPEG XL": lambda pixels: imagecodecs.jpegxl_encode(pixels, effort=1),
    "JPEG XL in boxes": lambda pixels: imagecodecs.jpegxl_encode(pixels, effort=1, usecontainer=True),
    "PNG": lambda pixels: imagecodecs.png_encode(pixels),
}


@pytest.mark.parametrize("kind", ENCODE)
@given(height=st.integers(1, 700), width=st.integers(1, 700), square=st.booleans(), by=st.sampled_from([1, 8]))
def test_the_size_that_data_claim_is_the_one_they_have(kind, height, width, square, by):
    """Whatever the way in which a format writes its size: in 5 bits, in 30, or as a ratio."""
    height, width = by * -(-height // by), by * -(-(height if square else width) // by)
    assert frame_size(bytes(ENCODE[kind](np.zeros((height, width, 3), np.uint8)))) == (width, height)


def test_a_decoy_before_the_picture_is_not_believed():
    """Boxes are walked, and what decoders of JPEG skip is skipped, so that no smaller head can be put in front."""
    decoy = b"\xff\x4f\xff\x51" + bytes(4) + struct.pack(">4I", 1, 1, 0, 0)
    for kind, signature in (("JPEG 2000", 12), ("JPEG XL in boxes", 12)):
        data = bytes(ENCODE[kind](np.zeros((30, 40, 3), np.uint8)))
        for box in (struct.pack(">I4s", 8 + 5000, b"free") + decoy.ljust(5000, b"\0"),
                    struct.pack(">I4sQ", 1, b"free", 16 + len(decoy)) + decoy):  # fmt: skip
            assert frame_size(data[:signature] + box + data[signature:]) == (40, 30)
    data = bytes(ENCODE["JPEG"](np.zeros((30, 40, 3), np.uint8)))
    assert frame_size(data[:2] + b"\0rubbish" + data[2:]) == (40, 30)


@pytest.mark.parametrize("data", [
    b"", b"RIFF", b"RIFF\0\0\0\0WEBP", b"RIFF\0\0\0\0WEBPVP8L", b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n",
    b"\0\0\0\x0cJXL \r\n\x87\n" + struct.pack(">I", 0) + b"free" * 9, b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff",
])  # fmt: skip
def test_data_that_end_in_their_head_claim_nothing(data):
    """The decoder says what is wrong with them."""
    assert frame_size(data) is None


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (50001, "WebP"),
        (34927, "WebP, lossless"),
        (50002, "JPEG XL"),
        (52546, "JPEG XL in boxes"),
        (33005, "JPEG 2000, bare"),
        (33005, "JPEG 2000"),
        (34933, "PNG"),
    ],
)
def test_coded_tiles_that_claim_more_never_reach_a_decoder(tmp_path, monkeypatch, number, kind):
    """A tile as large as it should be is decoded; of one pixel more only the head is read."""
    pixels = np.full((64, 64, 3), 77, np.uint8)
    path = files.one_tile(tmp_path / "a.tif", bytes(ENCODE[kind](pixels)), number, tile=64)
    assert abs(TiffRaster(path).read(Window(0, 0, 64, 64)).astype(int) - 77).max() <= 9
    path = files.one_tile(tmp_path / "b.tif", bytes(ENCODE[kind](np.zeros((64, 65, 3), np.uint8))), number, tile=64)
    for name in ("webp_decode", "jpegxl_decode", "jpeg2k_decode", "png_decode"):
        monkeypatch.setattr(imagecodecs, name, lambda *args, **kwargs: pytest.fail("decoded"))
    with pytest.raises(ReadError, match=r"its data claim 65 x 64 px, tiles have 64 x 64"):
        TiffRaster(path).read(Window(0, 0, 64, 64))
