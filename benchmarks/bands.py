"""Measure windows of 512 px per second of processor time from scenes of other types and bands, beside rasterio.

    python benchmarks/bands.py [--side 3072] [--rounds 5] [--windows 40] [--out t.md]

The scenes are made here, in tiles of 256 px by deflate or LZW. All readers read the same windows in turns, in one
process, and the table has the medians over the rounds. rasterio has a cache of 1 MiB, so that it decodes each tile as
patchaug does without a cache; it returns bands one after the other, and patchaug all bands of a pixel together. The
pixels are compared first.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import tifffile
from rasterio.windows import Window as Part
from tables import give, load

from patchaug import Window, open_slide

SIZE = 512
SCENES = [
    ("uint8", 3, "pixel"),
    ("uint16", 3, "pixel"),
    ("uint16", 6, "pixel"),
    ("uint8", 6, "band"),
    ("uint16", 6, "band"),
    ("uint8", 4, "pixel, with alpha"),
    ("uint8", 3, "pixel, with predictor"),
    ("uint8", 3, "pixel, LZW"),
]
Read = Callable[[int, int], Any]


def scene(folder: Path, dtype: str, channels: int, interleave: str, side: int) -> Path:
    """Write a scene of ramps and a little noise."""
    rng = np.random.default_rng(channels)
    ramp = np.add.outer(np.arange(side), np.arange(side)) // 7 % 200
    planes = np.stack([ramp * (k + 1) // 2 + rng.integers(0, 9, ramp.shape) for k in range(channels)]).astype(dtype)
    path = folder / f"{dtype}-{channels}-{interleave}.tif"
    alpha = "alpha" in interleave
    if alpha:
        planes[-1] = np.where(ramp > 5, 255, 0)
    options = {"photometric": "minisblack", "tile": (256, 256), "compression": "deflate", "metadata": None}
    if alpha:
        options |= {"photometric": "rgb", "extrasamples": ["unassalpha"]}
    if "predictor" in interleave:
        options |= {"predictor": 2}
    if "LZW" in interleave:
        options |= {"compression": "lzw"}
    if interleave == "band":
        tifffile.imwrite(path, planes, planarconfig="separate", **options)
    else:
        tifffile.imwrite(path, planes.transpose(1, 2, 0).copy(), planarconfig="contig", **options)
    return path


def ours(path: Path, ram: int | str) -> Read:
    """Read with patchaug; with a cache, all tiles are cached first."""
    slide = open_slide(path, ram=ram)
    if ram:
        width, height = slide.dimensions
        slide.read(Window(0, 0, width, height))
    return lambda x, y: slide.read(Window(x, y, SIZE, SIZE)).image


def theirs(path: Path) -> Read:
    """Read with rasterio, nearly without a cache."""
    dataset = rasterio.open(path)

    def read(x: int, y: int) -> Any:
        with rasterio.Env(GDAL_CACHEMAX=1 << 20):
            return dataset.read(window=Part(x, y, SIZE, SIZE)).transpose(1, 2, 0)

    return read


def main() -> None:
    """Read in turns, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=3072)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--windows", type=int, default=40)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    warnings.simplefilter("ignore")  # rasterio: no georeference
    places = np.random.default_rng(0).integers(0, args.side - SIZE + 1, (args.windows, 2)).tolist()
    names = ("ours", "rasterio", "ours, cached")
    with tempfile.TemporaryDirectory() as folder:
        readers: dict[tuple[Any, str], Read] = {}
        for one in SCENES:
            path = scene(Path(folder), *one, args.side)
            made = (ours(path, 0), theirs(path), ours(path, "4GB"))
            pixels = [read(*places[0]) for read in made]
            colours = pixels[0].shape[2]
            assert np.array_equal(pixels[0], pixels[2])
            if "alpha" in one[2]:  # ours are white where they are transparent
                opaque = pixels[1][..., 3] == 255
                assert np.array_equal(pixels[0][opaque], pixels[1][opaque][:, :colours])
            else:
                assert np.array_equal(pixels[0], pixels[1])
            readers |= {(one, name): read for name, read in zip(names, made, strict=True)}
        took: dict[tuple[Any, str], list[float]] = {key: [] for key in readers}
        for _ in range(args.rounds):
            for key, read in readers.items():
                start = time.process_time()
                for x, y in places:
                    read(x, y)
                took[key].append((time.process_time() - start) / len(places))
    median = {key: statistics.median(values) for key, values in took.items()}
    lines = [f"| scene | {' | '.join(names)} |", "|---|" + "---|" * len(names)]
    for one in SCENES:
        rates = " | ".join(f"{1 / median[one, name]:,.0f}" for name in names)
        lines.append(f"| {one[1]} x {one[0]}, by {one[2]} | {rates} |")
    lines.append("")
    deep, shallow = SCENES[1], SCENES[0]
    lines += [
        f"{name}: 3 x uint16 costs {median[deep, name] / median[shallow, name]:.2f} times 3 x uint8  "
        for name in ("ours", "ours, cached")
    ]
    lines.append(load())
    give(lines, args.out)


if __name__ == "__main__":
    main()
