"""Use the importance weights of a loader's windows in the losses of a learner; say what does not use them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from fastai.callback.mixup import MixHandler
from fastai.learner import AvgLoss, AvgSmoothLoss

from patchaug.data.process_group import gather_values
from patchaug.data.weighted_loss import WeightedLoss, can_weigh, window_losses
from patchaug.errors import OptionError
from patchaug.fastai2.batch_weights import weights_of
from patchaug.fastai2.metrics import PixelMetric
from patchaug.fastai2.patch_dl import PatchDL
from patchaug.sampling.distributions import MixtureDistribution


def weigh_batch(learn: Any, batch: Callable[[], None]) -> None:
    """Run a batch of a learner, its windows weighed where the loader has weights, their losses recorded if it adapts.

    Callbacks have had their say on the batch before: what has changed its size is an error. While interpretations ask
    for the loss of each window, it is the window's own.

    Raises:
        OptionError: The loss does not take weights, or the batch has another number of windows than weights.
    """
    weights, loss_func = weights_of(learn), learn.loss_func
    if weights is None or getattr(loss_func, "reduction", "mean") == "none":
        batch()
    else:
        _require_loss(learn)
        learn.loss_func = _Given(loss_func, weights)
        try:
            batch()
        finally:
            learn.loss_func = loss_func
    loader = learn.dl
    if learn.training and isinstance(loader, PatchDL) and loader.adapts:
        if len(learn.yb) != 1:
            raise OptionError(f"mode='adaptive' is for one target, a mask, and items have {len(learn.yb)}")
        with torch.no_grad():
            record_losses(loader, window_losses(loss_func, learn.pred.detach(), learn.yb[0]))


class _Given(WeightedLoss):
    """A loss with the weights of the batch in progress."""

    def __init__(self, loss_func: Any, weights: torch.Tensor) -> None:
        super().__init__(loss_func)
        self.weights = weights

    def __call__(self, scores: torch.Tensor, labels: torch.Tensor, *others: Any, **kwargs: Any) -> Any:
        """Return the weighted loss of the batch."""
        if others or kwargs:
            raise OptionError("weights=True is for one target, a mask; leave weights out of items with several targets")
        return super().__call__(scores, labels, self.weights)


def record_losses(loader: PatchDL, losses: torch.Tensor) -> None:
    """Record the losses of the windows of a loader's batch; in several processes, those of all of them.

    Args:
        loader: The training loader of an adaptive plan.
        losses: float (n,).

    Raises:
        OptionError: The batch has another number of windows.
    """
    plan, known = loader.plan, loader.batch_weights
    assert plan is not None
    assert plan.adaptation is not None
    assert known is not None
    if len(losses) != len(known.indices):
        raise OptionError(
            f"a batch has {len(losses)} losses for {len(known.indices)} windows; a transform or callback has changed "
            f"the batch: remove it, or leave mode='adaptive' out"
        )
    found = list(zip(known.indices.tolist(), losses.float().tolist(), strict=True))
    if loader.ranks is not None:  # a rank without a part has a window that does not count
        found = [pair for part in gather_values(found[: len(loader.part)]) for pair in part]
    plan.adaptation.record([plan[index] for index, _ in found], [loss for _, loss in found])


def require_weighable(learn: Any) -> None:
    """Verify before a fit that loss and callbacks go together with the weights of the training windows.

    Raises:
        OptionError: The loss does not take weights, a callback mixes windows, or the loss is a `WeightedLoss` and the
            windows, which are not drawn uniformly, have no weights.
    """
    loader = learn.dls.train
    if not isinstance(loader, PatchDL):
        return
    if loader.importance is not None or loader.adapts:
        mixing = [type(one).__name__ for one in learn.cbs if isinstance(one, MixHandler)]
        if mixing:
            raise OptionError(
                f"{mixing[0]} mixes windows, and each has a weight and a loss of its own; remove it, or leave out "
                f"weights=True and mode='adaptive'"
            )
        if loader.importance is not None:
            _require_loss(learn)
    elif isinstance(learn.loss_func, WeightedLoss) and loader.plan is not None:
        laws = loader.plan.distributions
        if any(isinstance(one, MixtureDistribution) and one.foreground for one in laws):
            raise OptionError(
                "WeightedLoss needs the weights of windows that are not drawn uniformly; set weights=True in "
                "RandomPatch or PatchOptions"
            )


def _require_loss(learn: Any) -> None:
    if not can_weigh(learn.loss_func):
        raise OptionError(
            f"weights=True, and the loss {learn.loss_func!r} does not use weights; take WeightedLoss(...) around it"
        )


def warn_of_unweighted_metrics(learn: Any, loader: Any) -> None:
    """Warn of metrics that count the windows of a weighted loader as they were drawn."""
    if not isinstance(loader, PatchDL) or loader.importance is None:
        return
    own = (PixelMetric, AvgLoss, AvgSmoothLoss)
    others = [metric.name for metric in learn.metrics if not isinstance(metric, own)]
    if others:
        warnings.warn(
            f"the validation windows have importance weights, which {', '.join(others)} does not use: it scores the "
            f"windows as they were drawn; SlideDice, SlideJaccard, SlideAccuracy, SlidePrecision and SlideRecall do",
            stacklevel=3,
        )
