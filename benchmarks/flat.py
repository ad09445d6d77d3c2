"""Measure the cost of a window and the memory of a process for larger and for more slides.

    python benchmarks/flat.py [--rounds 7] [--windows 200] [--out t.md]

The slides are TIFF files of JPEG tiles with noise and a deflated mask beside each; the large ones list the same few
tiles over and over, so that 131,072 px take 10 MB of disk. Image and mask are read in windows of 512 px at random
places. Every row is a process of its own that may open 256 files; they take turns, and the table has the medians of
processor time. Where tiles are kept, the budget is filled first.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from tables import give, load

SIZE, TILE, FILES = 512, 256, 256
SMALL = 4096
FILL = 800  # windows that fill the budget, or a small slide, before anything is measured
SIDES, COUNTS = (SMALL, 16_384, 65_536, 131_072), (1, 10, 100, 2_000)
BUDGET = "1GB"


def write(folder: Path, name: str, side: int) -> None:
    """Write a slide and its mask with repeated tiles."""
    import tifffile

    rng, few = np.random.default_rng(0), 4 * TILE
    pixels = rng.integers(0, 256, (few // 8, few // 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    mask = (rng.random((few // 32, few // 32)) < 0.1).astype(np.uint8).repeat(32, 0).repeat(32, 1)
    image_options = {"photometric": "ycbcr", "subsampling": (2, 2), "compression": "jpeg"}
    for path, data, options in (
        (folder / f"{name}.tiff", pixels, image_options),
        (folder / f"{name}_mask.tiff", mask, {"compression": "deflate"}),
    ):
        tifffile.imwrite(path, data, tile=(TILE, TILE), bigtiff=True, metadata=None, **options)
        with tifffile.TiffFile(path, mode="r+b") as tiff:
            tags, tiles = tiff.pages[0].tags, (side // TILE) ** 2
            for tag in ("TileOffsets", "TileByteCounts"):
                tags[tag].overwrite(np.resize(np.asarray(tags[tag].value, np.uint64), tiles).tolist(), dtype="Q")
            for tag in ("ImageWidth", "ImageLength"):
                tags[tag].overwrite(side)


def serve(folder: str, ram: str) -> None:
    """Open all slides of a folder, then read the number of windows in each line of stdin."""
    import resource

    from patchaug import Plan, Uniform, open_slide
    from patchaug.core.memory.arena import cached_bytes

    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, FILES))
    images = sorted(path for path in Path(folder).iterdir() if "mask" not in path.name)
    masks = [path.with_name(f"{path.stem}_mask.tiff") for path in images]
    slides = [open_slide(image, mask, ram=ram) for image, mask in zip(images, masks, strict=True)]
    start = time.process_time()
    plan = Plan(slides, Uniform(SIZE, per_slide=100_000 // len(slides)), seed=0)
    plan.read(plan[0])
    print(time.process_time() - start, flush=True)
    at = 0
    while ram != "0" and at < FILL:
        plan.read(plan[at])
        at += 1
    for line in sys.stdin:
        start = time.process_time()
        for index in range(at, at + int(line)):
            plan.read(plan[index])
        took, at = time.process_time() - start, at + int(line)
        with open("/proc/self/smaps_rollup") as file:
            anonymous = next(int(row.split()[1]) for row in file if row.startswith("Anonymous:"))
        print(took, anonymous / 1024, cached_bytes() / 1e6, flush=True)


class Row:
    """Process that reads windows on request."""

    def __init__(self, name: str, folder: Path, ram: str) -> None:
        self.name, self.answers = name, []
        command = [sys.executable, __file__, "--serve", str(folder), "--ram", ram]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.opened = float(self.process.stdout.readline())

    def ask(self, windows: int) -> None:
        """Run one round."""
        print(windows, file=self.process.stdin, flush=True)
        self.answers.append([float(word) for word in self.process.stdout.readline().split()])


def rows(folder: Path) -> list[Row]:
    """Write the slides, and start a process for each row of the table."""
    found = []
    for side in SIDES:
        place = folder / f"side{side}"
        place.mkdir()
        write(place, "s", side)
        found += [Row(f"1 slide of {side:,} px, {ram}", place, ram) for ram in ("0", BUDGET)]
    for count in COUNTS[1:]:
        place = folder / f"count{count}"
        place.mkdir()
        for number in range(count):
            for kind in ("", "_mask"):
                shutil.copy(folder / f"side{SMALL}" / f"s{kind}.tiff", place / f"{number}{kind}.tiff")
        found += [Row(f"{count:,} slides of {SMALL:,} px, {ram}", place, ram) for ram in ("0", BUDGET)]
    return found


def main() -> None:
    """Read in turns, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--windows", type=int, default=200)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--serve")
    parser.add_argument("--ram", default="0")
    args = parser.parse_args()
    if args.serve:
        serve(args.serve, args.ram)
        return
    with tempfile.TemporaryDirectory() as folder:
        found = rows(Path(folder))
        for _ in range(args.rounds + 1):  # the first is for warming up
            for row in found:
                row.ask(args.windows)
        first: Any = None
        lines = ["| slides, `ram` | window | times the first | first window of all | own memory | cached tiles |"]
        lines.append("|---|---|---|---|---|---|")
        for row in found:
            each = statistics.median(answer[0] for answer in row.answers[1:]) / args.windows
            first = first or each
            _, anonymous, held = row.answers[-1]
            lines.append(
                f"| {row.name} | {each * 1e6:,.0f} us | {each / first:.2f} | {row.opened:.2f} s | {anonymous:,.0f} MiB "
                f"| {held:,.0f} MB |"
            )
            row.process.stdin.close()
            row.process.wait()
    give([*lines, "", load()], args.out)


if __name__ == "__main__":
    main()
