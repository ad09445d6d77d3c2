"""Try an order of windows that shares decoded tiles: how much faster cold reads become, and what is lost.

    python benchmarks/shared_tiles.py SLIDE.tiff MASK.tiff [--batches 2000] [--rounds 5] [--out t.md]

Windows come in pairs. The first is uniform over all windows. The second is the first moved by `shift` px along x or y,
around the slide's end: as the first is uniform, so is the second, and each window's own probability stays exact. What
is lost is independence: the share of a class in a batch of 8 varies more, as if the batch were smaller. A pair whose
windows touch is read at once, as the rectangle around both, so that a tile is decoded once. Reads are without a cache;
all shifts take turns within a round, and the table has the medians of processor time.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from tables import give, load

from patchaug import Window, open_slide

SIZE, BATCH = 512, 8
SHIFTS = (None, 512, 384, 256, 128, 64)  # None: both windows are independent


def pairs(rng: np.random.Generator, count: int, places: tuple[int, int], shift: int | None) -> Any:
    """Draw (count, 2, 2) places (x, y) of pairs of windows."""
    first = rng.integers(0, places, (count, 2))
    if shift is None:
        return np.stack([first, rng.integers(0, places, (count, 2))], 1)
    second = first.copy()
    second[np.arange(count), rng.integers(0, 2, count)] += shift
    return np.stack([first, second % places], 1)


def read_pair(slide: Any, pair: Any) -> None:
    """Read the windows of a pair: together where that is less than both."""
    left, top = pair.min(0).tolist()
    width, height = (pair.max(0) - pair.min(0) + SIZE).tolist()
    if width * height <= 2 * SIZE * SIZE:
        pixels = slide.read(Window(left, top, width, height)).image
        for x, y in (pair - [left, top]).tolist():
            pixels[y : y + SIZE, x : x + SIZE].copy()
    else:
        for x, y in pair.tolist():
            slide.read(Window(x, y, SIZE, SIZE))


def shares(sums: Any, places: Any) -> Any:
    """Return the share of labelled pixels of windows, from sums over rectangles."""
    x, y = places[..., 0], places[..., 1]
    return (sums[y + SIZE, x + SIZE] - sums[y, x + SIZE] - sums[y + SIZE, x] + sums[y, x]) / SIZE**2


def main() -> None:
    """Read and count in turns, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("slide")
    parser.add_argument("mask")
    parser.add_argument("--batches", type=int, default=20_000)
    parser.add_argument("--pairs", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    slide = open_slide(args.slide, ram=0)
    labels = tifffile.imread(args.mask, key=0) > 0
    sums = np.zeros((labels.shape[0] + 1, labels.shape[1] + 1), np.int32)
    np.cumsum(labels, 0, out=sums[1:, 1:], dtype=np.int32)
    np.cumsum(sums[1:, 1:], 1, out=sums[1:, 1:])
    places = slide.dimensions[0] - SIZE + 1, slide.dimensions[1] - SIZE + 1
    rates: dict[int | None, list[float]] = {shift: [] for shift in SHIFTS}
    for seed in range(args.rounds + 1):
        for shift in SHIFTS:
            drawn = pairs(np.random.default_rng(seed), args.pairs, places, shift)
            start = time.process_time()
            for pair in drawn:
                read_pair(slide, pair)
            rates[shift].append(2 * args.pairs / (time.process_time() - start))
    lines = [
        "| second window of a pair | cold windows a second | times independent | share of the class, mean "
        "| variance in a batch, times independent | a batch of 8 is worth |",
        "|---|---|---|---|---|---|",
    ]
    base_rate, base_variance = statistics.median(rates[None][1:]), 0.0
    for shift in SHIFTS:
        drawn = pairs(np.random.default_rng(0), args.batches * BATCH // 2, places, shift)
        found = shares(sums, drawn).reshape(args.batches, BATCH)
        variance = float(found.mean(1).var())
        base_variance = base_variance or variance
        rate, ratio = statistics.median(rates[shift][1:]), variance / base_variance
        lines.append(
            f"| {'independent' if shift is None else f'{shift} px away'} | {rate:,.0f} | {rate / base_rate:.2f} "
            f"| {found.mean():.5f} | {ratio:.2f} | {BATCH / ratio:.1f} |"
        )
    give([*lines, "", load()], args.out)


if __name__ == "__main__":
    main()
