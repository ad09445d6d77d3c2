"""Measure one draw of each sampler from a large mask, with its exact probability, against a uniform draw.

    python benchmarks/draw_pace.py MASK.tiff [--rounds 7] [--draws 1000] [--out t.md]

MASK is one such as `draws.py` takes. All samplers take turns within a round, in one process, after the label index is
made; the table has the medians of processor time. No pixel of an image is read.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import numpy as np
from tables import give, load

from patchaug import Foreground, Plan, Uniform, open_slide

SIZE, MANY = 512, 100_000


def main() -> None:
    """Draw in turns, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mask")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    width, height = open_slide(args.mask).dimensions
    slide = open_slide(np.broadcast_to(np.uint8(0), (height, width, 3)), args.mask)
    samplers = {
        "Uniform": Uniform(SIZE, per_slide=MANY),
        "Foreground, foreground=1": Foreground(SIZE, per_slide=MANY, foreground=1.0),
        "Foreground, foreground=0.5": Foreground(SIZE, per_slide=MANY, foreground=0.5),
        "Foreground, min_fraction=0.01": Foreground(SIZE, per_slide=MANY, foreground=1.0, min_fraction=0.01),
        "Foreground, min_fraction=0.03": Foreground(SIZE, per_slide=MANY, foreground=1.0, min_fraction=0.03),
    }
    plans = {name: Plan([slide], sampler) for name, sampler in samplers.items()}
    took: dict[str, list[float]] = {name: [] for name in plans}
    for turn in range(args.rounds + 1):  # the first round warms up
        for name, plan in plans.items():
            start = time.process_time()
            for index in range(turn * args.draws, (turn + 1) * args.draws):
                plan[index]
            took[name].append((time.process_time() - start) / args.draws)
    medians = {name: statistics.median(values[1:]) for name, values in took.items()}
    lines = ["| sampler | a draw | times `Uniform` |", "|---|---|---|"]
    lines += [f"| {name} | {one * 1e6:,.0f} us | {one / medians['Uniform']:.2f} |" for name, one in medians.items()]
    give([*lines, "", load()], args.out)


if __name__ == "__main__":
    main()
