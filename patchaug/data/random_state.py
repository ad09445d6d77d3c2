"""Save and restore the state of the global random generators, as plain values and tensors."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch

from patchaug.core.ranks import read_ranks


def random_state() -> dict[str, Any]:
    """Return the states of `random`, numpy and torch (CPU and CUDA) that `torch.load(weights_only=True)` reads."""
    version, words, gauss = random.getstate()
    name, keys, place, has_gauss, cached = np.random.get_state()
    return {
        "python": [version, list(words), gauss],
        "numpy": [name, torch.from_numpy(np.asarray(keys, np.int64)), int(place), int(has_gauss), float(cached)],
        "torch": torch.default_generator.get_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
    }


def restore_random_state(state: dict[str, Any]) -> None:
    """Restore the states that `random_state` returned; those of CUDA devices that are absent here are skipped."""
    version, words, gauss = state["python"]
    name, keys, place, has_gauss, cached = state["numpy"]
    random.setstate((version, tuple(words), gauss))
    np.random.set_state((name, keys.numpy().astype(np.uint32), place, has_gauss, cached))
    torch.default_generator.set_state(state["torch"])
    if read_ranks().world_size > 1 and state["cuda"] and torch.cuda.is_initialized():
        torch.cuda.set_rng_state(state["cuda"][0])  # rank 0 has saved it, on the first GPU
    elif state["cuda"] and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
