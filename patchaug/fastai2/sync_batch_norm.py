"""Batch norm over the batch of all ranks, and back."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

Replaced = list[tuple[Any, str, Any]]


def synchronise_batch_norm(model: Any) -> Replaced:
    """Let the layers of batch norm in a model compute their statistics over all ranks; it works on GPUs.

    Args:
        model: The model; parameters and buffers stay the same tensors.

    Returns:
        What `restore_batch_norm` needs.
    """
    replaced = [
        (parent, name, child)
        for parent in model.modules()
        for name, child in parent.named_children()
        if isinstance(child, _BatchNorm) and not isinstance(child, nn.SyncBatchNorm)
    ]
    for parent, name, child in replaced:
        setattr(parent, name, nn.SyncBatchNorm.convert_sync_batchnorm(child))
    return replaced


def restore_batch_norm(replaced: Replaced) -> None:
    """Put back the layers that `synchronise_batch_norm` has replaced."""
    for parent, name, child in replaced:
        child.train(getattr(parent, name).training)
        setattr(parent, name, child)
