"""Small good files of every format that patchaug reads, as the seeds of `patchaug.testing.fuzz`."""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import tifffile

from patchaug.core.arrays import Array
from patchaug.testing.coordinate_slides import coordinate_image, coordinate_mask, write_pyramid

SIZE = (150, 110)  # width and height in pixels
CHUNK = 64


def seed_files() -> dict[str, bytes]:
    """Return the content of each seed by its file name; names that begin with "mask" are masks.

    Examples:
        >>> from patchaug.testing.fuzz_seeds import seed_files
        >>> seed_files()["mask.geojson"][:1]
        b'{'
    """
    image, mask = coordinate_image(*SIZE), coordinate_mask(*SIZE)
    seeds = {f"{name}.tif": _pyramid(name) for name in ("jpeg", "jpeg2000", "deflate", "lzw", "zstd", "none")}
    opaque = np.full((*image.shape[:2], 1), 255, np.uint8)
    rgba = np.concatenate([image, opaque], axis=2)
    seeds |= {
        "rgba.tif": _tiff(rgba, tile=(64, 64), photometric="rgb", extrasamples=[2]),
        "strips.tif": _tiff(image, photometric="rgb", rowsperstrip=16, compression="zlib"),
        "big.tif": _tiff(image, tile=(64, 64), photometric="rgb", bigtiff=True),
        "mask.tif": _tiff(mask, tile=(64, 64), compression="zlib"),
        "zarr2.zarr.zip": _zip(_zarr2(image)),
        "zarr3.zarr.zip": _zip(_zarr3(image)),
        "mask.zarr.zip": _zip(_zarr2(mask)),
        "image.png": _png(image),
        "mask.png": _png(mask),
        "mask.geojson": json.dumps(_geojson()).encode(),
        "mask.xml": _asap(),
        "options.json": b'{"size": 64, "per_slide": 3, "foreground": 0.5, "classes": [1, 2], "seed": 7}',
        "options.toml": b'size = [64, 32]\nper_slide = 3\nforeground = 0.5\nmode = "random"\nmpp = 0.5\n',
        "manifest.json": b'{"patchaug_manifest": 1, "files": {"a": {"size": 6, "mtime_ns": 1, "crc32": "00000000"}}}',
    }
    return seeds


def _pyramid(compression: str) -> bytes:
    levels = [coordinate_image(*SIZE), coordinate_image(SIZE[0] // 2, SIZE[1] // 2, 2)]
    with TemporaryDirectory() as folder:
        path = Path(folder, "a.tif")
        write_pyramid(path, levels, compression=None if compression == "none" else compression)
        return path.read_bytes()


def _tiff(pixels: Array, *, bigtiff: bool = False, **options: object) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, bigtiff=bigtiff, metadata=None, **options)  # type: ignore[arg-type]
    return file.getvalue()


def _chunks(pixels: Array, key: Callable[[int, int], str]) -> dict[str, bytes]:
    height, width = pixels.shape[:2]
    found = {}
    for y, x in product(range(0, height, CHUNK), range(0, width, CHUNK)):
        chunk = np.zeros((CHUNK, CHUNK, *pixels.shape[2:]), np.uint8)
        part = pixels[y : y + CHUNK, x : x + CHUNK]
        chunk[: part.shape[0], : part.shape[1]] = part
        found[key(y // CHUNK, x // CHUNK)] = zlib.compress(chunk.tobytes(), 1)
    return found


def _zarr2(pixels: Array) -> dict[str, bytes]:
    end = ".0" if pixels.ndim == 3 else ""
    metadata = {
        "zarr_format": 2, "shape": pixels.shape, "chunks": [CHUNK, CHUNK, *pixels.shape[2:]], "dtype": "|u1",
        "order": "C", "compressor": {"id": "zlib", "level": 1}, "filters": None, "fill_value": 0,
    }  # fmt: skip
    return {".zarray": json.dumps(metadata).encode()} | _chunks(pixels, lambda y, x: f"{y}.{x}{end}")


def _zarr3(pixels: Array) -> dict[str, bytes]:
    metadata = {
        "zarr_format": 3, "node_type": "array", "shape": pixels.shape, "data_type": "uint8", "fill_value": 0,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [CHUNK, CHUNK, 3]}},
        "chunk_key_encoding": {"name": "default"},
        "codecs": [{"name": "bytes"}, {"name": "numcodecs.zlib", "configuration": {"level": 1}}],
    }  # fmt: skip
    return {"zarr.json": json.dumps(metadata).encode()} | _chunks(pixels, lambda y, x: f"c/{y}/{x}/0")


def _zip(entries: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in entries.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return file.getvalue()


def _png(pixels: Array) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width = pixels.shape[:2]
    head = struct.pack(">IIBBBBB", width, height, 8, 2 if pixels.ndim == 3 else 0, 0, 0, 0)
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def _geojson() -> dict[str, object]:
    ring = [[5, 5], [90, 8.5], [60, 70], [5, 5]]
    polygon = {"type": "Polygon", "coordinates": [ring]}
    feature = {"type": "Feature", "geometry": polygon, "properties": {"classification": {"name": "tumour"}}}
    return {"type": "FeatureCollection", "features": [feature, feature]}


def _asap() -> bytes:
    corners = "".join(
        f'<Coordinate Order="{k}" X="{x}" Y="{y}"/>' for k, (x, y) in enumerate([(5, 5), (90, 8), (60, 70)])
    )
    text = (
        '<?xml version="1.0"?><ASAP_Annotations><Annotations><Annotation Name="a" Type="Polygon" PartOfGroup="tumour">'
        f"<Coordinates>{corners}</Coordinates></Annotation></Annotations></ASAP_Annotations>"
    )
    return text.encode()
