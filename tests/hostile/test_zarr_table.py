"""Hostile and careless zarr (G6): as `test_table`, each in a child with 1 GB and 5 s of processor time."""

from __future__ import annotations

import os
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from patchaug import Window, open_slide
from tests.hostile import files
from tests.hostile.limits import limited
from tests.hostile.test_table import as_mask, read_all, refused
from tests.hostile.zarrs import (
    PACKED_LONG,
    PACKED_SHORT,
    RAW,
    ZLIB_2,
    bomb,
    grouped,
    index,
    multiscale,
    packed,
    pickled,
    piped,
    put,
    sharded,
    sparse,
    zarr2,
    zarr3,
)  # fmt: skip

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of memory are set through /proc"),
    pytest.mark.filterwarnings("ignore"),
]

NAN = float("nan")
GREY = 32 * 32 * 3  # bytes of a chunk of a shard
WHOLE = index(*((GREY * n, GREY) for n in range(4)))
CODEC = {"name": "zstd"}
META = {"zarr_format": 2, "shape": [9, 9], "chunks": [9, 9], "dtype": "|u1", "compressor": None, "filters": None,
        "order": "C", "fill_value": 0}  # fmt: skip


def _folder(change: Callable[[Path], Any]) -> Callable[[Path], Any]:
    def recipe(path: Path) -> Any:
        change(path)
        return path

    return recipe


def _loop(path: Path) -> None:
    path.symlink_to(path)


def _other_zip(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "x")
    return path


def _cut_zip(path: Path) -> Path:
    packed(path)
    path.write_bytes(path.read_bytes()[:-30])
    return path


def _lying_zip(path: Path) -> Path:
    """Write an entry that inflates to 2 GB and claims the size of the chunk."""
    packed(path)
    data, bombed = path.read_bytes(), files.zeros(1 << 31)[2:-4]
    with zipfile.ZipFile(path) as archive:
        entry = archive.getinfo("0.0.0")
    start = entry.header_offset + 30 + len("0.0.0")
    tail = data[start + entry.compress_size :]
    at = tail.rfind(b"PK\x01\x02")
    tail = tail[: at + 20] + struct.pack("<I", len(bombed)) + tail[at + 24 :]
    end = tail.find(b"PK\x05\x06") + 16
    tail = tail[:end] + struct.pack("<I", start + len(bombed) + tail.find(b"PK\x01\x02")) + tail[end + 4 :]
    path.write_bytes(data[:start] + bombed + tail)
    return path


REFUSED: dict[str, tuple[str, Callable[[Path], Any], str]] = {
    # name: (file name, recipe, what the error says)
    "G6 608 bytes that say 3 TB": (
        "a.zarr", lambda p: zarr2(p, None, shape=[10**6, 10**6, 3], chunks=[512, 512, 3]), r"none of its 3818116 chun"),
    "G6 the same in zarr 3": ("a.zarr", lambda p: zarr3(p, None, shape=[10**6, 10**6, 3]), r"none of its .* is stored"),
    "G6 chunk of 1.6 GB": (
        "a.zarr", lambda p: zarr2(p, b"x", shape=[23000, 23000, 3], chunks=[23000, 23000, 3], **ZLIB_2),
        r"chunks of 23000 x 23000 px .* above the limit of 64 Mpx"),
    "chunk of many planes": (
        "a.zarr",
        lambda p: multiscale(zarr2(p, inside="0", shape=[1, 64, 64], chunks=[10**6, 64, 64]), "0", arrays=(),
                             axes=["z", "y", "x"]),
        r"above the limit of 64 Mpx"),
    "chunk of many channels": ("a.zarr", lambda p: zarr2(p, chunks=[64, 64, 10**6]), r"above the limit of 64 Mpx"),
    **{f"bomb of {codec}": ("a.zarr", lambda p, codec=codec: bomb(p, codec), r"tile 0 of level 0 cannot be read")
       for codec in ("zlib", "gzip", "zstd", "blosc", "lz4", "bz2", "lzma", "imagecodecs_jpeg")},
    "file of a chunk of 8 GB": (
        "a.zarr", lambda p: sparse(zarr2(p), "0.0.0", 8 << 30), r"0\.0\.0 has 8589934592 bytes"),
    "chunk cut in half": ("a.zarr", lambda p: zarr2(p, RAW[: len(RAW) // 2]), r"hold 6144 bytes, a chunk has 12288"),
    "chunk one byte short": ("a.zarr", lambda p: zarr2(p, PACKED_SHORT, **ZLIB_2), r"12287 bytes, a chunk has 12288"),
    "chunk one byte long": ("a.zarr", lambda p: zarr2(p, PACKED_LONG, **ZLIB_2), r"12289 bytes, a chunk has 12288"),
    "raw chunk one byte long": ("a.zarr", lambda p: zarr2(p, RAW + b"x"), r"12289 bytes, a chunk has 12288"),
    "empty chunk": ("a.zarr", lambda p: zarr2(p, b""), r"hold 0 bytes"),
    "rubbish in a chunk": ("a.zarr", lambda p: zarr2(p, b"rubbish", **ZLIB_2), r"zlib data are damaged"),
    "pipe for a chunk": ("a.zarr", lambda p: piped(zarr2(p), "0.0.0"), r"0\.0\.0 is not a regular file"),
    "folder for a chunk": ("a.zarr", lambda p: put(zarr2(p, None), "0.0.0/x", b""), r"none of its 1 chunks"),
    "pipe for attributes": ("a.zarr", lambda p: piped(zarr2(p), ".zattrs"), r"zattrs is not a regular file"),
    "no metadata": ("a.zarr", lambda p: put(p, "0.0.0", RAW), r"a directory without zarr metadata"),
    "link to itself": ("a.zarr", _folder(_loop), r"cannot be opened"),
    "garbage for metadata": ("a.zarr", lambda p: put(p, ".zarray", b"\xff\xfe\0rubbish"), r"\.zarray is not JSON"),
    "empty metadata": ("a.zarr", lambda p: put(p, ".zarray", ""), r"\.zarray is not JSON"),
    "metadata that are a list": ("a.zarr", lambda p: put(p, ".zarray", []), r"must hold an object, got list"),
    "metadata without words": ("a.zarr", lambda p: put(p, ".zarray", {}), r"zarr_format is None"),
    "metadata of 200,000 brackets": ("a.zarr", lambda p: put(p, "zarr.json", "[" * 200_000), r"is not JSON"),
    "metadata of 4 GB": ("a.zarr", lambda p: sparse(p, "zarr.json", 4 << 30), r"zarr\.json has 4294967296 bytes"),
    "zarr 4": ("a.zarr", lambda p: zarr3(p, zarr_format=4), r"zarr_format is 4"),
    **{f"{what} of {value!r}": ("a.zarr", lambda p, what=what, value=value: zarr2(p, **{what: value}), rf"{what} is")
       for what in ("shape", "chunks")
       for value in ([64, NAN, 3], [64, -1, 3], [64, 0, 3], [64, 6.5, 3], [64, True, 3], [64, 10**30, 3], ["64"], 64)},
    "chunks of other axes": ("a.zarr", lambda p: zarr2(p, chunks=[64, 64]), r"in chunks of \(64, 64\)"),
    "one axis": ("a.zarr", lambda p: zarr2(p, shape=[9], chunks=[9]), r"2 axes or more"),
    "no shape": ("a.zarr", lambda p: put(p, ".zarray", {k: v for k, v in META.items() if k != "shape"}), r"damaged"),
    "objects": ("a.zarr", lambda p: zarr2(p, dtype="|O", filters=[{"id": "pickle"}]), r"dtype is '\|O', pixels are"),
    "floats": ("a.zarr", lambda p: zarr2(p, dtype="<f8"), r"3 channels of float64; an image must be"),
    "32 bits": ("a.zarr", lambda p: zarr2(p, RAW * 4, dtype="<u4"), r"3 channels of uint32; an image must be uint8"),
    "a record": ("a.zarr", lambda p: zarr2(p, dtype=[["r", "|u1"]]), r"dtype is"),
    "fill value of NaN": ("a.zarr", lambda p: zarr2(p, fill_value="NaN"), r"fill_value is NaN"),
    "fill value of 300": ("a.zarr", lambda p: zarr2(p, fill_value=300), r"fill_value is 300, pixels are uint8"),
    "unknown order": ("a.zarr", lambda p: zarr2(p, order="Z"), r"metadata are damaged"),
    "unknown codec": ("a.zarr", lambda p: zarr2(p, compressor={"id": "zpaq"}), r"its codec 'zpaq' is unknown"),
    "codec without a name": ("a.zarr", lambda p: zarr2(p, compressor={"level": 1}), r"metadata are damaged"),
    "G11 codec that runs programs": ("a.zarr", pickled, r"its codec 'pickle' runs programs"),
    "unknown codec of zarr 3": ("a.zarr", lambda p: zarr3(p, codecs=[{"name": "bytes"}, {"name": "zpaq"}]), r"'zpaq'"),
    "no codec of zarr 3": ("a.zarr", lambda p: zarr3(p, codecs=[]), r"it has no codec 'bytes'"),
    "only what packs": ("a.zarr", lambda p: zarr3(p, codecs=[CODEC]), r"'zstd' is not read before 'bytes'"),
    "axes turned twice": (
        "a.zarr", lambda p: zarr3(p, codecs=[{"name": "transpose", "configuration": {"order": [0, 0, 1]}},
                                             {"name": "bytes"}]), r"order \[0, 0, 1\]"),
    "unknown grid": ("a.zarr", lambda p: zarr3(p, chunk_grid={"name": "rectilinear"}), r"chunk_grid is 'rectilinear'"),
    "unknown keys": ("a.zarr", lambda p: zarr3(p, chunk_key_encoding={"name": "hilbert"}), r"is 'hilbert'"),
    "separator that climbs": (
        "a.zarr", lambda p: zarr2(p, dimension_separator="/../"), r"the separator of its chunks is '/\.\./'"),
    "group of nothing": ("a.zarr", lambda p: grouped(p), r"group without multiscales: it holds no array"),
    "group of two arrays": ("a.zarr", lambda p: grouped(p, "a", "b"), r"it holds 'a', 'b', and a slide is one picture"),
    "plate": ("a.zarr", lambda p: grouped(p, plate={}), r"a plate of many pictures"),
    "G8 level elsewhere": ("a.zarr", lambda p: multiscale(p, "../b.zarr"), r"which must lie below it"),
    "G8 level by its whole path": ("a.zarr", lambda p: multiscale(p, "/etc"), r"which must lie below it"),
    "level that is not there": ("a.zarr", lambda p: multiscale(p, "0", "1"), r"level '1', which is not there"),
    "level that is a number": ("a.zarr", lambda p: multiscale(p, 0), r"a level '0'"),
    "no levels": ("a.zarr", lambda p: multiscale(p), r"name no level"),
    "multiscales that are none": ("a.zarr", lambda p: grouped(p, "0", multiscales=7), r"multiscales are damaged"),
    "multiscales of nothing": ("a.zarr", lambda p: grouped(p, "0", multiscales=[]), r"multiscales are damaged"),
    "axes of another number": ("a.zarr", lambda p: multiscale(p, "0", axes=[{"name": "y"}]), r"its axes are y"),
    "axes without x": (
        "a.zarr", lambda p: multiscale(p, "0", axes=[{"name": n} for n in "yzc"]), r"axes y, z, c; a slide has y, x"),
    "coarse level first": (
        "a.zarr", lambda p: multiscale(zarr2(p, inside="1", shape=[128, 128, 3], chunks=[128, 128, 3]), "0", "1"),
        r"level 1 is larger than 0"),
    "shard cut off": ("a.zarr", lambda p: sharded(p, b"x" * 10), r"is cut off: 10 bytes, and its index alone has 64"),
    "shard with an index of another file": (
        "a.zarr", lambda p: sharded(p, bytes(4 * GREY) + index(*[(10**12, GREY)] * 4)), r"its index says bytes"),
    "shard with chunks of 2^63 bytes": (
        "a.zarr", lambda p: sharded(p, bytes(4 * GREY) + index(*[(0, 1 << 63)] * 4)), r"its index says bytes"),
    "shard with an index of 16 TB": (
        "a.zarr", lambda p: sharded(p, b"x", shape=(32 << 15, 32 << 15, 3)), r"hold 1073741824 chunks each"),
    "shard of half chunks": ("a.zarr", lambda p: sharded(p, b"x", shape=(48, 48, 3)), r"not a whole number of chunks"),
    "shard with a wrong checksum": (
        "a.zarr", lambda p: sharded(p, bytes(4 * GREY) + WHOLE + b"abcd",
                                    index_codecs=[{"name": "bytes"}, {"name": "crc32c"}]), r"CRC-32C"),
    "zip without its directory": ("a.zarr.zip", _cut_zip, r"broken zip file"),
    "zip without zarr": ("a.zip", _other_zip, r"there is no zarr array or group"),
    "zip entry of another checksum": ("a.zip", lambda p: packed(p, CRC=7), r"0\.0\.0 has a wrong length or CRC-32"),
    "zip entry with a password": ("a.zip", lambda p: packed(p, flag_bits=1), r"encrypted"),
    "zip entry beyond the end": ("a.zip", lambda p: packed(p, compress_size=10**8), r"0\.0\.0 is cut off"),
    "zip entry elsewhere": ("a.zip", lambda p: packed(p, header_offset=10), r"there is no such entry"),
    "zip bomb": ("a.zip", _lying_zip, r"0\.0\.0 has a wrong length or CRC-32"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_hostile_zarr_ends_in_one_clear_error(name: str, tmp_path: Path) -> None:
    """No hang, no abort, no other exception, and never pixels."""
    if "CRC-32C" in REFUSED[name][2]:
        pytest.importorskip("google_crc32c")
    if name in ("unknown codec", "bomb of imagecodecs_jpeg"):
        pytest.importorskip("numcodecs")
    refused(read_all, tmp_path, *REFUSED[name])
    assert not (tmp_path / "canary").exists()


MASKS: dict[str, tuple[str, Callable[[Path], Any], str]] = {
    "three channels": ("m.zarr", lambda p: zarr2(p), r"3 channels of uint8, a mask has 1 of integers"),
    "floats": ("m.zarr", lambda p: zarr3(p, data_type="float32", fill_value=0.0), r"float32, a mask has 1 of integers"),
    "nothing stored, and no fill value": (
        "m.zarr", lambda p: zarr2(p, None, shape=[64, 64], chunks=[64, 64], fill_value=None), r"names no fill value"),
    "another size": ("m.zarr", lambda p: zarr2(p, None, shape=[63, 64], chunks=[64, 64]), r"63"),
    "3 TB": ("m.zarr", lambda p: zarr2(p, None, shape=[10**6, 10**6], chunks=[512, 512]), r"1000000 x 1000000"),
}  # fmt: skip


@pytest.mark.parametrize("name", MASKS)
def test_hostile_zarr_masks_end_in_one_clear_error(name: str, tmp_path: Path) -> None:
    """As for images; a mask that holds only background need not be stored."""
    refused(as_mask, tmp_path, *MASKS[name])


GOOD: list[Callable[[Path], Any]] = [
    zarr2,
    zarr3,
    lambda p: grouped(p, "0"),
    lambda p: multiscale(p, "0"),
    lambda p: sharded(p, bytes(4 * GREY) + WHOLE),
    lambda p: packed(p.with_suffix(".zip")),
    lambda p: zarr2(p, zlib.compress(RAW), **ZLIB_2),
]


@pytest.mark.parametrize("recipe", GOOD)
def test_the_recipes_make_good_zarr_where_nothing_is_changed(recipe: Callable[[Path], Any], tmp_path: Path) -> None:
    """The error of a row comes from what the row changes."""
    assert limited(read_all, recipe(tmp_path / "a.zarr")) == ("value", [(64, 64, 3)])


def test_chunks_of_one_pixel_keep_the_limits(tmp_path: Path) -> None:
    """10^18 chunks of a pixel, one of them stored: a window of 65,536 chunks is slow, and right."""
    path = zarr2(tmp_path / "a.zarr", b"\5", shape=[10**9, 10**9], chunks=[1, 1], fill_value=9)
    os.rename(path / "0.0.0", path / "0.0")
    kind, said = limited(lambda: read_corner(path))
    assert (kind, said) == ("value", [5, 9])


def read_corner(path: Path) -> list[int]:
    """The first two pixels of a window of 256 px."""
    image = open_slide(path, ram=1 << 28).read(Window(0, 0, 256, 256)).image
    return [int(value) for value in image[0, :2, 0]]
