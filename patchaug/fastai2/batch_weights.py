"""Importance weights of the batch that a learner is at."""

from __future__ import annotations

from typing import Any

import torch

from patchaug.data.weighted_loss import require_as_many_weights


def weights_of(learn: Any) -> torch.Tensor | None:
    """Return the weights of the windows of a learner's batch, or None.

    Args:
        learn: A learner that is training or validating.

    Returns:
        float32 (n,), on the device of the targets.

    Raises:
        OptionError: The batch has another number of windows.
    """
    known = getattr(getattr(learn, "dl", None), "batch_weights", None)
    if known is None or known.weights is None or not len(learn.yb):
        return None
    target = learn.yb[0]
    require_as_many_weights(known.weights, target)
    weights: torch.Tensor = known.weights.to(target.device)
    return weights
