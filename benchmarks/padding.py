"""Measure the fraction of invented pixels in augmented patches, for patchaug and other libraries.

    python benchmarks/padding.py [--draws 200] [--out table.md]

An image of ones is augmented, with zeros outside it; the table has the fraction of zeros in 512 px patches. Libraries
that are not installed are omitted:

    pip install albumentations==2.0.8 torchio monai
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib.util import find_spec
from math import cos, radians, sin
from pathlib import Path

import albumentations as alb
import numpy as np
from tables import give

from patchaug import Augment, Patch
from patchaug.augment import padded_share

SIZE = 512
# name: (largest angle, smallest and largest factor of the size, pixels of deformation)
CASES: dict[str, tuple[float, tuple[float, float], float]] = {
    "rotation to 45 degrees": (45, (1, 1), 0),
    "rotation to 180 degrees": (180, (1, 1), 0),
    "scale 0.7 to 1.4": (0, (0.7, 1.4), 0),
    "rotation to 180 and scale": (180, (0.7, 1.4), 0),
    "elastic, to 30 px": (0, (1, 1), 30),
}


def pipeline(angle: float, scale: tuple[float, float], elastic: float) -> alb.Compose:
    """Build the pipeline of a case with albumentations."""
    parts = []
    if elastic:
        parts.append(alb.ElasticTransform(alpha=elastic, sigma=4, p=1))
    if angle or scale != (1, 1):
        parts.append(alb.Affine(rotate=(-angle, angle), scale=scale, p=1))
    return alb.Compose(parts)


def patchaug_share(angle: float, scale: tuple[float, float], elastic: float, draws: int) -> float:
    """Measure patchaug, with the derived halo."""
    return padded_share(Augment(pipeline(angle, scale, elastic)), SIZE, draws=draws)


def after_crop(angle: float, scale: tuple[float, float], elastic: float, draws: int) -> float:
    """Measure albumentations on a cropped patch."""
    return padded_share(pipeline(angle, scale, elastic), SIZE, halo=0, draws=draws)


def nnunet(angle: float, scale: tuple[float, float], elastic: float, draws: int) -> float:
    """Measure albumentations on the pixels that nnU-Net reads.

    Its `get_patch_size` (nnunetv2 2.8.1) turns the corner of the patch at the largest angle alone,
    no further than 90 degrees, takes the larger of each axis, and divides by the smallest factor. It reads no more for
    a deformation.
    """
    turn = radians(min(angle, 90))
    turned = abs(cos(turn) * SIZE - sin(turn) * SIZE), abs(sin(turn) * SIZE + cos(turn) * SIZE)
    shape = tuple(int(max(SIZE, side) / min(scale[0], 1)) for side in turned)
    augment = Augment(pipeline(angle, scale, elastic), halo=0)
    ones = Patch(np.ones((*shape, 3), np.uint8), np.ones(shape, np.uint8))
    return float(
        np.mean([(augment(ones, SIZE, SIZE, np.random.default_rng(k)).mask == 0).mean() for k in range(draws)])
    )


def torchio_share(angle: float, scale: tuple[float, float], elastic: float, draws: int) -> float:
    """Measure RandomAffine, or RandomElasticDeformation, on a patch."""
    import torch
    import torchio

    if elastic:
        transform = torchio.RandomElasticDeformation(
            num_control_points=(9, 9, 4), max_displacement=(elastic, elastic, 0), locked_borders=0
        )
    else:
        transform = torchio.RandomAffine(
            scales=scale * 2 + (1, 1), degrees=(0, 0, 0, 0, -angle, angle),
            default_pad_value=0,
        )  # fmt: skip
    torch.manual_seed(0)
    ones = torch.ones(1, SIZE, SIZE, 1)
    ones[0, 0, 0] = 0  # its deformation fills with the darkest value that there is
    return float(np.mean([(transform(ones) < 0.5).float().mean().item() for _ in range(draws)]))


def monai_share(angle: float, scale: tuple[float, float], elastic: float, draws: int) -> float:
    """Measure RandAffined, or Rand2DElasticd, on a patch."""
    from monai.transforms import Rand2DElasticd, RandAffined

    turn = radians(angle)
    zoom = [1 / scale[1] - 1, 1 / scale[0] - 1]
    if elastic:
        transform = Rand2DElasticd(
            ["mask"], (30, 30), (elastic / 3, elastic), prob=1.0, padding_mode="zeros", mode="nearest"
        )
    else:
        transform = RandAffined(
            ["mask"], prob=1.0, rotate_range=turn, scale_range=[zoom, zoom], padding_mode="zeros", mode="nearest"
        )
    transform.set_random_state(0)
    ones = np.ones((1, SIZE, SIZE), np.float32)
    return float(np.mean([float((np.asarray(transform({"mask": ones})["mask"]) < 0.5).mean()) for _ in range(draws)]))


COLUMNS: dict[str, tuple[str, Callable[..., float]]] = {
    "patchaug": ("patchaug", patchaug_share),
    "albumentations after a crop": ("albumentations", after_crop),
    "nnU-Net's patch size": ("albumentations", nnunet),
    "TorchIO": ("torchio", torchio_share),
    "MONAI": ("monai", monai_share),
}


def main() -> None:
    """Measure all cases and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    columns = {name: share for name, (module, share) in COLUMNS.items() if find_spec(module)}
    lines = [f"| | {' | '.join(columns)} | halo |", "|---|" + "---|" * (len(columns) + 1)]
    for name, case in CASES.items():
        shares = [share(*case, options.draws) for share in columns.values()]
        halo = Augment(pipeline(*case)).needed(SIZE, SIZE)[0]
        lines.append(f"| {name} | {' | '.join('0' if s == 0 else f'{s:.1%}' for s in shares)} | {halo} px |")
    give(lines, options.out)


if __name__ == "__main__":
    main()
