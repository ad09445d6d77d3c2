"""Run as a process: the rest of an epoch from each of some states, as hashes of its batches."""

import hashlib
import json
import sys
from pathlib import Path

from fastai.vision.all import FlipItem

from patchaug.fastai import PatchDL, RandomPatch

from .conftest import loaders

WORKERS = (0, 0, 0, 1, 2)


def loader(folder: Path, workers: int = 0, **kwargs) -> PatchDL:
    """Three slides of 50 windows, in batches of 3: 50 batches an epoch, with a random item transform."""
    patch = RandomPatch(16, **{"per_slide": 50, "foreground": 0.5, "seed": 11} | kwargs)
    return loaders(folder, patch, bs=3, num_workers=workers, item_tfms=[FlipItem(0.5)]).train


def hashes(dl: PatchDL) -> list[str]:
    """One hash for each batch of a pass."""
    return [hashlib.sha256(x.cpu().numpy().tobytes() + y.cpu().numpy().tobytes()).hexdigest() for x, y in dl]


if __name__ == "__main__":
    rests = []
    for number, state in enumerate(json.loads(sys.stdin.read())):
        dl = loader(Path(sys.argv[1]), WORKERS[number % len(WORKERS)])
        dl.load_state_dict(state)
        expected = len(dl)
        rests.append(hashes(dl))
        assert len(rests[-1]) == expected and len(dl) == 50
        if number % 17 == 0:
            rests[-1] += hashes(dl)  # and the next epoch
    print(json.dumps(rests))
