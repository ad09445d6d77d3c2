"""What a rank does in the tests of several processes: train a tiny model on coordinate-coded slides."""

import hashlib
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from fastai.distributed import *  # noqa: F403 - as users import it
from fastai.vision.all import SGD, Callback, CrossEntropyLossFlat, Flip, Learner, nn, partial, set_seed

from patchaug.core.ranks import read_ranks
from patchaug.fastai import Checkpoint, RandomPatch, SlideCombinedLoss, SlideCrossEntropy, SlideDice, SlideDiceLoss

from .conftest import CODES, loaders

LOSSES = {
    "ours": lambda: SlideCrossEntropy(0, [1, 2, 3, 4, 5]), "torch": lambda: CrossEntropyLossFlat(axis=1),
    "dice": SlideDiceLoss, "both": lambda: SlideCombinedLoss(0, [1, 2, 3, 4, 5]),
}  # fmt: skip
USUAL = {
    "bs": 6, "per_slide": 9, "workers": 0, "epochs": 1, "loss": "ours", "drop_last": False, "flips": False,
    "weights": False, "mode": "random", "folder": Path(), "out": Path(),
}  # fmt: skip


class Tiny(nn.Module):
    """A model without batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, len(CODES), 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores of the classes."""
        return self.last(self.first(x).tanh())


class Watch(Callback):
    """Hash each window that this rank trains on or validates, step by step."""

    order = 90

    def __init__(self) -> None:
        self.steps: list[list[str]] = []
        self.validated: list[list[str]] = []

    def before_batch(self) -> None:
        """Hash the windows that count."""
        count = len(self.dl.part) if self.dl.ranks else len(self.xb[0])
        images = (self.xb[0] * 255).round().byte().cpu().numpy()[:count]
        hashes = [hashlib.sha256(x.tobytes()).hexdigest()[:8] for x in images]
        (self.steps if self.training else self.validated).append(hashes)


def tiny_learner(cbs: Any = (), **case: Any) -> Learner:
    """A learner with a model of known weights."""
    case = SimpleNamespace(**USUAL | case)
    share = 0.5 if case.mode == "random" else 0.0
    patch = RandomPatch(32, per_slide=case.per_slide, foreground=share, mode=case.mode, seed=7, weights=case.weights)
    dls = loaders(
        case.folder, patch, bs=case.bs, num_workers=case.workers, drop_last=case.drop_last,
        batch_tfms=[Flip(0.5)] if case.flips else None,
    )  # fmt: skip
    set_seed(3)
    return Learner(
        dls, Tiny(), loss_func=LOSSES[case.loss](), opt_func=partial(SGD, mom=0.9), metrics=[SlideDice()], cbs=cbs,
        path=case.out,
    )  # fmt: skip


def distributed(learn: Learner) -> Any:
    """fastai's context, in one of several processes."""
    return learn.distrib_ctx() if read_ranks().world_size > 1 else nullcontext()


def train(**case: Any) -> dict[str, Any]:
    """Train, validate and predict, and return what was seen."""
    watch = Watch()
    learn = tiny_learner([watch], **case)
    with distributed(learn), learn.no_bar(), learn.no_logging():
        learn.fit((USUAL | case)["epochs"], 0.05)
        seen = {"steps": list(watch.steps), "validated": list(watch.validated)}
        seen["values"] = [list(map(float, row)) for row in learn.recorder.values]
        seen["losses"] = [float(x) for x in learn.recorder.losses]
        predictions, targets = learn.get_preds()
        seen["targets"] = hashlib.sha256(targets.numpy().tobytes()).hexdigest()
        seen["predictions"] = predictions.numpy()
        seen["validate"] = list(map(float, learn.validate()))
    return {**seen, "weights": torch.cat([p.detach().flatten() for p in learn.model.parameters()]).numpy()}


def train_all(cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Train for each case."""
    return [train(**case) for case in cases]


class StopAt(Callback):
    """Ask a checkpoint to stop after a number of batches, on the last rank alone."""

    order = 91
    run_valid = False

    def __init__(self, checkpoint: Checkpoint, batches: int) -> None:
        self.checkpoint, self.batches = checkpoint, batches

    def after_batch(self) -> None:
        """Count down."""
        self.batches -= 1
        ranks = read_ranks()
        if self.batches == 0 and ranks.rank == ranks.world_size - 1:
            self.checkpoint.stop("SIGTERM")


def train_part(stop: int | None, resume: bool, case: dict[str, Any]) -> dict[str, Any]:
    """Train, from a checkpoint or not, and stop after some batches; return the windows, and the weights so far."""
    watch, checkpoint = Watch(), Checkpoint(case["out"], resume=resume)
    learn = tiny_learner([watch], **case)
    more = [] if stop is None else [StopAt(checkpoint, stop)]
    with distributed(learn), learn.no_bar(), learn.no_logging():
        learn.fit((USUAL | case)["epochs"], 0.05, cbs=[checkpoint, *more])
    weights = torch.cat([p.detach().flatten() for p in learn.model.parameters()]).numpy()
    return {"steps": watch.steps, "validated": watch.validated, "weights": weights, "stopped": checkpoint.stopped}
