"""Write hostile zarr folders by hand, without the library."""

from __future__ import annotations

import json
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import imagecodecs

from tests.hostile import files

RAW = bytes(64 * 64 * 3)
_ARRAY_2 = {
    "zarr_format": 2, "shape": [64, 64, 3], "chunks": [64, 64, 3], "dtype": "|u1", "compressor": None, "filters": None,
    "order": "C", "fill_value": 0,
}  # fmt: skip
_ARRAY_3 = {
    "zarr_format": 3, "node_type": "array", "shape": [64, 64, 3], "data_type": "uint8", "fill_value": 0,
    "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [64, 64, 3]}},
    "chunk_key_encoding": {"name": "default"}, "codecs": [{"name": "bytes"}],
}  # fmt: skip


def put(folder: Path, key: str, content: bytes | str | dict[str, Any] | list[Any]) -> Path:
    """Write a file into a folder, and return the folder."""
    path = folder / key
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, (dict, list)):
        content = json.dumps(content)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def zarr2(folder: Path, chunk: bytes | None = RAW, *, inside: str = "", **change: Any) -> Path:
    """Write an array of zarr 2 with one chunk, by default 64 x 64 x 3 raw zeros."""
    start = f"{inside}/" if inside else ""
    put(folder, f"{start}.zarray", {**_ARRAY_2, **change})
    return folder if chunk is None else put(folder, f"{start}0.0.0", chunk)


def zarr3(folder: Path, chunk: bytes | None = RAW, **change: Any) -> Path:
    """Write the same in zarr 3."""
    put(folder, "zarr.json", {**_ARRAY_3, **change})
    return folder if chunk is None else put(folder, "c/0/0/0", chunk)


def sparse(folder: Path, key: str, size: int) -> Path:
    """Make a sparse file of `size` bytes that takes no space."""
    (folder / key).parent.mkdir(parents=True, exist_ok=True)
    with (folder / key).open("wb") as file:
        file.truncate(size)
    return folder


def piped(folder: Path, key: str) -> Path:
    """Make a pipe in place of a file."""
    (folder / key).unlink(missing_ok=True)
    files.fifo(folder / key)
    return folder


def grouped(folder: Path, *arrays: str, **attributes: Any) -> Path:
    """Write a group of zarr 2 with some arrays."""
    put(folder, ".zgroup", {"zarr_format": 2})
    put(folder, ".zattrs", attributes)
    for array in arrays:
        zarr2(folder, inside=array)
    return folder


def multiscale(folder: Path, *paths: Any, arrays: tuple[str, ...] = ("0",), **change: Any) -> Path:
    """Write an OME-Zarr image whose levels have the given paths."""
    axes = [{"name": name} for name in "yxc"]
    datasets = [{"path": path} for path in paths]
    return grouped(folder, *arrays, multiscales=[{"axes": axes, "datasets": datasets, **change}])


def bomb(folder: Path, codec: str) -> Path:
    """Return a chunk of 12 kB that unpacks to 2 GB, or claims to."""
    size = 1 << 31
    if codec in ("zlib", "gzip"):
        data = files.zeros(size)
        data = b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + data[2:-4] + bytes(8) if codec == "gzip" else data
    elif codec == "zstd":
        data = b"\x28\xb5\x2f\xfd\xe0" + struct.pack("<Q", size) + b"\x03\x00\x00\x00" * 9
    elif codec == "blosc":
        data = bytearray(imagecodecs.blosc_encode(bytes(1 << 20)))
        data[4:8] = struct.pack("<I", size - 20)
    elif codec == "lz4":
        data = struct.pack("<I", size - 1) + imagecodecs.lz4_encode(bytes(1 << 20))
    elif codec == "imagecodecs_jpeg":
        data = files.resized_jpeg(60000)
    else:
        data = getattr(imagecodecs, f"{codec}_encode")(bytes(1 << 22))
    return zarr2(folder, bytes(data), compressor={"id": codec})


def sharded(folder: Path, shard: bytes, *, shape: tuple[int, ...] = (64, 64, 3), **change: Any) -> Path:
    """Write zarr 3 in one shard of raw chunks of 32 x 32 x 3; the index has no checksum."""
    raw = [{"name": "bytes", "configuration": {"endian": "little"}}]
    options = {"chunk_shape": [32, 32, 3], "codecs": raw, "index_codecs": raw, "index_location": "end", **change}
    grid = {"name": "regular", "configuration": {"chunk_shape": list(shape)}}
    return zarr3(folder, shard, chunk_grid=grid, codecs=[{"name": "sharding_indexed", "configuration": options}])


def index(*places: tuple[int, int]) -> bytes:
    """Return the index of a shard: (offset, bytes) of each chunk."""
    return b"".join(struct.pack("<QQ", *place) for place in places)


def packed(path: Path, **change: Any) -> Path:
    """Write a zip file of an array with a changed central directory: {attribute of its chunk: value}."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(".zarray", json.dumps(_ARRAY_2))
        archive.writestr("0.0.0", RAW)
        for name, value in change.items():
            setattr(archive.getinfo("0.0.0"), name, value)
    return path


def pickled(folder: Path) -> Path:
    """Write a chunk that makes a file "canary" beside its folder if it is unpickled."""
    program = f"cposix\nsystem\n(S'touch {folder.parent}/canary'\ntR.".encode()
    return zarr2(folder, program, compressor=None, filters=[{"id": "pickle", "protocol": 0}])


ZLIB_2 = {"compressor": {"id": "zlib", "level": 1}}
PACKED_SHORT = zlib.compress(RAW[:-1])
PACKED_LONG = zlib.compress(RAW + b"x")
