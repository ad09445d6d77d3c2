"""What newer versions of torch and numpy took away from fastai 1.0.61, given back where slides need it."""

from __future__ import annotations

from typing import Any

import fastai.vision.transform
import torch


def _solve(right: torch.Tensor, left: torch.Tensor) -> tuple[torch.Tensor, Any]:
    """`torch.solve` as it was until torch 1.12: X of left @ X = right, in a pair."""
    return torch.linalg.solve(left, right), None


# `symmetric_warp`, which `get_transforms` takes by default, kept the old function when it was imported; since torch
# 1.13 that one only raises.
fastai.vision.transform._solve_func = _solve
