"""Compare 100,000 windows with their expected pixels: readers x start methods x workers x cold or warm parent.

    python benchmarks/zero_wrong.py [--windows 100000] [--readers "PNG;zarr"] [--starts fork] [--workers 0,2]

Slides are coordinate-coded: a window of another place, level or slide, or a mask of another window, shows at once. Each
cell has files of its own, copied for it, so that a cold parent has never read them; a warm one has read windows of them
before, through the handles and the memory that its workers are given. The last line is the sum; the exit code is 1 if
one window is wrong.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tifffile
import torch
from PIL import Image
from torch.utils.data import DataLoader

from patchaug import Draw, Foreground, Grid, PatchDataset, Slide, Uniform, open_slide
from patchaug.readers import OpenSlideRaster
from patchaug.testing import coordinate_image, coordinate_mask, write_pyramid

WIDTH, HEIGHT, SIZE = 720, 600, 40
STARTS = ("fork", "forkserver", "spawn")
FACTORS = (1, 4)  # of the levels, where a format has some
IMAGES = [coordinate_image(WIDTH // f, HEIGHT // f, f) for f in FACTORS]
MASKS = [coordinate_mask(WIDTH // f, HEIGHT // f, f) for f in FACTORS]
BUDGETS = ("64MB", "3MB", 0)  # all is kept, some, nothing


class Cell(NamedTuple):
    """One row of the table."""

    reader: str
    start: str
    workers: int
    parent: str


def arrays(folder: Path, ram: int | str) -> Slide:
    """Open arrays in memory, copied for this cell."""
    return open_slide(IMAGES[0].copy(), MASKS[0].copy(), name="array", ram=ram)


def memmaps(folder: Path, ram: int | str) -> Slide:
    """Open memory-mapped arrays."""
    image, mask = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("image", "mask"))
    return open_slide(image, mask, name="memmap", ram=ram)


def tensors(folder: Path, ram: int | str) -> Slide:
    """Open torch tensors, channels first."""
    image = torch.from_numpy(IMAGES[0].copy()).permute(2, 0, 1)
    return open_slide(image, torch.from_numpy(MASKS[0].copy()), name="tensor", ram=ram)


def openslides(folder: Path, ram: int | str) -> Slide:
    """Open a tiled TIFF with OpenSlide."""
    image = OpenSlideRaster(folder / "deflate.tiff", ram=int(float(str(ram).removesuffix("MB")) * 2**20))
    return open_slide(image, folder / "mask.tiff", name="openslide", ram=ram)


def pictures(folder: Path, ram: int | str) -> Slide:
    """Open PNG files, which are decoded whole and need 64 MB in each cell."""
    return open_slide(folder / "image.png", folder / "mask.png", ram="64MB")


def zarrs(folder: Path, ram: int | str) -> Slide:
    """Open zarr 3, image and mask."""
    return open_slide(folder / "image.zarr", folder / "mask.zarr", ram=ram)


def tiff(name: str) -> Callable[[Path, int | str], Slide]:
    """Return a function that opens a tiled TIFF of one codec, image and mask."""
    return lambda folder, ram: open_slide(folder / f"{name}.tiff", folder / "mask.tiff", ram=ram)


READERS = {
    "array": arrays,
    "memmap": memmaps,
    "tensor": tensors,
    **{f"tiled TIFF, {name}": tiff(name) for name in ("raw", "deflate", "lzw", "zstd", "jpeg2000", "bigtiff")},
    "PNG": pictures,
    "OpenSlide": openslides,
    "zarr": zarrs,
}


def write(folder: Path) -> None:
    """Write the files of all readers."""
    for name, codec in (("raw", None), ("deflate", "deflate"), ("lzw", "lzw"), ("zstd", "zstd")):
        write_pyramid(folder / f"{name}.tiff", IMAGES, compression=codec)
    write_pyramid(folder / "mask.tiff", MASKS)
    for name, kwargs in (
        ("jpeg2000", {"compression": "jpeg2000", "compressionargs": {"level": 0, "reversible": True}}),
        ("bigtiff", {"compression": "deflate"}),
    ):
        with tifffile.TiffWriter(folder / f"{name}.tiff", bigtiff=name == "bigtiff") as writer:
            for number, image in enumerate(IMAGES):
                writer.write(image, tile=(64, 64), photometric="rgb", subfiletype=number and 1, metadata=None, **kwargs)
    for name, pixels in (("image", IMAGES[0]), ("mask", MASKS[0])):
        Image.fromarray(pixels).save(folder / f"{name}.png")
        np.save(folder / f"{name}.npy", pixels)
    try:
        import zarr
    except ImportError:
        READERS.pop("zarr", None)
        return
    for name, pixels in (("image", IMAGES[0]), ("mask", MASKS[0])):
        chunks = (64, 48, 3)[: pixels.ndim]
        zarr.create_array(folder / f"{name}.zarr", shape=pixels.shape, chunks=chunks, dtype="u1")[...] = pixels


def cells(readers: list[str], starts: list[str], workers: list[int]) -> Iterator[Cell]:
    """Yield the rows; rows without workers have no start method."""
    for reader in readers:
        ways = [("-", 0)] * (0 in workers) + [way for way in itertools.product(starts, workers) if way[1]]
        for (start, number), parent in itertools.product(ways, ("cold", "warm")):
            yield Cell(reader, start, number, parent)


def is_wrong(draw: Draw, image: torch.Tensor, mask: torch.Tensor) -> bool:
    """Return True if pixels or labels of a patch differ from its window."""
    window = draw.window
    place = slice(window.y, window.bottom), slice(window.x, window.right)
    truths = IMAGES[window.level][place], MASKS[window.level][place]
    return not all(np.array_equal(a, b.numpy()) for a, b in zip(truths, (image, mask), strict=True))


def measure(cell: Cell, source: Path, budget: int | str, windows: int, seed: int) -> tuple[int, int]:
    """Count windows and wrong windows of a cell: half random, half from grids, two levels, two epochs."""
    with tempfile.TemporaryDirectory() as own:
        folder = Path(own, "files")
        shutil.copytree(source, folder)
        slide = READERS[cell.reader](folder, budget)
        levels = range(len(slide.level_dimensions))
        # A foreground sampler reads the mask in the parent, which then is not cold.
        drawn = Foreground if cell.parent == "warm" else Uniform
        samplers: list[Any] = [drawn(SIZE, per_slide=-(-windows // 4), level=k) for k in levels]
        samplers += [Grid(SIZE, level=k, offset="random") for k in levels]
        datasets = [PatchDataset([slide], sampler, seed=seed) for sampler in samplers]
        jobs = [
            (number, epoch * len(data) + k)
            for number, data in enumerate(datasets)
            for epoch in (0, 7)
            for k in range(len(data))
        ]
        jobs = [jobs[k] for k in np.linspace(0, len(jobs) - 1, windows).astype(int)]
        if cell.parent == "warm":
            for number, index in jobs[:: max(windows // 40, 1)]:
                datasets[number][index]
        done = wrong = 0
        context = multiprocessing.get_context(cell.start) if cell.workers else None
        if cell.start == "forkserver":
            context.set_forkserver_preload(["torch", "patchaug.data.dataset"])
        # All data sets of a cell by one set of workers: starting them is what takes the time.
        loader = DataLoader(
            Several(datasets), batch_size=8, sampler=jobs,
            num_workers=cell.workers, multiprocessing_context=context,
        )  # fmt: skip
        for images, masks in loader:
            for image, mask in zip(images, masks, strict=True):
                number, index = jobs[done]
                wrong += is_wrong(datasets[number].plan[index], image, mask)
                done += 1
        return done, wrong


class Several(torch.utils.data.Dataset):
    """Several data sets, indexed by (number of the data set, index)."""

    def __init__(self, datasets: list[PatchDataset]) -> None:
        self.datasets = datasets

    def __getitem__(self, key: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        return self.datasets[key[0]][key[1]]


def main(arguments: list[str] | None = None) -> int:
    """Count and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--windows", type=int, default=100_000)
    parser.add_argument("--readers", type=lambda text: text.split(";"), help="names between semicolons; all by default")
    parser.add_argument("--starts", type=lambda text: text.split(","), default=list(STARTS))
    parser.add_argument("--workers", type=lambda text: [int(k) for k in text.split(",")], default=[0, 1, 2, 4])
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        source = Path(temporary)
        write(source)
        rows = list(cells(options.readers or list(READERS), options.starts, options.workers))
        each, total, bad, began = -(-options.windows // len(rows)), 0, 0, time.perf_counter()
        print("| reader | start | workers | parent | windows | wrong |\n|---|---|---|---|---|---|")
        for number, cell in enumerate(rows):
            done, wrong = measure(cell, source, BUDGETS[number % len(BUDGETS)], each, number)
            total, bad = total + done, bad + wrong
            print(f"| {' | '.join(map(str, cell))} | {done} | {wrong} |", flush=True)
    print(f"\n{total:,} windows in {len(rows)} cells, {bad} wrong; {time.perf_counter() - began:.0f} s")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
