"""Loaders, learner and callbacks of a training run, as its options describe them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

# fastai.vision.all, because its modules patch methods into Learner.
from fastai.vision.all import GradientAccumulation, Learner, aug_transforms, unet_learner

from patchaug.cli.split_pairs import as_items
from patchaug.core.ranks import read_ranks
from patchaug.core.validation import sides
from patchaug.data.region_parts import open_parts
from patchaug.data.segmentation_losses import SlideCombinedLoss, SlideDiceLoss, SlideFocalLoss
from patchaug.errors import MissingError, OptionError
from patchaug.fastai2.compute import HalfPrecision, device_of_rank, find_device, half_precision
from patchaug.fastai2.dataloaders import SlideDataLoaders
from patchaug.fastai2.encoders import architecture, decoder_options
from patchaug.fastai2.initial_weights import load_weights
from patchaug.fastai2.losses import SlideCrossEntropy
from patchaug.fastai2.metrics import SlideAccuracy, SlideDice, SlideJaccard, SlidePrecision, SlideRecall
from patchaug.fastai2.models import build_model, find_model, require_segmentation, split_encoder
from patchaug.fastai2.random_patch import RandomPatch
from patchaug.fastai2.schedules import OPTIMIZERS, require_groups
from patchaug.options.fields import TrainOptions

LOSSES = {
    "cross_entropy": SlideCrossEntropy, "dice": SlideDiceLoss, "focal": SlideFocalLoss,
    "cross_entropy+dice": SlideCombinedLoss,
}  # fmt: skip
METRICS = {
    "dice": SlideDice, "iou": SlideJaccard, "accuracy": SlideAccuracy, "precision": SlidePrecision,
    "recall": SlideRecall,
}  # fmt: skip
# Flips, quarter turns and light: unlike free rotation, they invent no pixels at the border.
_GEOMETRY = {"flip_vert": True, "max_rotate": 0.0, "max_zoom": 1.0, "max_warp": 0.0}
_BATCH_TRANSFORMS = {"flips+light": {}, "flips": {"max_lighting": 0.0}, "none": None}


def require_model(options: TrainOptions) -> None:
    """Raise PatchaugError if the model or its weights cannot be found; no slide is opened."""
    if options.model is None:
        architecture(options.arch)
    else:
        find_model(options.model)
    if options.init is not None and not Path(options.init).is_file():
        raise MissingError(f"there is no file {options.init}; init names a file of weights")


def make_loaders(
    train_pairs: Sequence[tuple[Any, Any]], valid_pairs: Sequence[tuple[Any, Any]], options: TrainOptions, out: Path
) -> Any:
    """Make the loaders of a run.

    Args:
        train_pairs: (image, mask) to train on: paths, or an open slide twice.
        valid_pairs: (image, mask) to validate on, in the same way.
        options: Options of the run.
        out: Folder of the results.

    Raises:
        PatchaugError: The slides, the augmentation or the device do not fit.
    """
    device = device_of_rank(find_device(options.device), read_ranks())
    of_batch = _BATCH_TRANSFORMS.get(options.augment)
    train: list[tuple[Any, Any]] = as_items(train_pairs, options)
    valid: list[tuple[Any, Any]] = as_items(valid_pairs, options)
    if options.split_region is not None:
        train, valid = open_parts(
            train, valid=options.split_region, guard=options.guard, seed=options.seed, mpp=options.mpp_of_slides,
            ram=options.ram, channels=options.channels, series=options.series, **options.label_arguments(),
        )  # fmt: skip
    return SlideDataLoaders.from_lists(
        train, valid, **options.label_arguments(),
        mpp=options.mpp_of_slides, bs=options.bs, num_workers=options.workers, path=out, ram=options.ram,
        channels=options.channels, series=options.series, scale=options.scale,
        item_tfms=RandomPatch.from_options(options, augment=options.pipeline()),
        batch_tfms=None if of_batch is None else aug_transforms(**_GEOMETRY, **of_batch),
        **({} if device is None else {"device": device}),
    )  # fmt: skip


def make_loss(options: TrainOptions, weights: Sequence[float] | None) -> Any:
    """Return the loss of a run, with a weight for each class, or None."""
    return LOSSES[options.loss](options.ignore_index, weights)


def make_learner(dls: Any, options: TrainOptions, out: Path, *, resume: bool = False) -> Any:
    """Make the learner of a run: model, optimizer and metrics. The loss follows by `make_loss`.

    Args:
        dls: Its loaders.
        options: Options of the run.
        out: Folder of the results.
        resume: The weights of the model come from a checkpoint, not from `init`.

    Raises:
        PatchaugError: The model cannot be made, or the weights do not fit it.
    """
    n_in, n_out = dls.train.slides[0].channels, len(options.codes)
    settings: dict[str, Any] = {
        "opt_func": OPTIMIZERS[options.optimizer],
        "metrics": [METRICS[name]() for name in options.metrics],
        "path": out,
    }
    if options.model is not None:
        model = build_model(options.model, n_in, n_out)
        require_segmentation(model, options.model, n_in, n_out, sides(options.size))
        learn = Learner(dls, model, splitter=split_encoder, **settings)
    else:
        learn = unet_learner(
            dls, architecture(options.arch), n_in=n_in, n_out=n_out, pretrained=options.pretrained, **settings,
            **decoder_options(options.arch),
        )  # fmt: skip
    if options.init is not None and not resume:
        load_weights(learn.model, options.init)
    if options.schedule == "fine-tune":
        require_groups(learn)
    return learn


def make_callbacks(dls: Any, options: TrainOptions) -> list[Any]:
    """Return the callbacks that change how batches are trained.

    Raises:
        OptionError: The run would end before its first step.
    """
    found: list[Any] = []
    if options.accumulate > 1:
        batches = options.epochs * len(dls.train)
        if batches < options.accumulate:
            raise OptionError(
                f"accumulate={options.accumulate} batches make one step, and the run has {batches} in all, so that "
                f"nothing would be learnt; choose a smaller number"
            )
        found.append(GradientAccumulation(options.accumulate * options.bs))
    if options.amp:
        found.append(HalfPrecision())
    return found


def describe_compute(learn: Any, options: TrainOptions) -> str:
    """Describe model, device and precision in one line."""
    device = learn.dls.device
    parameters = sum(one.numel() for one in learn.model.parameters())
    precision = str(half_precision(device)).removeprefix("torch.") if options.amp else "float32"
    return f"a model of {parameters} parameters on {device}, computed in {precision}"
