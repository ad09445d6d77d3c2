"""What happens to a file while it is read: cut, removed, replaced, rewritten. Old pixels or one error, never others."""

from __future__ import annotations

import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from patchaug import PatchaugError, Window, open_slide
from patchaug.readers import OpenSlideRaster, Raster, open_raster
from patchaug.testing import coordinate_image, coordinate_mask
from tests.hostile.zarrs import zarr2, zarr3

SIDE, TILE = 256, 64
OLD = coordinate_image(SIDE, SIDE)
NEW = 255 - OLD
WINDOWS = [Window(x, y, 48, 48) for y, x in product(range(8, SIDE, TILE), repeat=2)]


def _tiff(path: Path, pixels: Any, **options: Any) -> None:
    with path.open("r+b" if path.exists() else "wb") as file:  # in place, as a program that saves over a file
        file.truncate(0)
        tifffile.imwrite(file, pixels, tile=(TILE, TILE), **options)


def _raw(path: Path, pixels: Any) -> None:
    _tiff(path, pixels, photometric="rgb")


def _deflate(path: Path, pixels: Any) -> None:
    _tiff(path, pixels, photometric="rgb", compression="zlib")


def _rgba(path: Path, pixels: Any) -> None:
    opaque = np.full((SIDE, SIDE, 1), 255, np.uint8)
    _tiff(path, np.concatenate([pixels, opaque], axis=2), photometric="rgb", extrasamples=[2])


def _openslide(path: Path, pixels: Any) -> None:
    _tiff(path, pixels, photometric="rgb", software="MedScan")  # a maker whose slides OpenSlide reads


def _folder(path: Path, pixels: Any, write: Callable[..., Path], key: str) -> None:
    write(path, None, shape=list(pixels.shape), **(
        {"chunks": [TILE, TILE, 3]} if write is zarr2 else
        {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [TILE, TILE, 3]}}}
    ))  # fmt: skip
    for y, x in product(range(SIDE // TILE), repeat=2):
        chunk = path / key.format(y, x)
        chunk.parent.mkdir(parents=True, exist_ok=True)
        chunk.write_bytes(pixels[y * TILE : (y + 1) * TILE, x * TILE : (x + 1) * TILE].tobytes())


def _zarr2(path: Path, pixels: Any) -> None:
    _folder(path, pixels, zarr2, "{}.{}.0")


def _zarr3(path: Path, pixels: Any) -> None:
    _folder(path, pixels, zarr3, "c/{}/{}/0")


def _zip(path: Path, pixels: Any) -> None:
    folder = path.with_suffix(".made")
    _zarr2(folder, pixels)
    with path.open("r+b" if path.exists() else "wb") as file:
        file.truncate(0)
        with zipfile.ZipFile(file, "w") as archive:
            for part in folder.iterdir():
                archive.write(part, part.name)


FORMATS: dict[str, tuple[str, Callable[[Path, Any], None]]] = {
    "raw TIFF": ("a.tif", _raw),
    "deflate TIFF": ("a.tif", _deflate),
    "RGBA TIFF": ("a.tif", _rgba),
    "TIFF of OpenSlide": ("a.tif", _openslide),
    "zarr 2": ("a.zarr", _zarr2),
    "zarr 3": ("a.zarr", _zarr3),
    "zarr in a zip": ("a.zarr.zip", _zip),
}


def _cut(path: Path, write: Callable[[Path, Any], None]) -> None:
    for part in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if part.is_file() and part.name[0] not in ".z":
            os.truncate(part, part.stat().st_size // 2)


def _remove(path: Path, write: Callable[[Path, Any], None]) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def _replace(path: Path, write: Callable[[Path, Any], None]) -> None:
    other = path.with_name(f"other-{path.name}")
    write(other, NEW)
    path.rename(path.with_name(f"former-{path.name}"))
    other.rename(path)


def _rewrite(path: Path, write: Callable[[Path, Any], None]) -> None:
    write(path, NEW)


OPENED = ("zarr in a zip", "RGBA TIFF")  # held open from the start: the archive's index, and the check of alpha
EVENTS = {"cut": _cut, "removed": _remove, "replaced": _replace, "rewritten": _rewrite}


def outcomes(raster: Raster, path: Path) -> list[str]:
    """Read all windows twice: each is "old" or "error"; anything else fails."""
    found, texts = [], set()
    for window in WINDOWS * 2:
        try:
            pixels = raster.read(window)
        except PatchaugError as error:
            texts.add(str(error))
            found.append("error")
        else:
            assert np.array_equal(pixels, OLD[window.y : window.bottom, window.x : window.right]), window
            found.append("old")
    assert all(str(path) in text and "\n" not in text for text in texts), texts
    return found


@pytest.mark.parametrize("ram", [0, 1 << 26], ids=["no pixels kept", "pixels kept"])
@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("read_before", [0, 1, len(WINDOWS)])
def test_a_file_that_changes_gives_old_pixels_or_one_error(
    name: str, event: str, ram: int, read_before: int, tmp_path: Path
) -> None:
    """Never the pixels of another file, nor fill values, in this process or in one that opens the file again."""
    file, write = FORMATS[name]
    path = tmp_path / file
    write(path, OLD)
    raster = open_raster(path, ram=ram)
    assert isinstance(raster, OpenSlideRaster) == (name == "TIFF of OpenSlide")
    for window in WINDOWS[:read_before]:
        raster.read(window)
    EVENTS[event](path, write)
    found = outcomes(raster, path)
    # OpenSlide reads by the path; what holds the file open goes on with the old pixels.
    by_path = isinstance(raster, OpenSlideRaster) or path.is_dir()
    holds_open = not by_path and event in ("removed", "replaced")
    if not ram and not (holds_open and (read_before or name in OPENED)):
        assert "error" in found
    if event == "rewritten" and not path.is_dir():
        assert set(found) == {"error"}, "a rewritten file is an error, also where pixels are kept"
    assert set(outcomes(pickle.loads(pickle.dumps(raster)), path)) <= {"old", "error"}


@pytest.mark.parametrize("ram", [0, 1 << 26])
def test_labels_are_never_read_from_another_mask_than_was_indexed(ram: int, tmp_path: Path) -> None:
    """An uncompressed mask is exported again with the same layout: each window is an error that names it."""
    path = tmp_path / "mask.tif"
    mask = coordinate_mask(SIDE, SIDE)
    _tiff(path, mask)
    slide = open_slide(OLD, path, ram=ram)
    assert slide.labels().runs
    _tiff(path, (mask + 1) % 5)
    for window in WINDOWS:
        with pytest.raises(PatchaugError, match=r"mask\.tif: file changed since it was first opened"):
            slide.read(window)


def test_one_lost_chunk_is_an_error_after_opening(tmp_path: Path) -> None:
    """A chunk that was there when the folder was opened is never read as its fill value."""
    for name in ("zarr 2", "zarr 3"):
        path = tmp_path / name
        FORMATS[name][1](path, OLD)
        raster = open_raster(path)
        next(part for part in path.rglob("*") if part.is_file() and part.name in ("0.0.0", "0")).unlink()
        assert "error" in outcomes(raster, path)


def test_a_chunk_that_was_never_stored_is_the_fill_value(tmp_path: Path) -> None:
    """As zarr has it; of a mask without a word."""
    path = tmp_path / "a.zarr"
    _zarr2(path, OLD)
    (path / "0.0.0").unlink()
    with pytest.warns(UserWarning, match="1 of 16 chunks are not stored"):
        raster = open_raster(path)
    assert not raster.read(WINDOWS[0]).any()
    shutil.rmtree(path)
    with pytest.raises(PatchaugError, match="is its disk still mounted"):
        raster.read(WINDOWS[0])
