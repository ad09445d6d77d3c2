"""fastai's trainer for several processes, with accelerate, on batches that `PatchDL` divides."""

from __future__ import annotations

from typing import Any

from fastai.distributed import DistributedTrainer

from patchaug.fastai2.rank_training import RankTraining


class SlideDistributedTrainer(RankTraining, DistributedTrainer):
    """Let accelerate wrap the model; `learn.distrib_ctx` adds this callback to learners on slides.

    Args:
        sync_bn: Compute the statistics of batch norm over all ranks, on GPUs.
        **kwargs: As for accelerate's `Accelerator`.
    """

    def __init__(self, sync_bn: bool = True, **kwargs: Any) -> None:
        RankTraining.__init__(self, sync_bn=sync_bn)
        DistributedTrainer.__init__(self, sync_bn, **kwargs)

    def wrap(self, model: Any) -> Any:
        """Return the model as accelerate prepares it."""
        return self.accelerator.prepare(model)

    def before_train(self) -> None:
        """Leave the loader as it is; fastai wraps it."""
