"""Compare estimates of a slide's mean loss from foreground draws with the mean over all windows.

    python benchmarks/unbiased.py [--seeds 200] [--out unbiased.png]

A small model is trained for 60 steps on a slide whose foreground is hard. Its loss is then computed for every window
(brute force), and estimated from 64 foreground draws with each seed: as they come, with importance weights, and with
clipped weights.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from tables import give
from torch import nn

from patchaug import Foreground, ImportanceWeights, Plan, Uniform, open_slide
from patchaug.slides.slide import Slide

SIDE, SIZE, DRAWS = 512, 64, 64
LIMIT = 2.0


def made_slide() -> Slide:
    """Make a noisy slide with small discs that differ little from the ground; uint8 (512, 512, 3)."""
    rng = np.random.default_rng(7)
    y, x = np.indices((SIDE, SIDE))
    mask = np.zeros((SIDE, SIDE), np.uint8)
    for cx, cy, radius in zip(*rng.integers(40, 200, (2, 14)), rng.integers(5, 11, 14), strict=True):
        mask |= (np.hypot(x - cx, y - cy) < radius).astype(np.uint8)
    image = 110 + 25 * mask[..., None] + rng.normal(0, 22, (SIDE, SIDE, 3))
    return open_slide(image.clip(0, 255).astype(np.uint8), mask, name="slide")


def losses_of_all_windows(slide: Slide) -> np.ndarray:
    """Train for 60 steps; return the mean cross entropy of each window, float64 (rows, columns)."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 5, padding=2), nn.ReLU(), nn.Conv2d(8, 2, 5, padding=2))
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    plan = Plan([slide], Uniform(SIZE, per_slide=60 * 4), seed=1)
    for step in range(60):
        patches = [plan.read(plan[step * 4 + k]) for k in range(4)]
        images = torch.from_numpy(np.stack([p.image for p in patches])).permute(0, 3, 1, 2).float() / 255
        labels = torch.from_numpy(np.stack([p.mask for p in patches])).long()
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()
    with torch.no_grad():  # one pass over the slide: each pixel with its full context
        image = torch.from_numpy(slide.image.array()).permute(2, 0, 1)[None].float() / 255
        labels = torch.from_numpy(slide.mask.array()).long()[None]
        loss = nn.functional.cross_entropy(model(image), labels, reduction="none")[0].double().numpy()
    sums = np.pad(loss, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    return (sums[SIZE:, SIZE:] - sums[:-SIZE, SIZE:] - sums[SIZE:, :-SIZE] + sums[:-SIZE, :-SIZE]) / SIZE**2


def main() -> None:
    """Print the table, and write the figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--out", type=Path, default=Path("unbiased.png"))
    options = parser.parse_args()
    slide = made_slide()
    losses = losses_of_all_windows(slide)
    truth = losses.mean()
    found: dict[str, list[float]] = {
        "as drawn": [],
        "weights=True": [],
        f"max_weight={LIMIT:g}": [],
        "uniform draws": [],
    }
    for seed in range(options.seeds):
        plan = Plan([slide], Foreground(SIZE, per_slide=DRAWS, foreground=0.75), seed=seed, shuffle=False)
        full, clipped = ImportanceWeights(plan), ImportanceWeights(plan, max_weight=LIMIT)
        rows = np.array([(losses[d.window.y, d.window.x], full(d), clipped(d)) for d in plan])
        uniform = Plan([slide], Uniform(SIZE, per_slide=DRAWS), seed=seed, shuffle=False)
        values = (rows[:, 0], rows[:, 0] * rows[:, 1], rows[:, 0] * rows[:, 2],
                  np.array([losses[d.window.y, d.window.x] for d in uniform]))  # fmt: skip
        for name, value in zip(found, values, strict=True):
            found[name].append(float(value.mean()))
    lines = [
        f"Mean loss over all {losses.size:,} windows: {truth:.5f}. Each estimate is from {DRAWS} draws, and there are "
        f"{options.seeds} seeds.",
        "",
        "| estimate | mean | standard error | off by | spread of one estimate |",
        "|---|---|---|---|---|",
    ]
    for name, values in found.items():
        error = np.std(values, ddof=1) / np.sqrt(len(values))
        off = (np.mean(values) - truth) / error
        lines.append(f"| {name} | {np.mean(values):.5f} | {error:.5f} | {off:+.1f} errors | {np.std(values):.5f} |")
    give(lines, None)
    draw(found, truth, options.out)


def draw(found: dict[str, list[float]], truth: float, out: Path) -> None:
    """Draw the estimates of all seeds beside the truth."""
    figure, axes = plt.subplots(figsize=(7.5, 3.2), layout="constrained")
    rng = np.random.default_rng(0)
    colours = ("#c0392b", "#1f6fb2", "#8e6bbf", "#7f8c8d")
    for place, (values, colour) in enumerate(zip(found.values(), colours, strict=True)):
        axes.scatter(values, place + rng.uniform(-0.25, 0.25, len(values)), s=5, alpha=0.45, color=colour, lw=0)
        mean, error = np.mean(values), np.std(values, ddof=1) / np.sqrt(len(values))
        axes.errorbar(mean, place, xerr=2 * error, fmt="D", color="black", ms=5, capsize=4, zorder=3)
    axes.axvline(truth, color="black", lw=1, ls="--")
    axes.annotate("all windows", (truth, -0.6), (4, 0), textcoords="offset points", fontsize=9)
    axes.set_yticks(range(len(found)), list(found))
    axes.set_ylim(len(found) - 0.5, -0.8)
    axes.set_xlabel(
        f"mean loss, estimated from {DRAWS} draws: a dot a seed, diamonds their mean and two standard errors"
    )
    axes.xaxis.label.set_fontsize(9)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.savefig(out, dpi=110)


if __name__ == "__main__":
    main()
