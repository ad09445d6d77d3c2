"""Train in one to four processes, and compare windows, weights and metrics with those of one process.

    python benchmarks/ranks.py [--stops 20] [--seed 0]

The first table has a row for each world size and number of workers: whether the windows of every step, in their order,
are those of one process, the greatest difference of a weight after two epochs (SGD, no batch norm), and that of a
metric of validation. The ways are fastai's `distrib_ctx`, a loop of torch with DistributedDataParallel, and one of
accelerate. The second part stops runs at random batches: four ranks, then two, one, and three go on, and each window
of both epochs must be trained on once, with the weights of the unbroken run.

The processes are started from the root of a clone, on slides of the tests.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from patchaug.testing import coordinate_image, coordinate_mask, write_pyramid
from tests.fastai2.rank_loops import train_loop
from tests.fastai2.ranked import train_all, train_part
from tests.rank_processes import run_ranks

SIDE = 256


def write_slides(root: Path) -> None:
    """Write the slides of the tests."""
    for number in range(4):
        for kind, make in (("images", coordinate_image), ("masks", coordinate_mask)):
            (root / kind).mkdir(exist_ok=True)
            write_pyramid(root / kind / f"s{number}.tiff", [make(SIDE // f, SIDE // f, f) for f in (1, 4)])


def merged(ranks: list[dict[str, Any]], name: str) -> list[list[str]]:
    """Return the windows of each step, of all ranks in their order."""
    return [list(chain(*parts)) for parts in zip(*(seen[name] for seen in ranks), strict=True)]


def most(one: Any, other: Any) -> float:
    """Return the greatest difference of two arrays."""
    return float(np.abs(np.asarray(one, float) - np.asarray(other, float)).max())


def compare_fastai(folder: Path, out: Path) -> None:
    """Print a row for each loss, world size and number of workers."""
    losses = [{"loss": "ours", "flips": True}, {"loss": "torch", "bs": 7}, {"loss": "dice", "bs": 5}, {"loss": "both"}]
    cases = [{"epochs": 2, "folder": folder, "out": out, **case} for case in losses]
    (alone,) = run_ranks(1, train_all, cases)
    for world in (1, 2, 3, 4):
        for workers in (0, 2):
            ranks = run_ranks(world, train_all, [{**case, "workers": workers} for case in cases], timeout=300)
            for number, case in enumerate(losses):
                seen, one = [rank[number] for rank in ranks], alone[number]
                same = all(merged(seen, name) == one[name] for name in ("steps", "validated"))
                last = seen[-1]
                print(
                    f"| distrib_ctx, {case['loss']} | {world} | {workers} | {'yes' if same else 'NO'} "
                    f"| {most(last['weights'], one['weights']):.1e} | {most(last['values'], one['values']):.1e} "
                    f"| {'yes' if last['targets'] == one['targets'] else 'NO'} |", flush=True,
                )  # fmt: skip


def compare_loops(folder: Path) -> None:
    """Print a row for each loop, world size and number of workers."""
    for way in ("torch", "accelerate"):
        (alone,) = run_ranks(1, train_loop, way, folder, 0)
        for world in (1, 2, 3, 4):
            for workers in (0, 2):
                ranks = run_ranks(world, train_loop, way, folder, workers)
                same = [set(step) for step in merged(ranks, "steps")] == [set(step) for step in alone["steps"]]
                print(
                    f"| {way} | {world} | {workers} | {'yes' if same else 'NO'} "
                    f"| {most(ranks[-1]['weights'], alone['weights']):.1e} | | |", flush=True,
                )  # fmt: skip


def stop_at_random(folder: Path, stops: int, seed: int) -> None:
    """Stop and resume runs with other numbers of ranks."""
    chance, done, worst = random.Random(seed), 0, 0.0
    case = {"folder": folder, "epochs": 2, "per_slide": 15, "bs": 4, "flips": True}  # 12 batches an epoch
    with tempfile.TemporaryDirectory() as out:
        alone = train_part(None, False, {**case, "out": Path(out)})
    while done < stops:
        steps: list[list[str]] = []
        moments = [chance.randrange(1, 7) for _ in range(3)]
        with tempfile.TemporaryDirectory() as out:
            for world, stop in zip((4, 2, 1, 3), [*moments, None], strict=True):
                ranks = run_ranks(world, train_part, stop, bool(steps), {**case, "out": Path(out)})
                steps += merged(ranks, "steps")
        done += 3
        worst = max(worst, most(ranks[0]["weights"], alone["weights"]))
        assert steps == alone["steps"], f"stops after {moments} batches: other windows"
        print(f"stops after {moments} batches, 4, 2, 1 and 3 ranks: {len(steps)} steps as in one process", flush=True)
    print(f"{done} stops: each window once; the greatest difference of a weight is {worst:.1e}")


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stops", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    chosen, start = parser.parse_args(), time.monotonic()
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root)
        write_slides(folder)
        print("| way | ranks | workers | windows of each step | weights | metrics | order of get_preds |")
        print("|---|---|---|---|---|---|---|")
        compare_fastai(folder, folder)
        compare_loops(folder)
        print()
        stop_at_random(folder, chosen.stops, chosen.seed)
    print(f"{time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
