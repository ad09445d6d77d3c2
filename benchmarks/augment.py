"""Measure the cost of padding-free augmentation, beside the same albumentations call on pixels in RAM.

    python benchmarks/augment.py SLIDE.tiff MASK.tiff [--patches 200]

Patches of 512 px are rotated by any angle. patchaug draws the window, reads image and mask with the halo, and augments
with the seed of the sample. The other candidate augments one 724 px crop in RAM repeatedly, and crops the result. Both
take turns, five times; the result is the ratio of their medians. `warm` reads from arrays in RAM, `cold` from the file.
"""

from __future__ import annotations

import argparse
import statistics
import time

import albumentations as alb
import numpy as np

from patchaug import Augment, Plan, Uniform, Window, open_slide

SIZE = 512


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("image")
    parser.add_argument("mask")
    parser.add_argument("--patches", type=int, default=200)
    options = parser.parse_args()
    turn = alb.Compose([alb.Rotate((-180, 180), p=1)])
    cold = open_slide(options.image, options.mask)
    side = min(*cold.dimensions, 8192)
    image, mask = cold.read(Window(0, 0, side, side))
    slides = {"warm": open_slide(image, mask), "cold": cold}
    crop, labels = cold.read(Window(3000, 3000, 724, 724))
    print("| slide | patches a second, ours | the call alone | ratio |\n|---|---|---|---|")
    for name, slide in slides.items():
        plan = Plan([slide], Uniform(SIZE, per_slide=10**6), augment=Augment(turn))
        ours, alone = [], []
        for turn_number in range(5):
            start = time.perf_counter()
            for k in range(options.patches):
                plan.read(plan[turn_number * options.patches + k])
            ours.append(options.patches / (time.perf_counter() - start))
            start = time.perf_counter()
            for _ in range(options.patches):
                made = turn(image=crop, mask=labels)
                inside = slice(106, 106 + SIZE), slice(106, 106 + SIZE)
                np.ascontiguousarray(made["image"][inside]), np.ascontiguousarray(made["mask"][inside])
            alone.append(options.patches / (time.perf_counter() - start))
        mine, other = statistics.median(ours), statistics.median(alone)
        print(f"| {name} | {mine:.0f} | {other:.0f} | {mine / other:.2f} |")


if __name__ == "__main__":
    main()
