"""Measure windows of 512 px per second of processor time from a large slide: patchaug beside other readers.

    python benchmarks/read.py SLIDE.tiff MASK.tiff [--rounds 5] [--windows 200] [--python tiatoolbox=PATH] [--out t.md]

The slide is one that `synthetic_slides.write_slide(folder, name, size=23040)` of `patchaug.testing` makes (JPEG
tiles of 256 px). Each reader lives in a process of its own and waits for its turn: in each round all read the same
windows one after the other, so a busy machine slows all of them; the table has the medians over the rounds. The file is
in the system's cache: no disk is measured. Readers that are not installed are left out, and the table says so;
`--python` names the interpreter of one that lives in another environment.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from tables import give, load

SIZE = 512
Read = Callable[[int, int], Any]


def _ours(slide: str, mask: str, ram: int | str) -> tuple[Any, Any]:
    from patchaug import open_slide

    return open_slide(slide, mask, ram=ram), open_slide(slide, ram=ram)


def ours_cold(slide: str, mask: str) -> Read:
    """Read with patchaug, without a cache."""
    from patchaug import Window

    _, alone = _ours(slide, mask, 0)
    return lambda x, y: alone.read(Window(x, y, SIZE, SIZE)).image


def ours_cold_pair(slide: str, mask: str) -> Read:
    """Read image and mask with patchaug, without a cache."""
    from patchaug import Window

    pair, _ = _ours(slide, mask, 0)
    return lambda x, y: pair.read(Window(x, y, SIZE, SIZE)).image


def ours_warm(slide: str, mask: str) -> Read:
    """Read with patchaug, with all tiles cached."""
    from patchaug import Window

    _, alone = _ours(slide, mask, "8GB")
    _all(alone)
    return lambda x, y: alone.read(Window(x, y, SIZE, SIZE)).image


def ours_warm_pair(slide: str, mask: str) -> Read:
    """Read image and mask with patchaug, with all tiles cached."""
    from patchaug import Window

    pair, _ = _ours(slide, mask, "8GB")
    _all(pair)
    return lambda x, y: pair.read(Window(x, y, SIZE, SIZE)).image


def _all(slide: Any) -> None:
    from patchaug import Window

    width, height = slide.dimensions
    for y in range(0, height, 2048):
        for x in range(0, width, 2048):
            slide.read(Window(x, y, min(2048, width - x), min(2048, height - y)))


def decode_limit(slide: str, mask: str) -> Read:
    """Decode each tile of a window once with imagecodecs from bytes in memory, without assembling the window."""
    import imagecodecs
    import tifffile

    data = Path(slide).read_bytes()
    with tifffile.TiffFile(slide) as tiff:
        page = tiff.pages[0]
        tables, places = page.jpegtables, list(zip(page.dataoffsets, page.databytecounts, strict=True))
        side, across = page.tilewidth, -(-page.imagewidth // page.tilewidth)

    def read(x: int, y: int) -> None:
        for row in range(y // side, (y + SIZE - 1) // side + 1):
            for column in range(x // side, (x + SIZE - 1) // side + 1):
                at, count = places[row * across + column]
                imagecodecs.jpeg_decode(data[at : at + count], tables=tables)

    return read


def copy_limit(slide: str, mask: str) -> Read:
    """Copy the window from an array of the whole slide."""
    image = _array(slide)
    return lambda x, y: image[y : y + SIZE, x : x + SIZE].copy()


def copy_limit_pair(slide: str, mask: str) -> Read:
    """Copy the windows of image and mask from arrays."""
    image, labels = _array(slide), _array(mask)
    return lambda x, y: (image[y : y + SIZE, x : x + SIZE].copy(), labels[y : y + SIZE, x : x + SIZE].copy())[0]


def _array(path: str) -> Any:
    import tifffile

    return tifffile.imread(path, key=0)


def openslide(slide: str, mask: str) -> Read:
    """openslide-python."""
    import openslide

    opened = openslide.OpenSlide(slide)
    return lambda x, y: np.asarray(opened.read_region((x, y), 0, (SIZE, SIZE)).convert("RGB"))


def tiffslide(slide: str, mask: str) -> Read:
    """tiffslide."""
    import tiffslide

    opened = tiffslide.TiffSlide(slide)
    return lambda x, y: opened.read_region((x, y), 0, (SIZE, SIZE), as_array=True)


def cucim(slide: str, mask: str) -> Read:
    """cuCIM on the CPU."""
    from cucim import CuImage

    opened = CuImage(slide)
    return lambda x, y: np.asarray(opened.read_region(location=(x, y), size=(SIZE, SIZE), level=0))


def monai(slide: str, mask: str) -> Read:
    """MONAI's WSIReader with OpenSlide behind, as PatchWSIDataset uses it."""
    from monai.data import WSIReader

    reader = WSIReader("openslide")
    opened = reader.read(slide)
    return lambda x, y: reader.get_data(opened, location=(y, x), size=(SIZE, SIZE), level=0)[0].transpose(1, 2, 0)


def tiatoolbox(slide: str, mask: str) -> Read:
    """TIAToolbox's WSIReader."""
    from tiatoolbox.wsicore.wsireader import WSIReader

    opened = WSIReader.open(slide)
    return lambda x, y: opened.read_rect((x, y), (SIZE, SIZE), resolution=0, units="level")


READERS = [ours_cold, ours_cold_pair, ours_warm, ours_warm_pair, decode_limit, copy_limit, copy_limit_pair]
READERS += [openslide, tiffslide, cucim, monai, tiatoolbox]


def serve(name: str, slide: str, mask: str) -> None:
    """Open the slide; for each line of stdin, read the windows of a seed and print the seconds."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries print
    read = {reader.__name__: reader for reader in READERS}[name](slide, mask)
    print("open", file=answers, flush=True)
    for line in sys.stdin:
        seed, count, side = (int(word) for word in line.split())
        places = np.random.default_rng(seed).integers(0, side - SIZE + 1, (count, 2)).tolist()
        start = time.process_time()
        for x, y in places:
            last = read(x, y)
        took = time.process_time() - start
        check = -1 if last is None else int(np.asarray(last)[..., :3].astype(np.int64).sum())
        print(took, check, file=answers, flush=True)


class Reader:
    """Process that reads windows on request."""

    def __init__(self, name: str, python: str, args: argparse.Namespace) -> None:
        self.name, self.rates, self.checks = name, [], []
        command = [python, __file__, args.slide, args.mask, "--serve", name]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self.there = self.process.stdout.readline() == "open\n"

    def ask(self, seed: int, count: int, side: int) -> None:
        """Run one round."""
        print(seed, count, side, file=self.process.stdin, flush=True)
        took, check = self.process.stdout.readline().split()
        self.rates.append(count / float(took))
        self.checks.append(int(check))


def main() -> None:
    """Read in turns, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("slide")
    parser.add_argument("mask")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--windows", type=int, default=200)
    parser.add_argument("--python", action="append", default=[])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--serve")
    args = parser.parse_args()
    if args.serve:
        serve(args.serve, args.slide, args.mask)
        return
    import tifffile

    with tifffile.TiffFile(args.slide) as tiff:
        side = min(tiff.pages[0].imagewidth, tiff.pages[0].imagelength)
    elsewhere = dict(word.split("=", 1) for word in args.python)
    readers = [Reader(reader.__name__, elsewhere.get(reader.__name__, sys.executable), args) for reader in READERS]
    there = [reader for reader in readers if reader.there]
    for seed in range(args.rounds + 1):  # the first round warms up
        for reader in there:
            reader.ask(seed, args.windows if seed else 20, side)
    for reader in readers:
        reader.process.terminate()
    rate = {reader.name: statistics.median(reader.rates[1:]) for reader in there}
    same = {reader.name: reader.checks == there[0].checks for reader in there}
    lines = ["| reader | windows per second of one core | times OpenSlide | pixels |", "|---|---|---|---|"]
    for reader in readers:
        if reader.there:
            pixels = "-" if reader.checks[-1] < 0 else "same" if same[reader.name] else "other"
            ratio = rate[reader.name] / rate["openslide"]
            lines.append(f"| {reader.name} | {rate[reader.name]:,.0f} | {ratio:.2f} | {pixels} |")
        else:
            lines.append(f"| {reader.name} | not installed | | |")
    lines.append("")
    for what, one, other in (
        ("cold, of the decode limit", "ours_cold", "decode_limit"),
        ("warm image, of the copy limit", "ours_warm", "copy_limit"),
        ("warm image and mask, of the copy limit", "ours_warm_pair", "copy_limit_pair"),
    ):
        lines.append(f"{what}: {rate[one] / rate[other]:.2f}  ")
    lines.append(load())
    give(lines, args.out)


if __name__ == "__main__":
    main()
