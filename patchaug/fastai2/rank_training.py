"""Train one model in several processes: each computes its part of a batch, and all of them one and the same step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

import torch
from fastai.callback.core import (
    CancelBackwardException,
    CancelBatchException,
    CancelEpochException,
    CancelFitException,
    CancelStepException,
    CancelTrainException,
    CancelValidException,
)  # fmt: skip
from fastai.learner import Learner
from fastai.torch_core import find_bs
from fastcore.basics import noop
from torch.nn.parallel import DistributedDataParallel

from patchaug.core.messages import print_message
from patchaug.core.ranks import Ranks, read_ranks
from patchaug.data.process_group import (
    copy_from_first,
    gather_values,
    greatest,
    group_ranks,
    sum_of_ranks,
)  # fmt: skip
from patchaug.data.rank_sums import summing
from patchaug.data.segmentation_losses import SegmentationLoss
from patchaug.data.weighted_loss import WeightedLoss
from patchaug.errors import OptionError
from patchaug.fastai2.losses import SlideCrossEntropy
from patchaug.fastai2.plain_errors import PlainErrors
from patchaug.fastai2.rank_batches import RankBatches
from patchaug.fastai2.run_state import RunState
from patchaug.fastai2.sync_batch_norm import Replaced, restore_batch_norm, synchronise_batch_norm
from patchaug.fastai2.weighted_batches import BatchWeights

_CANCELS = (
    CancelBackwardException, CancelBatchException, CancelEpochException, CancelFitException, CancelStepException,
    CancelTrainException, CancelValidException,
)  # fmt: skip

_REASONS = ("stop", "time limit", "SIGINT", "SIGTERM", "SIGHUP")  # that end a run; any other is the first


class RankTraining(PlainErrors):
    """Divide the batches of slides between the ranks, and make losses, gradients and metrics those of whole batches.

    In training the gradient of each rank is weighted, so that their mean is that of the whole batch: by its windows;
    with losses of this package by the pixels that count, which is exact with `ignore_index` and weights of classes
    too. In validation predictions and targets are gathered, so that each rank has the same metrics as one process.

    Args:
        sync_bn: Compute the statistics of batch norm over all ranks, on GPUs.

    Attributes:
        ranks: Place of this process while the learner trains or predicts, else None.
    """

    order, name = 11, "distributed_trainer"  # fastai's own

    def __init__(self, *, sync_bn: bool = True) -> None:
        self.sync_bn = sync_bn
        self.ranks: Ranks | None = None
        self.failed = False  # after an error the ranks do not meet again
        self._depth = 0  # validations within `fit`
        self._summed = False  # whether the loss in progress is that of the whole batch
        self._model: Any = None  # as it was before
        self._logger: Any = None
        self._norms: Replaced = []
        self._exit = ExitStack()

    def wrap(self, model: Any) -> Any:
        """Return the model as one whose gradients are the mean of those of all ranks."""
        device = next(model.parameters()).device
        return DistributedDataParallel(model, device_ids=None if device.type == "cpu" else [device.index])

    def before_fit(self) -> None:
        """Make the ranks' models equal, and prepare this one for training."""
        learn = self.learn
        self._depth += 1
        if self._depth > 1:
            return
        self.ranks, self.failed = group_ranks(), False
        if "_predicts" in vars(learn):  # a slide, by this rank alone
            self.ranks = None
        elif self.ranks is None and read_ranks().world_size > 1:
            raise _not_started()
        if self.ranks is None:
            return
        _require_same_run(learn)
        self._model, self._logger = learn.model, learn.logger
        if vars(learn).get("_in_fit"):
            bs = learn.dls.train.bs
            if self.ranks.rank == 0 and bs < self.ranks.world_size:
                print_message(
                    f"bs={bs} is the batch of all {self.ranks.world_size} processes together, so some of them idle; "
                    f"raise bs",
                    "warning",
                )
            if self.sync_bn and next(learn.model.parameters()).device.type != "cpu":
                self._norms = synchronise_batch_norm(learn.model)
            model = self.wrap(learn.model)
            if not isinstance(model, DistributedDataParallel):
                raise _not_started()
            model.broadcast_buffers = False  # once an epoch, so that a rank can predict alone
            learn.model = model
        else:
            copy_from_first(learn.model, parameters=True)
        if self.ranks.rank:
            learn.logger = noop

    def before_validate(self) -> None:
        """Take the statistics of batches, such as those of batch norm, from rank 0."""
        if self._divided() is not None:
            copy_from_first(self.learn.model, parameters=False)

    def after_pred(self) -> None:
        """Gather predictions and targets in validation; prepare the sums of the loss in training."""
        loader = self._divided()
        if loader is None:
            return
        learn = self.learn
        if not learn.training:
            learn.pred, learn.yb = loader.gathered(learn.pred), loader.gathered(learn.yb)
            if loader.batch_weights is not None:
                indices, weights = loader.batch_weights
                weights = loader.gathered(weights)
                loader.batch_weights = BatchWeights(loader.gathered(torch.from_numpy(indices)).numpy(), weights)
                if isinstance(learn.loss_func, WeightedLoss) and "weights" in learn.loss_func.__dict__:
                    learn.loss_func.__dict__["weights"] = weights
            loader.whole = True
        elif isinstance(learn.loss_func, SegmentationLoss):
            counts = 1.0 if len(loader.part) else 0.0

            def total(values: torch.Tensor) -> torch.Tensor:
                self._summed, own = True, values * counts
                return own + (sum_of_ranks(own) - own.detach())

            self._exit.enter_context(summing(total))

    def after_loss(self) -> None:
        """Weight the gradient of this rank, and record the loss of the whole batch."""
        self._exit.close()
        summed, self._summed = self._summed, False
        loader, learn = self._divided(), self.learn
        if loader is None or not learn.training or not len(learn.yb):
            return
        assert self.ranks is not None
        world = self.ranks.world_size
        if summed:  # the loss is that of the whole batch already
            learn.loss_grad = learn.loss_grad * world
            return
        share = torch.tensor(len(loader.part) / loader.batch_windows, device=learn.loss.device)
        if isinstance(learn.loss_func, SlideCrossEntropy) and isinstance(learn.y, torch.Tensor):
            counted = learn.loss_func.counted(learn.y).float() * (len(loader.part) > 0)
            share = counted / sum_of_ranks(counted).clamp_min(torch.finfo(torch.float32).tiny)
        learn.loss_grad = learn.loss_grad * (share * world)
        learn.loss = sum_of_ranks(learn.loss * share)

    def after_fit(self) -> None:
        """Leave the learner as it was, on all ranks with the same weights."""
        self._depth -= 1
        if self._depth > 0 or self.ranks is None:
            return
        if not self.failed:
            copy_from_first(self.learn.model, parameters=False)
        self.leave()

    def leave(self) -> None:
        """Leave the learner as it was, also after an error."""
        self._exit.close()
        self._depth = 0
        if self.ranks is not None:
            restore_batch_norm(self._norms)
            self.learn.model, self.learn.logger = self._model, self._logger
            self.ranks, self._model, self._logger, self._norms = None, None, None, []

    def _divided(self) -> RankBatches | None:
        loader = vars(self.learn).get("dl")
        return loader if isinstance(loader, RankBatches) and loader.ranks is not None else None


def _not_started() -> OptionError:
    return OptionError(
        "accelerate does not join the processes on this device; pass cpu=True to distrib_ctx to train on the CPU"
    )


def rank_training(learn: Learner) -> RankTraining | None:
    """Return the callback of a learner that trains or predicts in several processes; None in a single process."""
    found = next((cb for cb in learn.cbs if isinstance(cb, RankTraining)), None)
    return found if found is not None and found.ranks is not None else None


def divided(learn: Learner, loader: Any) -> AbstractContextManager[None]:
    """Divide a loader within the context, if the learner runs in several processes."""
    training = rank_training(learn)
    if training is None or not isinstance(loader, RankBatches):
        return nullcontext()
    return _divided(training, loader)


@contextmanager
def _divided(training: RankTraining, loader: Any) -> Iterator[None]:
    """Divide a loader; note an error, after which the ranks do not meet again."""
    assert training.ranks is not None
    device, here = loader.device, next(training.learn.model.parameters()).device
    if device != here:
        loader.to(here)  # accelerate chooses the GPU of each rank when the loaders are there
    try:
        with loader.divided(training.ranks):
            yield
    except BaseException as error:
        training.failed = not isinstance(error, _CANCELS)
        raise
    finally:
        if device != here:
            loader.to(device)


def batch_windows(learn: Learner) -> int:
    """Count the windows of the batch in progress, those of all ranks."""
    loader = vars(learn).get("dl")
    if isinstance(loader, RankBatches) and loader.ranks is not None:
        return loader.batch_windows
    return int(find_bs(learn.xb))


def agreed(learn: Learner, reason: str | None) -> str | None:
    """Return the reason to stop that any rank has; all ranks call this after the same batch.

    Args:
        learn: The learner.
        reason: The reason of this rank, or None.
    """
    if rank_training(learn) is None:
        return reason
    number = 0 if reason is None else 1 + (_REASONS.index(reason) if reason in _REASONS else 0)
    found = greatest(number)
    return _REASONS[found - 1] if found else None


def _require_same_run(learn: Learner) -> None:
    """Raise OptionError on all ranks, if their loaders differ."""
    own = [
        {**loader.described(), "slides": [] if loader.plan is None else [slide.name for slide in loader.plan.slides]}
        for loader in learn.dls.loaders
        if isinstance(loader, RunState)
    ]
    first, *others = gather_values(own)
    for rank, other in enumerate(others, 1):
        if len(other) != len(first):
            raise OptionError(f"rank {rank} has {len(other)} loaders, and rank 0 has {len(first)}; make them alike")
        for mine, its in zip(first, other, strict=True):
            for name in mine:
                if mine[name] != its[name]:
                    raise OptionError(
                        f"rank {rank} would train on other windows than rank 0: {name}={its[name]}, not {mine[name]}; "
                        f"start all ranks with the same data and arguments"
                    )
