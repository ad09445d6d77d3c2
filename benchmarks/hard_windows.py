"""Compare adaptive with uniform and foreground windows on a slide with rare errors: Dice at equal steps.

    python benchmarks/hard_windows.py [--seeds 3] [--steps 400] [--out hard_windows.png]

Dark discs lie all over a slide, and a small model soon finds them. In 2 % of the slide the stain is inverted: light
discs on a yellow ground count, and dark ones are debris. Each sampler trains the same model for the same steps. Another
slide, whose inverted parts lie elsewhere, is scored whole and in its inverted parts.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from tables import give
from torch import nn

from patchaug import Adaptive, Foreground, Plan, Uniform, open_slide
from patchaug.data.weighted_loss import window_losses
from patchaug.slides.slide import Slide

SIDE, SIZE, BATCH, EPOCH = 768, 64, 4, 80  # the last is windows of an epoch
SAMPLERS = {
    "uniform": lambda: Uniform(SIZE, per_slide=EPOCH),
    "foreground=0.5": lambda: Foreground(SIZE, per_slide=EPOCH, foreground=0.5),
    "adaptive, blocks": lambda: Adaptive(SIZE, per_slide=EPOCH),
}
COLOURS = ("#7f8c8d", "#c0392b", "#1f6fb2")


def made_slide(seed: int, corners: list[tuple[int, int]]) -> tuple[Slide, np.ndarray]:
    """Make a slide of 768 x 768 px and the map of its inverted parts, bool."""
    rng = np.random.default_rng(seed)
    discs, debris, inverted = (np.zeros((SIDE, SIDE), bool) for _ in range(3))
    for x, y in corners:
        inverted[y : y + 80, x : x + 80] = True
    near = np.hypot(*np.mgrid[-12:13, -12:13])
    for number in range(800):
        x, y = rng.integers(12, SIDE - 12, 2)
        disc = near < rng.integers(5, 11)
        kind = debris if inverted[y, x] and number % 2 else discs
        kind[y - 12 : y + 13, x - 12 : x + 13] |= disc
    debris &= ~discs
    image = np.full((SIDE, SIDE), 165.0)
    image[discs & ~inverted] = 105
    image[inverted] = 125
    image[inverted & discs] = 165
    image[inverted & debris] = 95
    stain = np.repeat(image[..., None], 3, 2)
    stain[inverted, 2] -= 60
    pixels = (stain + rng.normal(0, 14, (SIDE, SIDE, 3))).clip(0, 255).astype(np.uint8)
    return open_slide(pixels, discs.astype(np.uint8), name=f"slide {seed}"), inverted


def model_of(seed: int) -> nn.Module:
    """Make a model of five convolutions that sees 31 px."""
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for n_in, dilation in ((3, 1), (8, 2), (8, 4), (8, 8)):
        layers += [nn.Conv2d(n_in, 8, 3, padding=dilation, dilation=dilation), nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv2d(8, 2, 1))


def tensor_of(image: np.ndarray) -> torch.Tensor:
    """Return images (n, height, width, 3) as float32 (n, 3, height, width)."""
    return torch.from_numpy(image).permute(0, 3, 1, 2).float() / 255 - 0.5


def train(plan: Plan, seed: int, steps: int) -> Iterator[tuple[int, nn.Module]]:
    """Train, and yield the model after each 100 steps."""
    model = model_of(seed)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    loss_func = nn.CrossEntropyLoss()
    for step in range(steps):
        epoch, batch = divmod(step, EPOCH // BATCH)
        if plan.adaptation is not None:
            plan.adaptation.advance(epoch)
        draws = [plan[epoch * EPOCH + batch * BATCH + k] for k in range(BATCH)]
        patches = [plan.read(draw) for draw in draws]
        scores = model(tensor_of(np.stack([patch.image for patch in patches])))
        losses = window_losses(loss_func, scores, torch.from_numpy(np.stack([p.mask for p in patches])).long())
        optimizer.zero_grad()
        losses.mean().backward()
        optimizer.step()
        if plan.adaptation is not None:
            plan.adaptation.record(draws, losses.tolist())
        if (step + 1) % 100 == 0:
            yield step + 1, model


def dice(model: nn.Module, slide: Slide, part: np.ndarray) -> tuple[float, float]:
    """Return the Dice score of the discs on the whole slide, and in a part of it."""
    with torch.no_grad():
        found = model(tensor_of(slide.image.array()[None])).argmax(1)[0].numpy() == 1
    truth = slide.mask.array() == 1

    def score(inside: np.ndarray) -> float:
        return float(2 * (found & truth & inside).sum() / ((found & inside).sum() + (truth & inside).sum()))

    return score(np.ones_like(part)), score(part)


def main() -> None:
    """Train with all samplers and seeds; print the table, and write the figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--out", type=Path, default=Path("hard_windows.png"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    slide, inverted = made_slide(1, [(450, 130), (170, 570)])
    valid, hard = made_slide(2, [(110, 220), (600, 480)])
    scores: dict[str, np.ndarray] = {}
    began, plan = time.monotonic(), None
    for name, make in SAMPLERS.items():
        runs = []
        for seed in range(options.seeds):
            plan = Plan([slide], make(), seed=seed)
            runs.append([dice(model, valid, hard) for _, model in train(plan, seed, options.steps)])
        scores[name] = np.array(runs)  # (seeds, times, 2)
    lines = [
        f"{options.steps} steps of {BATCH} windows, {options.seeds} seeds, {time.monotonic() - began:.0f} s; mean and "
        f"standard deviation of the Dice score of another slide.",
        "",
        "| windows | whole slide | inverted parts (2 %) | inverted parts, after half the steps |",
        "|---|---|---|---|",
    ]
    half = scores["uniform"].shape[1] // 2 - 1
    for name, runs in scores.items():
        picked = [runs[:, at, what] for at, what in ((-1, 0), (-1, 1), (half, 1))]
        cells = [(one.mean(), one.std(ddof=1)) for one in picked]
        lines.append(f"| {name} | " + " | ".join(f"{mean:.3f} ± {sd:.3f}" for mean, sd in cells) + " |")
    give(lines, None)
    assert plan is not None
    assert plan.adaptation is not None
    draw(slide, inverted, plan.adaptation.probabilities(0), scores, options.out)


def draw(
    slide: Slide, inverted: np.ndarray, probabilities: np.ndarray, scores: dict[str, np.ndarray], out: Path
) -> None:
    """Draw the slide, where its last windows were drawn, and the scores by step."""
    figure, (left, middle, right) = plt.subplots(
        1, 3, figsize=(11, 3.4), layout="constrained", width_ratios=[1, 1.12, 1.5]
    )
    left.imshow(slide.image.array())
    left.contour(inverted, [0.5], colors="#1f6fb2", linewidths=1.5)
    left.set_title("slide, inverted parts outlined", fontsize=9)
    edges = (SIZE / 2, SIDE - SIZE / 2, SIDE - SIZE / 2, SIZE / 2)  # of the centres of all windows
    shown = middle.imshow(probabilities * probabilities.size, cmap="viridis", extent=edges)
    middle.contour(np.arange(SIDE), np.arange(SIDE), inverted, [0.5], colors="white", linewidths=1.5)
    middle.set_xlim(0, SIDE)
    middle.set_ylim(SIDE, 0)
    middle.set_title("adaptive, blocks: centres of the last\nepoch's windows, times uniform", fontsize=9)
    figure.colorbar(shown, ax=middle, shrink=0.85)
    for axes in (left, middle):
        axes.set_xticks([])
        axes.set_yticks([])
    for (name, runs), colour in zip(scores.items(), COLOURS, strict=True):
        steps = 100 * np.arange(1, runs.shape[1] + 1)
        mean, sd = runs[..., 1].mean(0), runs[..., 1].std(0, ddof=1)
        right.plot(steps, mean, color=colour, label=name)
        right.fill_between(steps, mean - sd, mean + sd, color=colour, alpha=0.15, lw=0)
    right.set_ylim(0, 1)
    right.set_xlabel("steps")
    right.set_title("Dice in the inverted parts of another slide", fontsize=9)
    right.legend(fontsize=8, frameon=False)
    for side in ("top", "right"):
        right.spines[side].set_visible(False)
    figure.savefig(out, dpi=110)


if __name__ == "__main__":
    main()
