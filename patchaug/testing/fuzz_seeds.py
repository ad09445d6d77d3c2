"""Small good files of every format that patchaug reads, as the seeds of `patchaug.testing.fuzz`."""

from __future__ import annotations

import gzip
import io
import json
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

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
        **_more_tiffs(image, mask),
        **_more_images(image),
        **(_vectors() if find_spec("pyogrio") and find_spec("shapely") else {}),
        "shards.zarr.zip": _zip(_sharded(image)),
        "levels.zarr.zip": _zip(_multiscales(image)),
        "mask.geojson.gz": gzip.compress(json.dumps(_geojson()).encode(), 9, mtime=0),
        "table.csv": b"image,mask,split,group,mpp\n./table.csv,.,train,7,0.25\n",
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
    tifffile.imwrite(file, pixels, bigtiff=bigtiff, **{"metadata": None, **options})  # type: ignore[arg-type]
    return file.getvalue()


def _more_tiffs(image: Array, mask: Array) -> dict[str, bytes]:
    """Return TIFFs of further kinds: codecs, depths, planes, palettes, metadata, and one that OpenSlide reads."""
    tiles: dict[str, Any] = {"tile": (64, 64), "photometric": "rgb"}
    grey, deep = image[..., 0], image.astype(np.uint16) * 257
    palette = np.arange(768, dtype=np.uint16).reshape(3, 256)
    tags = [(33550, "d", 3, (0.5, 0.5, 0.0), False), (33922, "d", 6, (0.0, 0.0, 0.0, 500.0, 900.0, 0.0), False)]
    codecs = {name: _tiff(image, compression=name, **tiles) for name in ("webp", "lerc", "jpegxl", "png")}
    return {f"{name}.tif": content for name, content in codecs.items()} | {
        "openslide.tif": _tiff(image, software="MedScan", **tiles),
        "predictor.tif": _tiff(deep, predictor=True, compression="zlib", **tiles),
        "float.tif": _tiff(grey.astype(np.float32), predictor=True, compression="zlib", tile=(64, 64)),
        "planes.tif": _tiff(np.moveaxis(image, 2, 0).copy(), planarconfig="separate", **tiles),
        "palette.tif": _tiff(grey, photometric="palette", colormap=palette, tile=(64, 64)),
        "mask.bits.tif": _tiff(mask > 1, photometric="minisblack", rowsperstrip=16),
        "place.tif": _tiff(image, extratags=tags, resolution=(4000, 4000), resolutionunit="centimeter", **tiles),
        "words.ome.tif": _tiff(np.moveaxis(image, 2, 0).copy(), ome=True, metadata={"axes": "CYX"}, tile=(64, 64)),
    }


def _more_images(image: Array) -> dict[str, bytes]:
    """Return pictures that are decoded whole, by Pillow's names of formats."""
    from PIL import Image

    found = {}
    for name, picture, options in (
        ("image.jpg", Image.fromarray(image), {"quality": 90}),
        ("progressive.jpg", Image.fromarray(image[..., 0]), {"progressive": True}),
        ("image.bmp", Image.fromarray(image), {}),
        ("palette.png", Image.fromarray(image).quantize(16), {"transparency": 3}),
        ("deep.png", Image.fromarray(image[..., 0].astype(np.uint16) * 257), {}),
    ):
        file = io.BytesIO()
        kind = {"jpg": "JPEG", "bmp": "BMP", "png": "PNG"}[name.rpartition(".")[2]]
        picture.save(file, kind, **options)
        found[name] = file.getvalue()
    return found


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


def _sharded(pixels: Array) -> dict[str, bytes]:
    """Return zarr 3 whose shards hold four chunks each."""
    raw = [{"name": "bytes", "configuration": {"endian": "little"}}]
    inner = [CHUNK // 2, CHUNK // 2, 3]
    index_codecs = [*raw, {"name": "crc32c"}] if find_spec("google_crc32c") else raw
    options = {"chunk_shape": inner, "codecs": [*raw, {"name": "zstd", "configuration": {"level": 1}}]}
    metadata = {
        "zarr_format": 3, "node_type": "array", "shape": pixels.shape, "data_type": "uint8", "fill_value": 0,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [CHUNK, CHUNK, 3]}},
        "chunk_key_encoding": {"name": "default"},
        "codecs": [{"name": "sharding_indexed", "configuration": {**options, "index_codecs": index_codecs}}],
    }  # fmt: skip
    found = {"zarr.json": json.dumps(metadata).encode()}
    for key, packed in _chunks(pixels, lambda y, x: f"c/{y}/{x}/0").items():
        whole = np.frombuffer(zlib.decompress(packed), np.uint8).reshape(CHUNK, CHUNK, 3)
        corners = product(range(0, CHUNK, inner[0]), range(0, CHUNK, inner[1]))
        parts = [_zstd(np.ascontiguousarray(whole[y : y + inner[0], x : x + inner[1]])) for y, x in corners]
        starts = np.cumsum([0, *map(len, parts)]).tolist()
        index = b"".join(struct.pack("<QQ", start, len(part)) for start, part in zip(starts, parts, strict=False))
        found[key] = b"".join(parts) + index + (_crc32c(index) if len(index_codecs) > 1 else b"")
    return found


def _zstd(pixels: Array) -> bytes:
    import imagecodecs

    return bytes(imagecodecs.zstd_encode(pixels.tobytes()))


def _crc32c(data: bytes) -> bytes:
    return struct.pack("<I", import_module("google_crc32c").value(data))


def _multiscales(pixels: Array) -> dict[str, bytes]:
    """Return OME-Zarr of two levels."""
    axes = [{"name": name, "type": "channel" if name == "c" else "space"} for name in "yxc"]
    datasets = [
        {"path": str(level), "coordinateTransformations": [{"type": "scale", "scale": [factor / 4, factor / 4, 1]}]}
        for level, factor in enumerate((1, 2))
    ]
    found = {".zgroup": b'{"zarr_format": 2}'}
    found[".zattrs"] = json.dumps({"multiscales": [{"version": "0.4", "axes": axes, "datasets": datasets}]}).encode()
    for level in (0, 1):
        found |= {f"{level}/{key}": content for key, content in _zarr2(pixels[:: 1 + level, :: 1 + level]).items()}
    return found


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


def _vectors() -> dict[str, bytes]:
    """Return the same polygons as GeoPackage and FlatGeobuf."""
    shapely, pyogrio = import_module("shapely"), import_module("pyogrio")
    polygons = shapely.to_wkb(np.array([shapely.box(5, 5, 90, 70), shapely.box(20, 30, 60, 90)]))
    found = {}
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a missing coordinate system
        for suffix, driver in (("gpkg", "GPKG"), ("fgb", "FlatGeobuf")):
            path = Path(folder, f"mask.{suffix}")
            values = [np.array(["tumour", "stroma"], object)]
            options = {"geometry_type": "Polygon", "driver": driver, "crs": None}
            pyogrio.raw.write(path, polygons, values, ["classification"], **options)
            found[path.name] = path.read_bytes()
    return found


def _asap() -> bytes:
    corners = "".join(
        f'<Coordinate Order="{k}" X="{x}" Y="{y}"/>' for k, (x, y) in enumerate([(5, 5), (90, 8), (60, 70)])
    )
    text = (
        '<?xml version="1.0"?><ASAP_Annotations><Annotations><Annotation Name="a" Type="Polygon" PartOfGroup="tumour">'
        f"<Coordinates>{corners}</Coordinates></Annotation></Annotations></ASAP_Annotations>"
    )
    return text.encode()
