"""Restore a function of torch that fastai 1.0.61 needs and newer versions have removed."""

from __future__ import annotations

from typing import Any

import fastai.vision.transform
import torch


def _solve(right: torch.Tensor, left: torch.Tensor) -> tuple[torch.Tensor, Any]:
    """Solve left @ X = right and return (X, None), as `torch.solve` did until torch 1.12."""
    return torch.linalg.solve(left, right), None


# `symmetric_warp`, which `get_transforms` takes by default, holds the old function, which only raises since
# torch 1.13.
fastai.vision.transform._solve_func = _solve
