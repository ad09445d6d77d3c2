"""Run the benchmarks of what a user feels one after the other, and print one table of their main figures.

    python benchmarks/all.py SLIDE.tiff MASK.tiff [--only predict,read] [--out t.md]

SLIDE and MASK are a large slide and its mask, such as `synthetic_slides.write_slide(folder, name, size=23040)` of
`patchaug.testing` makes. Each script also runs alone and says what it measures; its own table is printed before. All
figures are ratios to something that ran beside, so that runs on one machine can be compared. With another checkout
first in `PYTHONPATH`, that version is measured by the scripts of this one; rows that it cannot run say "not found".
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tables import give, load

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Figure:
    """A figure of a script's output.

    Attributes:
        what: What it is.
        aim: What it shall be.
        find: Returns it from the output.
    """

    what: str
    aim: str
    find: Callable[[str], str]


def text(pattern: str) -> Callable[[str], str]:
    """Find the one group of a pattern."""

    def find(output: str) -> str:
        found = re.search(pattern, output)
        return found[1] if found else "not found"

    return find


def cell(row: str, column: int) -> Callable[[str], str]:
    """Find a cell of the table row whose first cell is `row`."""

    def find(output: str) -> str:
        for line in output.splitlines():
            cells = [one.strip() for one in line.strip().strip("|").split("|")]
            if cells[0] == row:
                return cells[column]
        return "not found"

    return find


def over_rasterio(row: str) -> Callable[[str], str]:
    """Divide windows a second of patchaug by those of rasterio, in a row of `bands.py`."""

    def find(output: str) -> str:
        ours, theirs = (cell(row, column)(output).replace(",", "") for column in (1, 2))
        return "not found" if "not found" in (ours, theirs) else f"{float(ours) / float(theirs):.2f}"

    return find


def _processor_time() -> float:
    """Return the seconds of all processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def imports(rounds: int = 9) -> str:
    """Compare `import patchaug`, and its main names, with `import numpy`: processor time of processes in turns."""
    commands = {
        "pass": "pass", "numpy": "import numpy", "patchaug": "import patchaug",
        "open_slide, Plan, Foreground": "from patchaug import open_slide, Plan, Foreground",
    }  # fmt: skip
    took: dict[str, list[float]] = {name: [] for name in commands}
    with tempfile.TemporaryDirectory() as compiled:  # as installed packages are
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": compiled, "PYTHONDONTWRITEBYTECODE": ""}
        for _ in range(rounds + 1):
            for name, command in commands.items():
                start = _processor_time()
                subprocess.run([sys.executable, "-c", command], check=True, env=environment)
                took[name].append(_processor_time() - start)
    bare, numpy, *ours = (statistics.median(seconds[1:]) for seconds in took.values())  # the first one compiles
    rows = [
        f"| {name} | {(one - bare) / (numpy - bare):.2f} |" for name, one in zip(list(commands)[2:], ours, strict=True)
    ]
    return "\n".join(["| import, without the start of Python | times numpy |", "|---|---|", "| numpy | 1.00 |", *rows])


SCRIPTS: dict[str, tuple[list[str], list[Figure]]] = {
    "predict": (
        ["predict.py", "{slide}", "--formats", ""],
        [
            Figure("prediction of the slide, times the model's own time", "1.10", text(r"= ([\d.]+) times that")),
            Figure("its memory above the model", "700 MiB", cell("peak memory above the model", 1)),
        ],
    ),
    "read": (
        ["read.py", "{slide}", "{mask}", "--rounds", "5", "--windows", "100"],
        [
            Figure("image cold, times OpenSlide", "4.5", cell("ours_cold", 2)),
            Figure("image and mask cold, times OpenSlide reading the image", "4.2", cell("ours_cold_pair", 2)),
        ],
    ),
    "draw_pace": (
        ["draw_pace.py", "{mask}"],
        [
            Figure("foreground draw, times a uniform draw", "2", cell("Foreground, foreground=1", 2)),
            Figure("draw with min_fraction", "100 us", cell("Foreground, min_fraction=0.01", 1)),
        ],
    ),
    "draws": (
        ["draws.py", "{mask}", "--seconds", "60"],
        [Figure("index of labels, times decoding the mask", "1.0", text(r"([\d.]+) times as long as decoding"))],
    ),
    "many_slides": (
        ["many_slides.py", "{folder}", "--slides", "4000", "--masks", "240"],
        [
            Figure("opening of 4,000 slides, each", "1 ms", text(r"opening \| ([\d.]+ ms)")),
            Figure("memory of each after `Uniform`", "30 KB", text(r"memory a slide \| ([\d.]+ KB)")),
            Figure("more memory of each for `Foreground`", "30 KB", text(r"`Uniform`, ([\d.]+ KB) more")),
            Figure("foreground plan, times decoding the masks", "1.3", cell(
                "plan of `Foreground` against decoding its masks", 1)),
            Figure("indexes by two processes, times one", "1.8", text(r"two processes against one \| ([\d.]+) times")),
            Figure("second start with `index_cache`, of the first", "3 %", text(r"second start[^|]*\| ([\d.]+%)")),
        ],
    ),
    "loader": (
        ["loader.py", "{slide}", "{mask}"],
        [
            Figure("dls.train, 2 workers, times tiles on disk", "8", cell("dls.train, 2 workers", 2)),
            Figure("dls.train, 2 workers, bytes, times tiles on disk", "8", cell("dls.train, 2 workers, bytes", 2)),
            Figure("dls.train, 0 workers, times tiles on disk", "-", cell("dls.train, 0 workers", 2)),
        ],
    ),
    "bands": (
        ["bands.py"],
        [
            Figure("6 bands of uint8 apart, times rasterio", "1", over_rasterio("6 x uint8, by band")),
            Figure("6 bands of uint16 apart, times rasterio", "1", over_rasterio("6 x uint16, by band")),
            Figure("RGBA, times rasterio", "1", over_rasterio("4 x uint8, by pixel, with alpha")),
        ],
    ),
    "imports": (
        [],
        [
            Figure("import patchaug, times import numpy", "1.5", cell("patchaug", 1)),
            Figure("open_slide, Plan and Foreground, times import numpy", "-", cell("open_slide, Plan, Foreground", 1)),
        ],
    ),
}  # fmt: skip


def main() -> None:
    """Run the scripts, and print their tables and one of the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("slide")
    parser.add_argument("mask")
    parser.add_argument("--only", type=lambda words: words.split(","), default=list(SCRIPTS))
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    if unknown := set(args.only) - set(SCRIPTS):
        parser.error(f"--only: unknown {sorted(unknown)}; there are {', '.join(SCRIPTS)}")
    lines = ["| what | aim | now | load before, after |", "|---|---|---|---|"]
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        for name in args.only:
            command, figures = SCRIPTS[name]
            before = load().split()[1]
            if command:
                words = [word.format(slide=args.slide, mask=args.mask, folder=folder) for word in command]
                process = [sys.executable, str(HERE / words[0]), *words[1:]]
                done = subprocess.run(process, check=False, stdout=subprocess.PIPE, text=True)
                output = done.stdout
                failed |= done.returncode != 0
            else:
                output = imports()
            print(f"## {name}\n\n{output}", flush=True)
            lines += [
                f"| {one.what} | {one.aim} | {one.find(output)} | {before}, {load().split()[1]} |" for one in figures
            ]
    give([*lines, "", load()], args.out)
    if failed:
        sys.exit("at least one script failed: its rows say 'not found', and its error is above")


if __name__ == "__main__":
    main()
