"""Decoders are imported when a file is opened: a fork in the middle of an import leaves the child waiting for ever."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import tifffile

from patchaug.testing import coordinate_image
from tests.hostile import zarrs

SCRIPT = """
import sys, threading
from patchaug.core.windows import Window
from patchaug.readers import open_raster
raster = open_raster(sys.argv[1])
raster.level_dimensions
before = set(sys.modules)
raster.read(Window(0, 0, *raster.level_dimensions[0]))
print(sorted(name for name in set(sys.modules) - before if "codecs" in name))
"""


@pytest.mark.parametrize(
    "kind",
    ["jpeg", "deflate", "lzw", "zstd", "lzma", "jpeg2000", "webp", "jpegxl", "zarr blosc", "zarr zlib", "zarr jpeg"],
)
def test_reading_imports_no_decoder(tmp_path: Path, kind: str) -> None:
    """In a fresh process, one file of each kind."""
    path, pixels = tmp_path / "a.tif", coordinate_image(64, 64)
    if kind.startswith("zarr"):
        import imagecodecs

        codec = {"blosc": "blosc", "zlib": "zlib", "jpeg": "imagecodecs_jpeg"}[kind.split()[1]]
        if codec.startswith("imagecodecs"):
            pytest.importorskip("numcodecs")
        encode = getattr(imagecodecs, f"{codec.removeprefix('imagecodecs_')}_encode")
        data = bytes(encode(pixels if "jpeg" in codec else pixels.tobytes()))
        path = zarrs.zarr2(tmp_path / "a.zarr", data, compressor={"id": codec})
    else:
        predictor = kind in ("deflate", "lzw")
        tifffile.imwrite(path, pixels, tile=(32, 32), photometric="rgb", compression=kind, predictor=predictor)
    done = subprocess.run([sys.executable, "-c", SCRIPT, path], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
