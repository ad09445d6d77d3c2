"""Cures that work when they are followed; healthy files are read, and no error advises to copy them again."""

from __future__ import annotations

import os
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from patchaug import ReadError, Window, open_slide
from patchaug.readers import OpenSlideRaster, TiffRaster, file_handles
from patchaug.testing import coordinate_image, write_pyramid
from tests.hostile import files
from tests.hostile.limits import limited
from tests.hostile.zarrs import zarr2

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits are set through /proc and resource")
SIDE = 130


def in_tiles(path: Path, pixels: Any, tile: int, compression: int, encode: Any, **tags: Any) -> Path:
    """Write a TIFF whose tiles may have any side; tifffile writes multiples of 16 alone."""
    height, width, channels = pixels.shape
    whole = np.zeros((-(-height // tile) * tile, -(-width // tile) * tile, channels), np.uint8)
    whole[:height, :width] = pixels
    corners = [(y, x) for y in range(0, len(whole), tile) for x in range(0, whole.shape[1], tile)]
    parts = [bytes(encode(np.ascontiguousarray(whole[y : y + tile, x : x + tile]))) for y, x in corners]
    starts = np.cumsum([8, *map(len, parts)]).tolist()
    table = files.tiled(
        width, height, tile, compression=compression, _258=("H", [8] * channels), _277=("H", channels),
        _324=("I", starts[:-1]), _325=("I", [b - a for a, b in pairwise(starts)]), **tags,
    )  # fmt: skip
    return files.raw_tiff(path, table, b"".join(parts))


CODECS = {
    1: np.ndarray.tobytes,
    8: lambda tile: imagecodecs.deflate_encode(tile.tobytes()),
    5: lambda tile: imagecodecs.lzw_encode(tile.tobytes()),
    50001: lambda tile: imagecodecs.webp_encode(tile, lossless=True),
    34712: imagecodecs.jpeg2k_encode,
}


@pytest.mark.parametrize("tile", [1, 17, 65, 100])
@pytest.mark.parametrize("compression", CODECS)
def test_tiles_of_any_side_are_read(compression: int, tile: int, tmp_path: Path) -> None:
    """TIFF asks for multiples of 16; files with other sides exist, and are sound."""
    side = 5 if tile == 1 else SIDE
    pixels = coordinate_image(side, side)
    path = in_tiles(tmp_path / "a.tif", pixels, tile, compression, CODECS[compression])
    slide = open_slide(path)
    assert np.array_equal(slide.read(Window(0, 0, side, side)).image, pixels)
    assert np.array_equal(slide.read(Window(2, 1, side - 2, side - 3)).image, pixels[1 : side - 2, 2:])


def _webp(tile: Any) -> bytes:
    """Leave alpha out where it is opaque, as GDAL's encoder does."""
    opaque = (tile[..., 3] == 255).all()
    return bytes(imagecodecs.webp_encode(np.ascontiguousarray(tile[..., :3]) if opaque else tile, lossless=True))


@pytest.mark.parametrize("transparent_rows", [0, 40, SIDE])
def test_rgba_webp_tiles_without_stored_alpha_are_read(transparent_rows: int, tmp_path: Path) -> None:
    """WebP stores no alpha for an opaque tile, so a file of 4 channels holds tiles of 3."""
    pixels = np.concatenate([coordinate_image(SIDE, SIDE), np.full((SIDE, SIDE, 1), 255, np.uint8)], axis=2)
    pixels[:transparent_rows, :, 3] = 0
    path = in_tiles(tmp_path / "a.tif", pixels, 64, 50001, _webp, _338=("H", 2))
    image = open_slide(path).read(Window(0, 0, SIDE, SIDE)).image
    assert np.array_equal(image, np.where(pixels[..., 3:] == 0, 255, pixels[..., :3]))


def _many(folder: Path, kind: str, number: int) -> list[Path]:
    pixels = coordinate_image(SIDE, SIDE)
    paths = [folder / f"{k}{'.zarr' if kind == 'zarr' else '.png' if kind == 'PNG' else '.tif'}" for k in range(number)]
    for path in paths:
        if kind == "zarr":
            zarr2(path, pixels.tobytes(), shape=list(pixels.shape), chunks=list(pixels.shape))
        elif kind == "PNG":
            Image.fromarray(pixels).save(path)
        elif kind == "OpenSlide":
            tifffile.imwrite(path, pixels, tile=(64, 64), photometric="rgb", software="MedScan")
        else:
            write_pyramid(path, [pixels])
    return paths


def _with_descriptors(paths: list[Path], free: int, cure: bool) -> list[str]:
    """Read each slide with so many free descriptors; then raise the limit, as the error says."""
    import resource

    pixels, texts = coordinate_image(SIDE, SIDE), []
    assert np.array_equal(open_slide(paths[0], ram=1 << 24).read(Window(0, 0, SIDE, SIDE)).image, pixels)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    held, highest = (
        [],
        max(int(fd.name) for fd in Path("/proc/self/fd").iterdir()),
    )  # the test's own process may have any open
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 40, hard))
    try:
        while True:
            held.append(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        for fd in held[len(held) - free :]:
            os.close(fd)
    for round_ in range(2 if cure else 1):
        if round_:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        for path in paths[1:]:
            try:
                assert np.array_equal(open_slide(path, ram=1 << 24).read(Window(0, 0, SIDE, SIDE)).image, pixels)
            except ReadError as error:
                texts.append(f"{path.name in str(error)} in round {round_}: {error}")
    return texts


@linux
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["TIFF", "zarr", "PNG", "OpenSlide"])
def test_more_slides_than_descriptors(kind: str, tmp_path: Path) -> None:
    """With few descriptors each slide is read; with none the error says to raise the limit, which helps."""
    paths = _many(tmp_path, kind, 50)
    assert limited(_with_descriptors, paths, 6, False, seconds=20) == ("value", [])
    status, texts = limited(_with_descriptors, paths[:6], 0, True, seconds=20)
    assert status == "value", texts
    assert all(text.startswith("True in round 0:") for text in texts), "the file is named, and the cure helps"
    assert all("files open and has as many; raise the limit (ulimit -n 4096)" in text for text in texts)
    assert not any("copy" in text for text in texts)
    assert texts or kind in ("TIFF", "zarr"), "nothing was short"


def test_the_pool_takes_a_quarter_of_the_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left is for the program, and for workers' pipes."""
    for limit, expected in ((64, 16), (1024, 64), (3, 1)):
        monkeypatch.setattr(file_handles, "_limit", lambda limit=limit: limit)
        assert file_handles._capacity() == expected


def test_strips_are_parsed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening, metadata and pixels of a TIFF in strips use one parsed header."""
    from patchaug.readers.tiff import reader

    pixels = coordinate_image(SIDE, SIDE)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", rowsperstrip=16, compression="zlib")
    parsed, parse = [], reader.read_header
    monkeypatch.setattr(reader, "read_header", lambda *args, **kwargs: parsed.append(args) or parse(*args, **kwargs))
    slide = open_slide(tmp_path / "a.tif", ram=1 << 24)
    assert slide.mpp is None
    assert slide.image.georeference is None
    assert np.array_equal(slide.read(Window(0, 0, SIDE, SIDE)).image, pixels)
    assert len(parsed) == 1
    assert not isinstance(slide.image, (TiffRaster, OpenSlideRaster))
