"""Measure what thousands of slides cost before the first batch: opening, plans, memory, and the cache of indexes.

    python benchmarks/many_slides.py FOLDER [--slides 10000] [--masks 120] [--side 10240] [--out t.md]

FOLDER receives three slides of 4 Mpx and their masks under as many names as `--slides` says (hard links), and `--masks`
masks of `--side` px. Figures are ratios of times in one run, or processor time where they stand alone:

- opening an image and its mask, and a plan of `Uniform`, a slide;
- memory that is this process's own, a slide, after that plan and after one of `Foreground`;
- a plan of `Foreground` against decoding each mask once;
- the large masks with two processes against one, and a second start from `index_cache=` against the first.

Two processes against one need two cores that nothing else keeps busy: the load of the machine is printed. Processor
time tells what two free cores would do: that of one process, over that of the program and half of that of its two
processes.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from tables import give, load

SOURCES = 3  # files that the hard links lead to


def make(folder: Path, slides: int, masks: int, side: int) -> None:
    """Write the slides and masks that are not there yet."""
    import tifffile

    from patchaug.testing.synthetic_slides import write_slide

    for name in ("sources", "images", "masks", "large"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    pairs = [write_slide(folder / "sources", f"s{k}", size=2048, seed=k) for k in range(SOURCES)]
    for number in range(slides):
        for source, kind in zip(pairs[number % SOURCES], ("images", "masks"), strict=True):
            _link(source, folder / kind / f"case{number:06d}.tiff")
    tile = tifffile.imread(pairs[0][1], key=0)
    large = folder / "sources" / f"large{side}.tiff"
    if not large.exists():
        repeats = -(-side // 2048)
        whole = np.tile(tile, (repeats, repeats))[:side, :side]
        tifffile.imwrite(large, whole, tile=(256, 256), compression="zlib", photometric="minisblack")
    for number in range(masks):
        _link(large, folder / "large" / f"mask{side}_{number:04d}.tiff")


def _link(source: Path, target: Path) -> None:
    if not target.exists():
        os.link(source, target)


class Frame:
    """An image that is never read."""

    mpp, level_downsamples, complete, channels, dtype = None, (1.0,), True, 3, np.dtype("u1")

    def __init__(self, name: str, side: int) -> None:
        self.name, self.level_dimensions = name, ((side, side),)

    def read(self, window: Any) -> Any:
        """Raise: no plan reads pixels."""
        raise AssertionError("no plan reads an image")


def start(folder: Path, slides: int) -> str:
    """Open slides and make plans; return a line of figures."""
    import psutil

    from patchaug import Foreground, Plan, Uniform, open_slide
    from patchaug.slides.discovery import get_slide_files
    from patchaug.slides.pairing import find_masks

    process = psutil.Process()

    def own() -> int:
        return int(process.memory_full_info().uss)

    files = get_slide_files(folder / "images")[:slides]
    masks = find_masks(files, folder / "masks", root=folder / "images")
    open_slide(files[0], masks[0], codes=["background", "nucleus"], ram=0)
    before, clock, cpu = own(), time.perf_counter(), time.process_time()
    opened = [open_slide(i, m, codes=["background", "nucleus"], ram=0) for i, m in zip(files, masks, strict=True)]
    opening = time.process_time() - cpu
    plan = Plan(opened, Uniform(256))
    seconds, memory = time.perf_counter() - clock, own() - before
    handles = process.num_fds() if hasattr(process, "num_fds") else 0
    some = opened[: min(len(opened), 400)]
    Plan(opened[-1:], Foreground(256), index_workers=1)
    level = own()
    Plan(some, Foreground(256, per_slide=4), index_workers=1)
    more = (own() - level) / len(some)
    assert len(plan) == len(opened)
    return (
        f"| {len(opened)} slides of 4 Mpx: opening | {opening / len(opened) * 1e3:.2f} ms of processor time a slide; "
        f"with a `Uniform` plan {seconds:.1f} s in all, {handles} files open |\n"
        f"| memory a slide | {memory / len(opened) / 1e3:.1f} KB after `Uniform`, {more / 1e3:.1f} KB more for "
        f"the index of `Foreground` |"
    )


def decode(folder: Path, slides: int) -> str:
    """Return the ratio of a foreground plan to decoding each mask once."""
    from patchaug import Foreground, Plan, Window, open_slide

    names = sorted(path.name for path in (folder / "images").iterdir())[:slides]
    ratios = []
    for first in range(0, len(names), 20):
        part = [
            open_slide(folder / "images" / name, folder / "masks" / name, codes=["background", "nucleus"], ram=0)
            for name in names[first : first + 20]
        ]
        decoding = _cpu(lambda part=part: [one.mask.read(Window(0, 0, 2048, 2048)) for one in part])
        ratios.append(_cpu(lambda part=part: Plan(part, Foreground(256), index_workers=1)) / decoding)
    return f"| plan of `Foreground` against decoding its masks | {statistics.median(ratios):.2f} |"


def _cpu(work: Callable[[], Any]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def large(folder: Path, masks: int, side: int) -> str:
    """Return how two processes compare with one, and a second start with the first."""
    from patchaug import Foreground, Plan, open_slide

    paths = sorted((folder / "large").glob(f"mask{side}_*.tiff"))[:masks]
    cache = tempfile.mkdtemp(dir=folder)

    def plan(some: list[Path], **options: Any) -> float:
        began = time.perf_counter()
        slides = [open_slide(Frame(one.name, side), one, name=one.name, ram=0) for one in some]
        Plan(slides, Foreground(512), **options)
        return time.perf_counter() - began

    try:
        plan(paths[:1], index_workers=1)
        ratios = []
        rounds = 3
        for number in range(rounds):  # one after the other, so that a busy machine slows both
            some = paths[number::rounds]
            ratios.append(plan(some, index_workers=1) / plan(some, index_workers=2))
        alone = _cpu(lambda: plan(paths, index_workers=1))
        children = sum(os.times()[2:4])
        program = _cpu(lambda: plan(paths, index_workers=2))
        free = alone / (program + (sum(os.times()[2:4]) - children) / 2)
        first, second = (plan(paths, index_workers=2, index_cache=cache) for _ in range(2))
        each = ", ".join(f"{one:.2f}" for one in ratios)
        return (
            f"| {len(paths)} masks of {side**2 / 1e6:.0f} Mpx: two processes against one | "
            f"{statistics.median(ratios):.2f} times as fast ({each}); by processor time {free:.2f} |\n"
            f"| second start against the first ({first:.1f} s) | {second / first:.1%} ({second * 1e3 / len(paths):.1f} "
            f"ms a mask) |"
        )
    finally:
        shutil.rmtree(cache)


def main() -> None:
    """Run each part in a process of its own, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--slides", type=int, default=10000)
    parser.add_argument("--masks", type=int, default=120)
    parser.add_argument("--side", type=int, default=10240)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--part", choices=["start", "decode", "large"], help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.part is not None:
        parts = {
            "start": lambda: start(given.folder, given.slides),
            "decode": lambda: decode(given.folder, min(given.slides, 200)),
            "large": lambda: large(given.folder, given.masks, given.side),
        }
        print(parts[given.part]())
        return
    make(given.folder, given.slides, given.masks, given.side)
    lines = [f"| what | {load()} |", "|---|---|"]
    options = ["--slides", str(given.slides), "--masks", str(given.masks), "--side", str(given.side)]
    for part in ("start", "decode", "large"):
        command = [sys.executable, __file__, str(given.folder), *options, "--part", part]
        lines += subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip().splitlines()
    give(lines, given.out)


if __name__ == "__main__":
    main()
