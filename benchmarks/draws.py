"""Measure the cost of one foreground draw, beside the samplers of other libraries.

    python benchmarks/draws.py MASK.tiff [--out table.md] [--memory 8] [--seconds 120]

MASK is the mask of a large slide, such as `synthetic_slides.write_slide(folder, name, size=23040)` of
`patchaug.testing` makes (531 Mpx). Each candidate draws from it in a process of its own, with the largest of the sizes
n, n/2, n/4, ... that it can bear: within the memory and the time given. Peers that are not installed are left out, and
the table says so:

    pip install torchio monai albumentations==2.0.8
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from tables import give

SIZE = 512
DRAWS = 2000
Draw = Callable[[int], Any]


def patchaug_share(path: str, mask: np.ndarray, side: int, foreground: float) -> Iterator[Draw]:
    """Draw `plan[index]` of patchaug, including the probability; the plan builds the label index."""
    from patchaug import Foreground, Plan, open_slide

    slide = open_slide(np.broadcast_to(np.uint8(0), (side, side, 3)), mask)
    plan = Plan([slide], Foreground(SIZE, per_slide=100_000, foreground=foreground), seed=1)
    yield lambda k: plan[k]


def torchio_weighted(path: str, mask: np.ndarray, side: int) -> Iterator[Draw]:
    """Draw pixels from a probability map of the labels, and center windows on them."""
    import torch
    import torchio

    volume = torch.from_numpy(mask)[None, :, :, None]
    subject = torchio.Subject(map=torchio.LabelMap(tensor=volume))
    sampler = torchio.WeightedSampler((SIZE, SIZE, 1), "map")
    windows = sampler(subject)
    yield lambda k: next(windows)


def torchio_label(path: str, mask: np.ndarray, side: int) -> Iterator[Draw]:
    """Draw as `torchio_weighted`, by class."""
    import torch
    import torchio

    volume = torch.from_numpy(mask)[None, :, :, None]
    subject = torchio.Subject(map=torchio.LabelMap(tensor=volume))
    windows = torchio.LabelSampler((SIZE, SIZE, 1), "map", {0: 0, 1: 1})(subject)
    yield lambda k: next(windows)


def monai_posneg(path: str, mask: np.ndarray, side: int) -> Iterator[Draw]:
    """List foreground and background pixels in each call, the default without cached lists."""
    from monai.transforms import RandCropByPosNegLabeld

    crop = RandCropByPosNegLabeld(["mask"], "mask", (SIZE, SIZE), pos=1, neg=0, num_samples=1)
    crop.set_random_state(0)
    yield lambda k: crop({"mask": mask[None]})


def monai_weighted(path: str, mask: np.ndarray, side: int) -> Iterator[Draw]:
    """Sum a weight map in each call."""
    from monai.transforms import RandWeightedCropd

    crop = RandWeightedCropd(["mask"], "mask", (SIZE, SIZE), num_samples=1)
    crop.set_random_state(0)
    yield lambda k: crop({"mask": mask[None]})


def albumentations_nonempty(path: str, mask: np.ndarray, side: int) -> Iterator[Draw]:
    """List the labelled pixels in each call."""
    import albumentations

    crop = albumentations.CropNonEmptyMaskIfExists(SIZE, SIZE)
    yield lambda k: crop(image=mask, mask=mask)


CANDIDATES: dict[str, tuple[str, Callable[..., Iterator[Draw]]]] = {
    "patchaug Foreground, foreground 1": ("patchaug", lambda *a: patchaug_share(*a, foreground=1.0)),
    "patchaug Foreground, foreground 0.5": ("patchaug", lambda *a: patchaug_share(*a, foreground=0.5)),
    "TorchIO WeightedSampler": ("torchio", torchio_weighted),
    "TorchIO LabelSampler": ("torchio", torchio_label),
    "MONAI RandCropByPosNegLabeld": ("monai", monai_posneg),
    "MONAI RandWeightedCropd": ("monai", monai_weighted),
    "albumentations CropNonEmptyMaskIfExists": ("albumentations", albumentations_nonempty),
}


def whole_mask(path: str) -> np.ndarray:
    """Read all pixels of the mask, uint8 (height, width)."""
    from patchaug import Window
    from patchaug.readers import open_raster

    raster = open_raster(path, mask=True, ram=2**40)
    return raster.read(Window(0, 0, *raster.level_dimensions[0]))


def peak() -> int:
    """Return the peak resident size of this process in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure(name: str, path: str, side: int, memory: float) -> dict[str, float]:
    """Measure in a separate process: seconds to the first draw, seconds per draw, and bytes per pixel of the mask."""
    mask = np.ascontiguousarray(whole_mask(path)[:side, :side])
    module, make = CANDIDATES[name]
    __import__(module)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew, without that of the decoding
    before = peak()
    resource.setrlimit(resource.RLIMIT_DATA, (int(memory * 2**30), -1))
    start = time.perf_counter()
    maker = make(path, mask, side)
    draw = next(maker)
    draw(0)
    first = time.perf_counter() - start
    times: list[float] = []
    while len(times) < DRAWS and (sum(times) < 10 or len(times) < 3):
        start = time.perf_counter()
        draw(len(times) + 1)
        times.append(time.perf_counter() - start)
    return {"first": first, "draw": statistics.median(times), "bytes": (peak() - before) / mask.size}


def decode_and_index(path: str) -> tuple[float, float, float]:
    """Return seconds to decode the mask in bands, seconds to index it, and bytes per pixel and class of the index.

    Neither finds a decoded tile in memory: that would compare the index with a copy.
    """
    from patchaug import Window, open_slide
    from patchaug.readers import open_raster

    raster = open_raster(path, mask=True)
    width, height = raster.level_dimensions[0]
    slide = open_slide(np.broadcast_to(np.uint8(0), (height, width, 3)), raster, name="slide")
    decodes, indexes = [], []
    for _ in range(5):  # interleaved: both suffer alike from what else runs
        start = time.process_time()
        for top in range(0, height, 1024):
            raster.read(Window(0, top, width, min(1024, height - top)))
        decodes.append(time.process_time() - start)
        slide._label_indexes.clear()
        start = time.process_time()
        labels = slide.labels(0)
        indexes.append(time.process_time() - start)
    most = max(runs.nbytes for runs in labels.runs.values()) / (width * height)
    return min(decodes), min(indexes), most


def main() -> None:
    """Measure all candidates and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("mask")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--memory", type=float, default=8, help="GiB that a candidate may take")
    parser.add_argument("--seconds", type=float, default=120, help="time that a candidate may take")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        name, side = options.one
        print(json.dumps(measure(name, options.mask, int(side), options.memory)))
        return
    decode, index, most = decode_and_index(options.mask)
    whole = min(whole_mask(options.mask).shape)
    lines = [
        f"Index of the mask: {index:.2f} s, {index / decode:.2f} times as long as decoding it ({decode:.2f} s); "
        f"{most:.4f} bytes per pixel and class at most.",
        "",
        "| sampler | largest side | first draw | each draw | times ours | bytes per pixel at the peak |",
        "|---|---|---|---|---|---|",
    ]
    ours = None
    for name, (module, _) in CANDIDATES.items():
        if not find_spec(module):
            lines.append(f"| {name} | not installed | | | | |")
            continue
        side = whole
        while side >= SIZE:
            command = [
                sys.executable,
                __file__,
                options.mask,
                "--memory",
                str(options.memory),
                "--one",
                name,
                str(side),
            ]
            try:
                done = subprocess.run(command, capture_output=True, text=True, timeout=options.seconds, check=False)
                why = done.stderr.strip().splitlines()[-1:] or [f"exit {done.returncode}"]
            except subprocess.TimeoutExpired:
                done, why = None, [f"over {options.seconds:.0f} s"]
            if done is not None and done.returncode == 0:
                found = json.loads(done.stdout.splitlines()[-1])
                ours = ours or found["draw"]
                lines.append(
                    f"| {name} | {side} px | {found['first']:.3g} s | {found['draw'] * 1e6:,.0f} us | "
                    f"{found['draw'] / ours:,.1f} | {found['bytes']:.3g} |"
                )
                break
            print(f"{name} at {side} px: {why[0][:200]}", file=sys.stderr)
            side //= 2
        else:
            lines.append(f"| {name} | none | | | | |")
    give(lines, options.out)


if __name__ == "__main__":
    main()
