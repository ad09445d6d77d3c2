"""Measure the memory for pixels of two ranks under torchrun, by the system's count.

    python benchmarks/rank_memory.py [--ram 2GB] [--ranks 2] [--slide FILE] [--out t.md]

Each rank reads all tiles of a slide under two names (hard links), which hold more pixels than the budget, with two
workers of torch. The sum over all processes of the proportional set size (PSS) of the memory for tiles is taken ten
times a second; beside it all pages of that memory, since PSS counts a page from its first read on. The second row is of
ranks that cannot see each other, and divide the budget.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from tables import give, load

SIZE = 4096


def serve(slides: list[str], ram: str, *, divide: bool) -> None:
    """Read all windows of the slides, as one of the ranks."""
    import torch

    from patchaug import Grid, PatchDataset, open_slide
    from patchaug.core.memory import rank_memory
    from patchaug.core.memory.arena import cached_bytes

    if divide:
        rank_memory._PROC = "/nowhere"
    dataset = PatchDataset([open_slide(one, ram=ram) for one in slides], Grid(SIZE), shuffle=False)
    for _ in torch.utils.data.DataLoader(dataset, 1, num_workers=2, collate_fn=len):
        pass
    print(f"rank {os.environ['RANK']} sees {cached_bytes():,} bytes of cached tiles", file=sys.stderr)


def shares(parent: int) -> tuple[list[int], int]:
    """Return each descendant's share of the memory for tiles, and the pages of that memory, in bytes."""
    import psutil

    found, files = [], {}
    for process in psutil.Process(parent).children(recursive=True):
        inside, total = False, 0
        with suppress(OSError):  # it has ended
            for line in Path(f"/proc/{process.pid}/smaps").read_text().splitlines():
                first = line.split()[0]
                if not first.endswith(":"):
                    inside = "/memfd:patchaug" in line and " memory (" in line
                elif inside and first == "Pss:":
                    total += int(line.split()[1]) * 1024
            for path in Path(f"/proc/{process.pid}/fd").iterdir():
                link = os.readlink(path)
                if "/memfd:patchaug" in link and " memory (" in link:
                    status = path.stat()
                    files[status.st_ino] = status.st_blocks * 512
        found.append(total)
    return found, sum(files.values())


def measure(slides: list[Path], args: argparse.Namespace, *extra: str) -> tuple[int, int, int, float]:
    """Return the largest sums of shares and of pages in bytes, the number of processes with a share, and seconds."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={args.ranks}",
               __file__, "--ram", args.ram, *extra, "--serve", *map(str, slides)]  # fmt: skip
    started, most, pages, holders = time.monotonic(), 0, 0, 0
    child = subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"})
    while child.poll() is None:
        found, allocated = shares(child.pid)
        most, pages, holders = max(most, sum(found)), max(pages, allocated), max(holders, sum(one > 0 for one in found))
        time.sleep(0.1)
    if child.returncode:
        raise SystemExit(f"torchrun ended with {child.returncode}")
    return most, pages, holders, time.monotonic() - started


def main() -> None:
    """Print a table of the largest sums."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ram", default="2GB")
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--slide", type=Path, default=Path("/tmp/big/big.tiff"))
    parser.add_argument("--serve", nargs="+")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--divide", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        serve(args.serve, args.ram, divide=args.divide)
        return
    lines = [f"Budget {args.ram}, {load()}.", "",
             "| ranks | largest sum of PSS | most pages of the memory | processes | time |",
             "|---|---|---|---|---|"]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        slides = [Path(folder) / f"{name}.tiff" for name in "ab"]
        for slide in slides:
            slide.hardlink_to(args.slide)
        for name, extra in (("share", ()), ("divide", ("--divide",))):
            most, pages, holders, took = measure(slides, args, *extra)
            lines.append(f"| {args.ranks} that {name} | {most:,} bytes | {pages:,} bytes | {holders} | {took:.0f} s |")
    give(lines, args.out)


if __name__ == "__main__":
    main()
