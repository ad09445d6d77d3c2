"""Pixels of ignore_index: no loss, no score, and no NaN, whichever batch holds them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from fastai.basic_train import Learner
from fastai.callbacks import SaveModelCallback
from fastai.layers import CrossEntropyFlat

from patchaug import OptionError, PatchOptions
from patchaug.fastai import (
    SlideAccuracy,
    SlideCombinedLoss,
    SlideCrossEntropy,
    SlideDice,
    SlideFocalLoss,
    SlideItemList,
    SlideJaccard,
    SlidePrecision,
    SlideRecall,
)

CODES = ["a", "b", "c"]
METRICS = [SlideDice, SlideJaccard, SlideAccuracy, SlidePrecision, SlideRecall]


def ignored_bunch(ignore_index: int | None = 255, bs: int = 2):
    """64 x 128 px: the left half of the validation mask is ignored throughout, a part of the right half too."""
    rng = np.random.default_rng(3)
    images = [rng.integers(0, 256, (64, 128, 3), np.uint8) for _ in range(2)]
    masks = [rng.integers(0, 3, (64, 128)).astype(np.uint8) for _ in range(2)]
    if ignore_index is not None:
        masks[1][:, :64] = masks[1][:20] = ignore_index
        masks[0][:, :40] = ignore_index
    start = SlideItemList.from_arrays(images, names=["t", "v"], patch=PatchOptions(32, per_slide=8)).split_by_idx([1])
    labelled = start.label_from_lists(masks[:1], masks[1:], classes=CODES, ignore_index=ignore_index)
    return labelled.databunch(bs=bs, num_workers=0)


def model() -> torch.nn.Module:
    """Any scores."""
    torch.manual_seed(1)
    return torch.nn.Conv2d(3, 3, 3, padding=1)


def test_valid_loss_is_the_mean_over_the_pixels_that_count(tmp_path: Path) -> None:
    """Whatever the batch size, though a whole batch is ignored; SaveModelCallback and lr_find work."""
    for bs in (1, 2, 3, 8):
        data = ignored_bunch(bs=bs)
        learn = Learner(data, model(), path=tmp_path)
        batches = [(learn.model.eval()(x), y) for x, y in data.valid_dl]
        scores, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
        expected = torch.nn.functional.cross_entropy(scores, labels[:, 0], ignore_index=255)
        assert float(learn.validate()[0]) == pytest.approx(float(expected.detach()), abs=1e-5)
        learn.loss_func = SlideFocalLoss(255)
        assert float(learn.validate()[0]) == pytest.approx(float(learn.loss_func(scores, labels).detach()), abs=1e-5)
    probabilities, _ = learn.get_preds()
    assert torch.allclose(probabilities.sum(1), torch.ones(()), atol=1e-5)  # fastai finds the softmax
    learn.loss_func = SlideCombinedLoss(255, [1, 1, 2])
    learn.fit(1)
    assert np.isfinite(learn.recorder.val_losses).all()
    learn = Learner(ignored_bunch(), model(), path=tmp_path)
    learn.lr_find(num_it=4)
    learn.fit(2, 1e-3, callbacks=[SaveModelCallback(learn, name="best")])
    assert np.isfinite(learn.recorder.val_losses).all() and (tmp_path / "models" / "best.pth").exists()


def test_a_batch_without_labels_has_loss_0_and_no_gradient() -> None:
    """With and without weights of classes."""
    scores = torch.randn(2, 3, 8, 8, requires_grad=True)
    nothing = torch.full((2, 1, 8, 8), 255)
    for weight in (None, [1.0, 0.0, 2.0]):
        loss = SlideCrossEntropy(255, weight)(scores, nothing)
        loss.backward()
        assert float(loss.detach()) == 0 and float(scores.grad.abs().max()) == 0
    labels = torch.randint(0, 3, (2, 1, 8, 8))
    assert torch.equal(SlideCrossEntropy()(scores, labels), CrossEntropyFlat(axis=1)(scores, labels))
    labels[0] = 255
    some = torch.nn.functional.cross_entropy(
        scores, labels[:, 0], ignore_index=255, weight=torch.tensor([1.0, 0.0, 2.0])
    )
    assert torch.allclose(SlideCrossEntropy(255, [1.0, 0.0, 2.0])(scores, labels), some)


def test_a_validation_without_ignored_pixels_is_fastais(tmp_path: Path) -> None:
    """To the bit."""
    data = ignored_bunch(None)
    ours, theirs = (Learner(data, model(), loss_func=f, path=tmp_path) for f in (None, CrossEntropyFlat(axis=1)))
    assert isinstance(ours.loss_func, SlideCrossEntropy)
    assert ours.validate()[0] == theirs.validate()[0]


def test_scores_leave_ignored_pixels_out(tmp_path: Path) -> None:
    """Over all windows of the validation, by numpy; the ignored class is that of the data."""
    for ignore_index in (255, None):
        data = ignored_bunch(ignore_index)
        learn = Learner(data, model(), metrics=[kind() for kind in METRICS], path=tmp_path)
        _, dice, jaccard, accuracy, precision, recall = map(float, learn.validate())
        parts = [(learn.model.eval()(x).argmax(dim=1).numpy(), y[:, 0].numpy()) for x, y in data.valid_dl]
        guess, truth = (np.concatenate(one) for one in zip(*parts, strict=True))
        guess, truth = guess[truth != 255], truth[truth != 255]
        both = np.array([np.count_nonzero((guess == c) & (truth == c)) for c in range(3)])
        either = np.array([np.count_nonzero(guess == c) + np.count_nonzero(truth == c) for c in range(3)])
        assert dice == pytest.approx((2 * both / either).mean())
        assert jaccard == pytest.approx((both / (either - both)).mean())
        assert accuracy == pytest.approx((guess == truth).mean())
        predicted, labelled = (np.bincount(one, minlength=3) for one in (guess, truth))
        assert precision == pytest.approx((both / predicted).mean()) and recall == pytest.approx(
            (both / labelled).mean()
        )
        learn.fit(1)
        assert learn.recorder.names[3:6] == ["slide_dice", "slide_jaccard", "slide_accuracy"]


def test_a_label_beyond_the_model_is_one_clear_line() -> None:
    """Such as an ignored class that a metric was not given."""
    with pytest.raises(OptionError, match="the labels hold class 255, and the model gives classes 0 to 1; set"):
        SlideDice().on_batch_end(torch.zeros(1, 2, 1, 1), torch.full((1, 1, 1, 1), 255))
