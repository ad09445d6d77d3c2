"""Compare the choice of `patchaug advise` with an exhaustive run, on three kinds of slide.

    python benchmarks/sweet_spot.py advise dense          # first: its answer goes to sweet_spot/dense_advice.json
    python benchmarks/sweet_spot.py exhaustive dense      # then all candidates, with more time and more seeds
    python benchmarks/sweet_spot.py table [--out table.md]

The kinds are dense (small discs), sparse (a few large rings, whose inside looks like the outside), and texture
(areas that differ by the direction of their stripes). Both runs use the small network below. Time is the processor's
time of one thread, so that other programs on the machine do not count; advise has a tenth of it.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tables import give
from torch import nn

from patchaug import Slide, open_slide
from patchaug.advise.candidate import Candidate, candidates_of
from patchaug.advise.report import report_field, report_rows, table_lines
from patchaug.advise.run import run_advice
from patchaug.advise.short_training import Scored, train_and_score
from patchaug.advise.validation import choose_blocks
from patchaug.cli.short_runs import ShortRuns
from patchaug.options.fields import TrainOptions

FOLDER = Path("sweet_spot")
KINDS = ("dense", "sparse", "texture")
SIDE, TRAIN, VALID = 768, 4, 2
SIZES, MPPS = (32, 64, 128, 256), (0.5, 1.0)
PIXELS = 2**15  # of a batch: hundreds of steps within seconds
SECONDS, SEEDS = 6.0, (101, 102)  # of the exhaustive run: of each training, and how often


class Network(nn.Module):
    """Three resolutions, 8 to 32 channels."""

    def __init__(self, n_in: int = 3, n_out: int = 2) -> None:
        super().__init__()
        wide = (8, 16, 32)

        def block(n: int, m: int) -> nn.Sequential:
            return nn.Sequential(nn.Conv2d(n, m, 3, padding=1), nn.BatchNorm2d(m), nn.ReLU(inplace=True))

        self.down = nn.ModuleList(block(n, m) for n, m in zip((n_in, *wide), wide, strict=False))
        self.deep = block(wide[-1], wide[-1])
        self.up = nn.ModuleList(block(n + m, m) for n, m in zip(wide[::-1], wide[-2::-1], strict=False))
        self.out = nn.Conv2d(wide[0], n_out, 1)

    def forward(self, x: Any) -> Any:
        """Return scores of each pixel."""
        kept = []
        for stage in self.down:
            x = stage(nn.functional.max_pool2d(x, 2) if kept else x)
            kept.append(x)
        x = self.deep(x)
        for stage, skip in zip(self.up, kept[-2::-1], strict=True):
            x = stage(torch.cat([nn.functional.interpolate(x, scale_factor=2), skip], 1))
        return self.out(x)


def make(n_in: int, n_out: int) -> nn.Module:
    """Make the network; `model="sweet_spot:make"` names it."""
    return Network(n_in, n_out)


def smooth(rng: np.random.Generator, scale: int) -> np.ndarray:
    """Return a smooth random field, float (SIDE, SIDE), of standard deviation 1."""
    grid = torch.tensor(rng.normal(0, 1, (1, 1, SIDE // scale + 3, SIDE // scale + 3)))
    field = nn.functional.interpolate(grid, size=(SIDE, SIDE), mode="bicubic")[0, 0].numpy()
    return field / field.std()


def picture(kind: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return an image, uint8 (SIDE, SIDE, 3), and its mask."""
    rng = np.random.default_rng([KINDS.index(kind), seed])
    y, x = np.mgrid[:SIDE, :SIDE]
    mask = np.zeros((SIDE, SIDE), np.uint8)
    light = 170 + 12 * smooth(rng, 24)
    if kind == "dense":  # discs of 5 to 8 px, and streaks of their colour
        for _ in range(700):
            cx, cy, r = *rng.uniform(0, SIDE, 2), rng.uniform(5, 8)
            near = (slice(max(int(cy) - 12, 0), int(cy) + 12), slice(max(int(cx) - 12, 0), int(cx) + 12))
            disc = np.hypot(x[near] - cx, y[near] - cy) < r
            if rng.random() < 0.6:
                mask[near] |= disc
            else:
                disc = np.abs((x[near] - cx) * np.cos(r * 9) + (y[near] - cy) * np.sin(r * 9)) < 1.5
            light[near][disc] = 110 + rng.normal(0, 12)
    elif kind == "sparse":  # discs of 70 to 110 px, of which only a rim of 5 px is dark; open arcs are none
        for number in range(7):
            cx, cy, r = *rng.uniform(60, SIDE - 60, 2), rng.uniform(70, 110)
            away, turn = np.hypot(x - cx, y - cy), np.arctan2(y - cy, x - cx)
            rim = np.abs(away - r) < 3
            if number < 4:
                mask[away < r] = 1
                light[away < r - 3] -= 12
            else:
                rim &= np.abs(turn) < 1.4
            light[rim] = 105
    else:  # stripes of period 10, whose direction differs by half a radian
        inside = smooth(rng, 90) > 0.4
        mask[inside] = 1
        angle = np.where(inside, 0.8, 0.3)
        light += 30 * np.sin(2 * np.pi / 10 * (x * np.cos(angle) + y * np.sin(angle)))
    image = light[..., None] * (1.0, 0.85, 0.95) + rng.normal(0, 16, (SIDE, SIDE, 3))
    return np.clip(image, 0, 255).astype(np.uint8), mask


def data(kind: str) -> tuple[list[Slide], list[Slide], TrainOptions, ShortRuns, list[Candidate], dict[str, str]]:
    """Return training and validation slides, options, trainer and candidates of a kind."""
    slides = [
        open_slide(*picture(kind, seed), name=f"{kind}{seed}", codes=["background", "object"], mpp=0.5)
        for seed in range(TRAIN + VALID)
    ]
    options = TrainOptions(
        size=64, images=kind, codes=["background", "object"], per_slide=64, foreground=0.5, lr=0.02, workers=0,
        model="sweet_spot:make", augment="flips", device="cpu",
        loss="cross_entropy+dice",
    )  # fmt: skip
    train, valid = slides[:TRAIN], slides[TRAIN:]
    candidates, left_out = candidates_of(SIZES, None, MPPS, slides)
    return train, valid, options, ShortRuns(train, valid, options, FOLDER), candidates, left_out


def advise(kind: str) -> None:
    """Write the answer of advise."""
    train, valid, options, runs, candidates, left_out = data(kind)
    minutes = len(candidates) * len(SEEDS) * SECONDS / 600
    started = time.monotonic()
    network = replace(runs.network(candidates[0]), pixels=PIXELS)
    advice = run_advice(
        network, runs.train, train, valid, options, candidates, left_out, memory=4e9, batch=None, minutes=minutes,
        started=started, say=print,
    )  # fmt: skip
    seconds = time.monotonic() - started
    found = advice.recommendation
    assert found is not None
    print(*table_lines(advice.every, advice.edges, found, left_out), *found.sentences, *found.doubts, sep="\n")
    print(f"{seconds:.1f} s of {60 * minutes:.1f}")
    answer = {
        "chosen": found.measured.candidate.name, "seconds": seconds, "undecided": found.undecided,
        "batches": {one.candidate.name: one.batch for one in advice.every},
        "rows": report_rows(advice.every, advice.trained, advice.edges, found),
        **report_field(network.field, advice.edges),
    }  # fmt: skip
    (FOLDER / f"{kind}_advice.json").write_text(json.dumps(answer, indent=1))


def exhaustive(kind: str) -> None:
    """Train every candidate; needs the answer of advise, which must have been given before."""
    answer = json.loads((FOLDER / f"{kind}_advice.json").read_text())
    train, valid, options, runs, candidates, _ = data(kind)
    del train
    blocks = choose_blocks(valid, 0, 256, 1e12, options.seed)  # all pixels
    started = time.monotonic()
    every = [Scored(one, answer["batches"][one.name]) for one in candidates]
    for seed in SEEDS:
        for one in every:
            train_and_score(one, runs.train, valid, blocks, 2, SECONDS, seed)
            print(f"{one.candidate.name}, {one.steps[-1]} steps: {one.each[-1]:.3f}", flush=True)
            result = {
                "seconds": time.monotonic() - started,
                "dice": {one.candidate.name: one.each for one in every},
                "steps": {one.candidate.name: one.steps for one in every},
            }  # fmt: skip
            (FOLDER / f"{kind}_exhaustive.json").write_text(json.dumps(result, indent=1))


def table(out: Path | None) -> None:
    """Print the choices beside the best candidates."""
    lines = [
        "| slides | advise chose | its Dice | best found | its Dice | behind | advise | exhaustive |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for kind in KINDS:
        paths = [FOLDER / f"{kind}_{name}.json" for name in ("advice", "exhaustive")]
        if not all(path.exists() for path in paths):
            continue
        answer, truth = (json.loads(path.read_text()) for path in paths)
        dice = {name: float(np.mean(values)) for name, values in truth["dice"].items() if values}
        best, chosen = max(dice, key=lambda name: dice[name]), answer["chosen"]
        lines.append(
            f"| {kind} | {chosen} | {dice[chosen]:.3f} | {best} | {dice[best]:.3f} | "
            f"{100 * (dice[best] - dice[chosen]):.1f} points | {answer['seconds']:.0f} s | {truth['seconds']:.0f} s |"
        )
    lines += ["", f"| patch | {' | '.join(KINDS)} |", "|---|" + "---|" * len(KINDS)]
    truths = {
        kind: json.loads(path.read_text())["dice"]
        for kind in KINDS
        if (path := FOLDER / f"{kind}_exhaustive.json").exists()
    }  # fmt: skip
    for name in next(iter(truths.values()), {}):
        cells = [" and ".join(f"{one:.3f}" for one in truths.get(kind, {}).get(name, [])) or "-" for kind in KINDS]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    give(lines, out)


def main() -> None:
    """Run one part."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=("advise", "exhaustive", "table"))
    parser.add_argument("kind", choices=KINDS, nargs="?")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    if given.part == "table":
        table(given.out)
        return
    FOLDER.mkdir(exist_ok=True)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    # The processor's time: whatever else runs on the machine does not count.
    time.perf_counter = time.monotonic = time.process_time
    (advise if given.part == "advise" else exhaustive)(given.kind or parser.error("name a kind of slide"))


if __name__ == "__main__":
    main()
