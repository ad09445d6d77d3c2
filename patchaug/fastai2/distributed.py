"""fastai's `distrib_ctx` for learners on slides: its own loader and trainer would change the windows of a step."""

from __future__ import annotations

import sys
from functools import wraps
from importlib import import_module
from typing import Any

from fastai.callback.progress import ProgressCallback
from fastai.callback.schedule import LRFinder
from fastai.learner import Learner

from patchaug.core.ranks import read_ranks
from patchaug.errors import OptionError
from patchaug.fastai2.rank_batches import RankBatches
from patchaug.fastai2.rank_training import RankTraining


def prepare_ranks(learn: Learner) -> None:
    """Reject a fit on slides in one of several processes that know nothing of each other.

    Raises:
        OptionError: The learner is not within `distrib_ctx`, or looks for a learning rate.
    """
    world_size = read_ranks().world_size
    if world_size == 1 or not isinstance(learn.dls.train, RankBatches):
        return
    if any(isinstance(cb, LRFinder) for cb in learn.cbs):
        raise OptionError(
            "lr_find works in a single process, since fastai saves the weights before it on rank 0 alone; find the "
            "rate without torchrun, and pass it to fit"
        )
    if not any(isinstance(cb, RankTraining) for cb in learn.cbs):
        raise OptionError(
            f"this is one of {world_size} processes, and each would train a model of its own; train within "
            f"`with learn.distrib_ctx():`, with fastai.distributed imported before the loaders are made"
        )


def leave_ranks(learn: Learner) -> None:
    """Leave a learner as it was before a fit that an error has ended."""
    for callback in learn.cbs:
        if isinstance(callback, RankTraining):
            callback.leave()


def adapt_distributed() -> None:
    """Let `learn.distrib_ctx` train on slides, if `fastai.distributed` is imported; it needs accelerate."""
    module = sys.modules.get("fastai.distributed")
    if module is None or not hasattr(module, "Accelerator") or hasattr(Learner.to_distributed, "divides_slides"):
        return
    trainer = import_module("patchaug.fastai2.accelerated").SlideDistributedTrainer
    original = Learner.to_distributed

    @wraps(original)
    def to_distributed(self: Learner, sync_bn: bool = True, **kwargs: Any) -> Learner:
        if not isinstance(self.dls.train, RankBatches):
            return original(self, sync_bn, **kwargs)
        ranks = read_ranks()
        if ranks.world_size > 1:
            on_cpu = self.dls.device is None or self.dls.device.type == "cpu"
            self.add_cb(trainer(sync_bn, **{"cpu": on_cpu, **kwargs}))
            if not ranks.is_first:
                self.remove_cb(ProgressCallback)
        return self

    to_distributed.divides_slides = True  # type: ignore[attr-defined]
    Learner.to_distributed = to_distributed
