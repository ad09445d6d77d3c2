"""Seeded mutations of good files: none crashes, hangs or ends in another exception than ours.

Quick: 12 of each format; 200 with HYPOTHESIS_PROFILE=long. Damage that a format has no checksum for cannot all be
seen: how much is silent is counted, and where a format sees everything, that is demanded.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from patchaug import PatchaugError, Window, open_slide
from patchaug.testing import coordinate_image, coordinate_mask, write_pyramid
from tests.hostile.limits import limited

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of memory are set through /proc"),
    pytest.mark.filterwarnings("ignore"),
]

LONG = os.environ.get("HYPOTHESIS_PROFILE") == "long"
MUTATIONS = 200 if LONG else 12
SIZE = (210, 150)


def _pyramid(compression: str | None) -> Callable[[Path], None]:
    levels = [coordinate_image(*SIZE), coordinate_image(SIZE[0] // 2, SIZE[1] // 2, 2)]
    return lambda path: write_pyramid(path, levels, compression=compression)


def _geojson(path: Path) -> None:
    ring = [[5, 5], [90, 8.5], [60, 70], [5, 5]]
    polygon = {"type": "Polygon", "coordinates": [ring]}
    one = {"type": "Feature", "geometry": polygon, "properties": {"classification": {"name": "tumour"}}}
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [one, one]}))


def _asap(path: Path) -> None:
    corners = "".join(
        f'<Coordinate Order="{k}" X="{x}" Y="{y}"/>' for k, (x, y) in enumerate([(5, 5), (90, 8), (60, 70)])
    )
    path.write_text(
        '<?xml version="1.0"?><ASAP_Annotations><Annotations><Annotation Name="a" Type="Polygon" '
        f'PartOfGroup="tumour"><Coordinates>{corners}</Coordinates></Annotation></Annotations></ASAP_Annotations>'
    )


def _zarr(path: Path) -> None:
    """Write zarr 2 in a zip file with zlib chunks by hand, without the library."""
    pixels = coordinate_image(*SIZE)
    height, width, _ = pixels.shape
    said = {
        "zarr_format": 2, "shape": [height, width, 3], "chunks": [64, 64, 3], "dtype": "|u1", "order": "C",
        "compressor": {"id": "zlib", "level": 1}, "filters": None, "fill_value": 0,
    }  # fmt: skip
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(zipfile.ZipInfo(".zarray"), json.dumps(said))
        for y, x in product(range(0, height, 64), range(0, width, 64)):
            chunk = np.zeros((64, 64, 3), np.uint8)
            part = pixels[y : y + 64, x : x + 64]
            chunk[: part.shape[0], : part.shape[1]] = part
            archive.writestr(zipfile.ZipInfo(f"{y // 64}.{x // 64}.0"), zlib.compress(chunk.tobytes(), 1))


FORMATS: dict[str, Callable[[Path], Any]] = {
    "jpeg.tif": _pyramid("jpeg"),
    "jpeg2000.tif": _pyramid("jpeg2000"),
    "deflate.tif": _pyramid("deflate"),
    "lzw.tif": _pyramid("lzw"),
    "zstd.tif": _pyramid("zstd"),
    "raw.tif": _pyramid(None),
    "a.zarr.zip": _zarr,
    "a.png": lambda path: Image.fromarray(coordinate_image(*SIZE)).save(path),
    "a.jpg": lambda path: Image.fromarray(coordinate_image(*SIZE)).save(path),
    "mask.png": lambda path: Image.fromarray(coordinate_mask(*SIZE)).save(path),
    "mask.geojson": _geojson,
    "mask.xml": _asap,
}
# Of 200 mutations, those that gave other pixels and no error: more is a step back. None where a checksum covers them.
SILENT = {"jpeg.tif": 69, "jpeg2000.tif": 95, "lzw.tif": 16, "zstd.tif": 117, "raw.tif": 105, "a.jpg": 124}


def mutated(data: bytes, random: np.random.Generator) -> bytes:
    """Return a file with one kind of damage: bits, zeros, a cut, a wrong header, exchanged parts, or inserted bytes."""
    new, at = bytearray(data), int(random.integers(len(data)))
    kind = int(random.integers(6))
    length = int(random.integers(1, 65))
    if kind == 0:
        new[at] ^= 1 << int(random.integers(8))
    elif kind == 1:
        new[at : at + length] = bytes(len(new[at : at + length]))
    elif kind == 2:
        del new[at:]
    elif kind == 3:  # tag tables lie at either end
        near = min(int(random.integers(600)), len(new) - 1)
        near = near if random.integers(2) else len(new) - 1 - near
        new[near] = int(random.integers(256))
    elif kind == 4:
        other = int(random.integers(len(data)))
        new[at : at + length], new[other : other + length] = new[other : other + length], new[at : at + length]
    else:
        new[at:at] = random.bytes(length)
    return bytes(new)


def pixels(path: Path) -> list[Any]:
    """Read all levels of an image, or of a mask on a good image."""
    mask = path.name.startswith("mask")
    image: Any = np.zeros((SIZE[1], SIZE[0], 3), np.uint8) if mask else path
    codes = ["background", "tumour", "stroma", "fat", "necrosis"] if path.suffix in (".geojson", ".xml") else None
    slide = open_slide(image, path if mask else None, codes=codes, ram=1 << 26)
    patches = [slide.read(Window(0, 0, w, h, level)) for level, (w, h) in enumerate(slide.level_dimensions)]
    return [patch.mask if mask else patch.image for patch in patches]


def _verdicts(path: Path, data: bytes, note: Path) -> Counter[str]:
    good, counts = pixels(path), Counter[str]()
    for number in range(MUTATIONS):
        note.write_text(str(number))  # found by the parent, if this process dies
        changed = mutated(data, np.random.default_rng([7, number]))
        path.write_bytes(changed)
        try:
            with warnings.catch_warnings(record=True) as warned:
                warnings.simplefilter("always")
                found = pixels(path)
        except PatchaugError as error:
            counts["error" if str(error).count("\n") <= 1 else "long"] += 1
        except Exception as error:
            raise AssertionError(f"mutation {number}: {type(error).__name__}: {error}") from error
        else:
            same = len(found) == len(good) and all(map(np.array_equal, found, good))
            told = any("chunks are not stored" in str(warning.message) for warning in warned)
            counts["same" if same else "told" if told else "silent"] += 1
    return counts


@pytest.mark.parametrize("name", FORMATS)
def test_mutations_end_in_pixels_or_one_clear_error(name: str, tmp_path: Path) -> None:
    """In one child with 1 GB for each format."""
    if name.endswith((".geojson", ".xml")):
        pytest.importorskip("shapely")
    path, note = tmp_path / name, tmp_path / "number"
    FORMATS[name](path)
    kind, found = limited(
        _verdicts, path, path.read_bytes(), note, seconds=600 if LONG else 60, patience=900 if LONG else 120
    )
    assert kind == "value", f"{name}, mutation {note.read_text()}: {kind} {found}"
    assert sum(found.values()) == MUTATIONS
    assert not found["long"], "errors of more than two lines"
    print(name, dict(found))
    assert found["silent"] <= SILENT.get(name, 0), found


def test_a_mutation_follows_from_its_number() -> None:
    """The damage is the same in each run, and changes the file."""
    data = bytes(range(256)) * 9
    made = [mutated(data, np.random.default_rng([7, number])) for number in range(60)]
    assert made == [mutated(data, np.random.default_rng([7, number])) for number in range(60)]
    assert sum(one != data for one in made) > 50
