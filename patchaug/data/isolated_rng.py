"""The global generators, seeded for one item and put back: what makes anybody's random transform pure."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def seed_generators(seed: int) -> None:
    """Seed `random`, numpy and torch (CPU) with a number below 2^32; the caller has isolated them."""
    # torch.manual_seed would seed every device too, at a hundred times the cost; item transforms run on the CPU.
    random.seed(seed)
    np.random.seed(seed)
    torch.default_generator.manual_seed(seed)


@contextmanager
def isolated_rng(seed: int) -> Iterator[None]:
    """Seed `random`, numpy and torch (CPU) with a number below 2^32; restore all three states afterwards."""
    kept = random.getstate(), np.random.get_state(), torch.default_generator.get_state()
    try:
        seed_generators(seed)
        yield
    finally:
        random.setstate(kept[0])
        np.random.set_state(kept[1])
        torch.default_generator.set_state(kept[2])
