"""Importance weights on their way from a draw to loss and metric, against values computed by hand."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from fastai.vision.all import (
    SGD,
    Callback,
    CancelFitException,
    CrossEntropyLossFlat,
    GradientAccumulation,
    Learner,
    MixUp,
    aug_transforms,
    foreground_acc,
    nn,
)

from patchaug import EpochSampler, Foreground, ImportanceWeights, OptionError, PatchDataset, PatchOptions, open_slide
from patchaug.data.patch_loader import PatchLoader
from patchaug.fastai import (
    RandomPatch,
    SlideCombinedLoss,
    SlideCrossEntropy,
    SlideDataLoaders,
    SlideDice,
    SlideFocalLoss,
    SlideInterpretation,
    WeightedLoss,
)
from patchaug.sampling.plan import Plan

MASK = np.zeros((96, 128), np.uint8)
MASK[20:34, 30:50] = 1
IMAGE = np.repeat((60 + 120 * MASK + np.arange(128) // 2)[..., None], 3, 2).astype(np.uint8)


def loaders(mask: np.ndarray = MASK, *, batch_tfms=None, workers: int = 0, ignore_index=None, bs: int = 4, **options):
    """Loaders of one slide, whose validation windows are drawn like those of training."""
    patch = RandomPatch(
        **{"size": 32, "per_slide": 10, "foreground": 0.8, "weights": True, "valid": "random", **options}
    )
    return SlideDataLoaders.from_lists(
        [(IMAGE, mask)], [(IMAGE.copy(), mask)], codes=["a", "b"], item_tfms=patch, batch_tfms=batch_tfms, bs=bs,
        num_workers=workers, ignore_index=ignore_index,
    )  # fmt: skip


def model() -> nn.Module:
    """One convolution, the same each time."""
    torch.manual_seed(3)
    return nn.Conv2d(3, 2, 3, padding=1)


def quietly(learn: Learner):
    """No bars, no tables."""
    return learn.no_bar(), learn.no_logging()


@pytest.mark.parametrize(("workers", "batch_tfms"), [(0, None), (0, aug_transforms(size=24)), (2, aug_transforms())])
def test_each_batch_has_the_weights_of_its_windows(workers: int, batch_tfms) -> None:
    """By the plan, in two epochs; a batch is still two tensors, and looking at one changes nothing."""
    dls = loaders(workers=workers, batch_tfms=batch_tfms, max_weight=3)
    expected = ImportanceWeights(dls.train.plan, max_weight=3)
    for epoch in range(2):
        if not workers:
            assert len(dls.one_batch()) == 2
        at = 0
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for images, _ in dls.train:
                known = dls.train.batch_weights
                assert known.indices.tolist() == [epoch * 10 + at + k for k in range(len(images))]
                assert known.weights.tolist() == pytest.approx(
                    [expected(dls.train.plan[i]) for i in known.indices.tolist()]
                )
                at += len(images)
        assert at == 8 and dls.train.clipping.windows == 8  # fastai drops the rest
    assert dls.n_inp == 1 and dls.train.new().importance is not None


LOSSES = [SlideCrossEntropy(), SlideFocalLoss(), SlideCombinedLoss(), WeightedLoss(CrossEntropyLossFlat(axis=1))]


@pytest.mark.parametrize("loss_func", LOSSES)
def test_loss_and_gradient_are_those_of_weighted_windows(loss_func, tmp_path: Path) -> None:
    """A step of fastai changes the model as the sum of weight times loss by hand does."""
    dls, ours, theirs = loaders(), model(), model()
    images, masks = next(iter(dls.train))
    known = dls.train.batch_weights
    single = [loss_func(theirs(images[k : k + 1]), masks[k : k + 1]) for k in range(4)]
    by_hand = sum(weight * loss for weight, loss in zip(known.weights, single, strict=True)) / 4
    by_hand.backward()
    learn = Learner(loaders(), ours, loss_func=loss_func, opt_func=SGD, path=tmp_path)
    seen = []

    class Look(Callback):
        def after_loss(self) -> None:
            seen.append(float(self.learn.loss.detach()))

        def before_step(self) -> None:
            seen.append(self.learn.model.weight.grad.clone())
            raise CancelFitException

    bar, log = quietly(learn)
    with bar, log:
        learn.fit(1, 1e-3, cbs=Look())
    assert seen[0] == pytest.approx(float(by_hand), rel=1e-5)
    assert torch.allclose(seen[1], theirs.weight.grad, rtol=1e-4, atol=1e-7)
    assert learn.loss_func is loss_func


def test_valid_loss_and_dice_are_weighted(tmp_path: Path) -> None:
    """The sums by hand, over batches of two sizes; without weights both are others."""
    dls = loaders()
    learn = Learner(dls, model(), metrics=SlideDice(), path=tmp_path)
    bar, log = quietly(learn)
    with bar, log:
        loss, dice = learn.validate()
    plan, total, confusion = dls.valid.plan, 0.0, torch.zeros(2, 2, dtype=torch.float64)
    weights = ImportanceWeights(plan)
    for draw in plan:
        patch = plan.read(draw)
        scores = learn.model(torch.from_numpy(patch.image).permute(2, 0, 1)[None].float() / 255)
        mask = torch.from_numpy(patch.mask)[None].long()
        total += weights(draw) * float(nn.functional.cross_entropy(scores, mask))
        confusion += weights(draw) * torch.bincount((2 * mask + scores.argmax(1)).flatten(), minlength=4).view(2, 2)
    assert loss == pytest.approx(total / len(plan), rel=1e-5)
    right, rows, columns = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
    assert dice == pytest.approx(float((2 * right / (rows + columns)).mean()), rel=1e-6)
    other = Learner(loaders(weights=False), model(), metrics=SlideDice(), path=tmp_path)
    with other.no_bar(), other.no_logging():
        plain = other.validate()
    assert abs(plain[0] - loss) > 1e-3 and abs(plain[1] - dice) > 1e-3


def test_ignored_pixels_count_with_the_weight_of_their_window(tmp_path: Path) -> None:
    """valid_loss is the weighted sum over labelled pixels by the weighted number of labelled pixels."""
    mask = MASK.copy()
    mask[:, :40] = 255
    dls = loaders(mask, ignore_index=255)
    learn = Learner(dls, model(), path=tmp_path)
    bar, log = quietly(learn)
    with bar, log:
        loss = learn.validate()[0]
    plan, total, counted = dls.valid.plan, 0.0, 0.0
    weights = ImportanceWeights(plan)
    for draw in plan:
        patch = plan.read(draw)
        scores = learn.model(torch.from_numpy(patch.image).permute(2, 0, 1)[None].float() / 255)
        labels = torch.from_numpy(patch.mask)[None].long()
        total += weights(draw) * float(nn.functional.cross_entropy(scores, labels, ignore_index=255, reduction="sum"))
        counted += weights(draw) * int((labels != 255).sum())
    assert loss == pytest.approx(total / counted, rel=1e-5)


def test_runs_with_accumulation_and_interpretation(tmp_path: Path) -> None:
    """Gradients are accumulated; top losses are those of the windows themselves."""
    dls = loaders()
    learn = Learner(dls, model(), path=tmp_path)
    bar, log = quietly(learn)
    with bar, log:
        learn.fit(1, cbs=GradientAccumulation(8))
        worst, numbers = SlideInterpretation.from_learner(learn).top_losses(10)
        images, masks = (
            torch.stack([t.as_subclass(torch.Tensor) for t in one])
            for one in zip(*(dls.valid.do_item(n) for n in range(10)), strict=True)
        )
    single = nn.functional.cross_entropy(learn.model(images.float() / 255), masks.long(), reduction="none").mean((1, 2))
    assert worst.tolist() == pytest.approx(single[numbers].tolist(), rel=1e-4)


def test_what_does_not_use_weights_is_refused_or_named(tmp_path: Path) -> None:
    """Other losses, mixed windows, changed batches; metrics of fastai are named; wrapped losses without weights."""
    plain, wrapped = CrossEntropyLossFlat(axis=1), WeightedLoss(SlideCrossEntropy())
    for options, loss_func, more, text in (
        ({}, plain, {}, "does not use weights; take WeightedLoss"),
        ({}, None, {"cbs": MixUp()}, "MixUp mixes windows.*remove it"),
        ({"weights": False}, wrapped, {}, "set weights=True in RandomPatch"),
    ):
        learn = Learner(loaders(**options), model(), loss_func=loss_func)
        with pytest.raises(OptionError, match=text), learn.no_bar(), learn.no_logging():
            learn.fit(1, **more)
    learn = Learner(loaders(), model(), metrics=[SlideDice(), foreground_acc])
    with pytest.warns(UserWarning, match="weights, which foreground_acc does not use"), learn.no_bar():
        learn.validate()
    with pytest.raises(OptionError, match="a batch has 2 windows and weights of the shape"):
        WeightedLoss(nn.CrossEntropyLoss())(torch.zeros(2, 3, 4, 4), torch.zeros(2, 4, 4).long(), torch.ones(3))
    with pytest.raises(OptionError, match="no reduction to set to 'none'"):
        WeightedLoss(lambda scores, labels: scores.mean())(torch.zeros(1, 3, 4, 4), torch.zeros(1, 4, 4), torch.ones(1))
    for options, text in (
        ({"max_weight": 4.0}, "weights, which are off"),
        ({"weights": True, "foreground": 1.0}, "foreground=1 never"),
    ):
        with pytest.raises(OptionError, match=text):
            loaders(**{"weights": False, **options})
    with pytest.raises(OptionError, match="max_weight"):
        PatchOptions(32, weights=True, max_weight=0.5)


def test_clipping_is_told_once_a_loader() -> None:
    """With its numbers, which the loader keeps."""
    dls = loaders(per_slide=40, max_weight=1.5)
    with pytest.warns(
        UserWarning, match=r"of 40 windows had importance weights above max_weight=1.5, up to .* was cut"
    ):
        list(dls.train)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        list(dls.train)
    assert dls.train.clipping == pytest.approx(ImportanceWeights(dls.train.plan, max_weight=1.5).clipping(1))


def test_plain_torch_has_the_weight_beside_the_mask() -> None:
    """`PatchDataset` through torch's loader, and the loss by hand."""
    slide = open_slide(IMAGE, MASK, name="a")
    dataset = PatchDataset([slide], Foreground(32, per_slide=8, foreground=0.8), weights=True)
    loader = PatchLoader(dataset, batch_size=4, sampler=EpochSampler(dataset))
    for _, masks, weights in loader:
        assert weights.dtype == torch.float64 and masks.shape == (4, 32, 32)
        scores = torch.randn(4, 2, 32, 32)
        single = nn.functional.cross_entropy(scores, masks.long(), reduction="none").mean((1, 2))
        weighted = WeightedLoss(nn.CrossEntropyLoss())(scores, masks.long(), weights)
        assert float(weighted) == pytest.approx(float((single * weights).mean()), rel=1e-6)
    plain = Plan([slide], dataset.plan.sampler)
    assert [patch.weight for patch in dataset] == [ImportanceWeights(plain)(draw) for draw in plain]
