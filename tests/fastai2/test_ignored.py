"""Pixels without a label: no loss, no score, and no NaN where a batch has nothing else."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from fastai.vision.all import (
    CrossEntropyLossFlat,
    DataLoaders,
    DiceMulti,
    JaccardCoeffMulti,
    Learner,
    SaveModelCallback,
    TensorImage,
    TensorMask,
    load_learner,
)
from torch.nn.functional import cross_entropy

from patchaug import OptionError
from patchaug.fastai import (
    RandomPatch,
    SlideAccuracy,
    SlideCrossEntropy,
    SlideDataLoaders,
    SlideDice,
    SlideDiceLoss,
    SlideFocalLoss,
    SlideInterpretation,
    SlideJaccard,
    SlidePrecision,
    SlideRecall,
)

IGNORED = 255


def slides(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """An image of noise, and a mask of three classes of which only a corner is labelled."""
    generator = np.random.default_rng(seed)
    mask = np.full((96, 128), IGNORED, np.uint8)
    mask[:40, :50] = generator.integers(0, 3, (40, 50))
    return generator.integers(0, 256, (96, 128, 3), np.uint8), mask


@pytest.fixture
def dls() -> DataLoaders:
    """Windows of 32 px in batches of 2; most batches of the validation grid have no label."""
    return SlideDataLoaders.from_lists(
        [slides(0)], [slides(1)], codes=["a", "b", "c"], ignore_index=IGNORED,
        item_tfms=RandomPatch(32, per_slide=24), bs=2, num_workers=0,
    )  # fmt: skip


@pytest.fixture
def learn(dls: DataLoaders, tmp_path: Path) -> Learner:
    """A convolution, with the default loss and all metrics."""
    torch.manual_seed(0)
    metrics = [SlideDice, SlideJaccard, SlideAccuracy, SlidePrecision, SlideRecall]
    learn = Learner(dls, torch.nn.Conv2d(3, 3, 3, padding=1), metrics=metrics, path=tmp_path)
    with learn.no_bar(), learn.no_logging():
        yield learn


WEIGHTS = [None, [0.5, 2.0, 1.0], [0.0, 1.0, 3.0]]


@pytest.mark.parametrize("weight", WEIGHTS)
@pytest.mark.parametrize("kinds", [(torch.Tensor, torch.Tensor), (TensorImage, TensorMask)])
def test_a_batch_without_labels_has_loss_0_and_no_gradient(weight: list[float] | None, kinds: tuple) -> None:
    """Torch's is NaN; so it is for labels of weight 0."""
    loss = SlideCrossEntropy(IGNORED, weight)
    labels = [IGNORED] if not weight or all(weight) else [IGNORED, 0]
    for label in labels:
        scores = torch.randn(2, 3, 4, 5).as_subclass(kinds[0]).requires_grad_()
        value = loss(scores, torch.full((2, 4, 5), label).as_subclass(kinds[1]))
        value.backward()
        assert float(value.detach()) == 0 and value.ndim == 0 and (scores.grad == 0).all()


@pytest.mark.parametrize("weight", WEIGHTS)
@pytest.mark.parametrize("ignored", [None, IGNORED])
def test_other_batches_have_the_loss_of_torch(weight: list[float] | None, ignored: int | None) -> None:
    """Bit for bit, and one value a pixel without a reduction."""
    scores, labels = torch.randn(2, 3, 4, 5), torch.randint(0, 3, (2, 4, 5))
    if ignored is not None:
        labels[:, :2] = ignored
    weights = None if weight is None else torch.tensor(weight)
    loss = SlideCrossEntropy(ignored, weight)
    torchs = CrossEntropyLossFlat(axis=1, weight=weights, ignore_index=-100 if ignored is None else ignored)
    assert torch.equal(loss(scores, labels), torchs(scores, labels))
    loss.reduction = torchs.reduction = "none"
    assert torch.equal(loss(scores, labels), torchs(scores, labels)) and loss(scores, labels).shape == (40,)


def test_it_is_a_loss_of_fastai(dls: DataLoaders) -> None:
    """Activation, decodes and axis as of fastai's; pickled it is the same."""
    loss = dls.train_ds.loss_func
    assert type(loss) is SlideCrossEntropy and loss.axis == 1 and loss.ignore_index == IGNORED and loss.y_int
    scores = torch.randn(2, 3, 4, 4)
    assert torch.equal(loss.decodes(scores), scores.argmax(1))
    assert torch.equal(loss.activation(scores), scores.softmax(1))
    again = pickle.loads(pickle.dumps(SlideCrossEntropy(7, [1.0, 2.0, 3.0])))
    assert again.ignore_index == 7 and again.func.weight.tolist() == [1, 2, 3] and again.axis == 1


@pytest.mark.parametrize("weight", WEIGHTS)
def test_valid_loss_is_the_mean_over_all_pixels_that_count(learn: Learner, weight: list[float] | None) -> None:
    """The batches differ much in their labels; their mean is another number."""
    learn.loss_func = SlideCrossEntropy(IGNORED, weight)
    scores, labels = (
        torch.cat([t.as_subclass(torch.Tensor) for t in parts])
        for parts in zip(*((learn.model(x), y) for x, y in learn.dls.valid), strict=True)
    )
    counts = [(y != IGNORED).sum() for _, y in learn.dls.valid]
    assert min(counts) == 0 and len(set(map(int, counts))) > 2
    weights = None if weight is None else torch.tensor(weight)
    expected = float(cross_entropy(scores, labels, ignore_index=IGNORED, weight=weights))
    assert learn.validate()[0] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("weight", WEIGHTS)
def test_valid_loss_of_other_losses_counts_pixels_too(learn: Learner, weight: list[float] | None) -> None:
    """Exact for the focal loss; of the Dice loss, the mean of the batches, weighted by what counts in them."""
    batches = [(learn.model(x).detach(), y) for x, y in learn.dls.valid]
    learn.loss_func = SlideFocalLoss(IGNORED, weight)
    whole = [torch.cat([t.as_subclass(torch.Tensor) for t in parts]) for parts in zip(*batches, strict=True)]
    assert learn.validate()[0] == pytest.approx(float(learn.loss_func(*whole)), rel=1e-5)
    learn.loss_func = dice = SlideDiceLoss(IGNORED, weight)
    counted = [float(dice.counted(y)) for _, y in batches]
    losses = [float(dice(*batch)) for batch in batches]
    assert learn.validate()[0] == pytest.approx(np.average(losses, weights=counted), rel=1e-5)
    windows = SlideInterpretation.from_learner(learn).losses
    assert windows.tolist() == pytest.approx([float(dice(x[None], y[None])) for b in batches for x, y in zip(*b)])  # noqa: B905


def brute(scores: torch.Tensor, labels: torch.Tensor) -> list[float]:
    """Dice, Jaccard, accuracy, precision and recall of the labelled pixels, by their definitions."""
    predicted, labels = scores.argmax(1).numpy(), labels.numpy()
    predicted, labels = predicted[labels != IGNORED], labels[labels != IGNORED]
    both = [(np.sum((predicted == c) & (labels == c)), np.sum(predicted == c), np.sum(labels == c)) for c in range(3)]
    dice = [2 * hits / (p + t) for hits, p, t in both if p + t]
    jaccard = [hits / (p + t - hits) for hits, p, t in both if p + t]
    precision, recall = ([b[0] / b[k] for b in both if b[k]] for k in (1, 2))
    return [*map(float, map(np.mean, (dice, jaccard, predicted == labels, precision, recall)))]


def test_metrics_leave_ignored_pixels_out(learn: Learner) -> None:
    """By their definitions, over the whole validation; fastai's count those pixels as errors."""
    probabilities, labels = learn.get_preds()
    expected = brute(probabilities, labels)
    assert list(learn.validate()[1:]) == pytest.approx(expected)
    learn.metrics = [DiceMulti(), JaccardCoeffMulti()]
    assert learn.validate()[1] < expected[0] and learn.validate()[2] < expected[1]


def test_metrics_are_those_of_fastai_where_all_is_labelled(tmp_path: Path) -> None:
    """Also with a class that nothing holds."""
    image, mask = slides(2)
    pair = image, np.where(mask == IGNORED, 0, mask)
    dls = SlideDataLoaders.from_lists(
        [slides(0)], [pair], codes=list("abcd"), ignore_index=IGNORED, item_tfms=RandomPatch(32), bs=1, num_workers=0
    )
    model = torch.nn.Conv2d(3, 4, 1)
    with torch.no_grad():
        model.bias[3] = -99  # never predicted
    learn = Learner(dls, model, metrics=[DiceMulti(), SlideDice(), JaccardCoeffMulti(), SlideJaccard()], path=tmp_path)
    with learn.no_bar(), learn.no_logging():
        _, dice, ours, jaccard, our_jaccard = learn.validate()
    assert ours == pytest.approx(dice) and our_jaccard == pytest.approx(jaccard)


def test_a_label_outside_the_model_is_an_error(learn: Learner) -> None:
    """With the cure."""
    learn.loss_func, learn.metrics = (lambda scores, labels: scores.mean()), [SlideDice(ignore_index=9)]
    with pytest.raises(OptionError, match="the labels hold class 255, and the model gives classes 0 to 2; set ignore_"):
        learn.validate()


def test_training_saves_and_finds_rates(learn: Learner) -> None:
    """Nothing is NaN: the best model is saved, and lr_find suggests a rate."""
    assert 0 < learn.lr_find(num_it=20, show_plot=False).valley < 10
    learn.fit(2, 1e-2, cbs=SaveModelCallback(monitor="slide_dice"))
    assert np.isfinite(np.array([row[:5] for row in learn.recorder.values], float)).all()
    assert (learn.path / "models" / "model.pth").exists()
    learn.fit(1, 1e-2, cbs=SaveModelCallback(fname="by_loss"))
    assert (learn.path / "models" / "by_loss.pth").exists()


def test_an_exported_learner_still_ignores(learn: Learner) -> None:
    """Loss and metrics travel, and find the class that does not count without any slide."""
    expected = list(learn.validate())
    learn.export("model.pkl")
    again = load_learner(learn.path / "model.pkl")
    with again.no_bar(), again.no_logging():
        assert list(again.validate(dl=learn.dls.valid)) == pytest.approx(expected)


def test_top_losses_are_means_over_pixels_that_count(learn: Learner) -> None:
    """A window with few labels has their loss, one without any has 0."""
    losses = SlideInterpretation.from_learner(learn).losses
    expected = [
        float(cross_entropy(scores[None], labels[None], ignore_index=IGNORED).nan_to_num())
        for x, y in learn.dls.valid
        for scores, labels in zip(
            learn.model(x).as_subclass(torch.Tensor).detach(), y.as_subclass(torch.Tensor), strict=True
        )
    ]
    assert losses.tolist() == pytest.approx(expected, abs=1e-6)
