"""Losses by their definitions, pixel by pixel in NumPy; 0 with a gradient of 0 where nothing counts."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

from patchaug.data.segmentation_losses import SlideCombinedLoss, SlideDiceLoss, SlideFocalLoss
from patchaug.errors import OptionError

IGNORED = 255
LOSSES = {
    "focal": SlideFocalLoss,
    "focal 0": lambda *a: SlideFocalLoss(*a, gamma=0),
    "focal 0.5": lambda *a: SlideFocalLoss(*a, gamma=0.5),
    "dice": SlideDiceLoss,
    "combined": SlideCombinedLoss,
    "combined 3": lambda *a: SlideCombinedLoss(*a, dice=3),
}


def brute_focal(p, labels, weight, gamma: float) -> float:
    total = whole = 0.0
    for place, label in np.ndenumerate(labels):
        if label != IGNORED:
            right = p[place[0], label, place[1], place[2]]
            total += weight[label] * (1 - right) ** gamma * -math.log(right)
            whole += weight[label]
    return total / whole if whole else 0.0


def brute_dice(p, labels, weight) -> float:
    total = whole = 0.0
    for number in range(p.shape[1]):
        if (labels == number).any():
            both = p[:, number][labels == number].sum()
            either = p[:, number][labels != IGNORED].sum() + (labels == number).sum()
            total += weight[number] * (1 - 2 * both / either)
            whole += weight[number]
    return total / whole if whole else 0.0


def brute(name: str, scores, labels, weight) -> float:
    """The loss of a batch by its definition; float64."""
    p = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    kind, _, number = name.partition(" ")
    if kind == "focal":
        return brute_focal(p, labels, weight, float(number or 2))
    dice = brute_dice(p, labels, weight)
    return dice if kind == "dice" else brute_focal(p, labels, weight, 0) + float(number or 1) * dice


@st.composite
def batches(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, list[float] | None]:
    """Scores, labels with ignored pixels (also all of them), and weights (also 0)."""
    n, classes, height, width = (draw(st.integers(*limits)) for limits in ((1, 3), (2, 4), (1, 4), (1, 4)))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    labels = random.integers(0, classes, (n, height, width))
    labels[random.random(labels.shape) < draw(st.sampled_from([0, 0.3, 0.9, 1]))] = IGNORED
    weight = draw(st.none() | st.lists(st.sampled_from([0.0, 0.5, 1.0, 7.0]), min_size=classes, max_size=classes))
    return random.normal(0, draw(st.sampled_from([0, 1, 8])), (n, classes, height, width)), labels, weight


@pytest.mark.parametrize("name", LOSSES)
@given(batch=batches())
def test_losses_are_their_definitions(name: str, batch) -> None:
    """The batch, each window of it, and the labels in the shape of fastai 1."""
    scores, labels, weight = batch
    loss = LOSSES[name](IGNORED, weight)
    weights = weight or [1.0] * scores.shape[1]
    tensors = torch.from_numpy(scores), torch.from_numpy(labels)
    assert float(loss(*tensors)) == pytest.approx(brute(name, scores, labels, weights), rel=1e-9, abs=1e-12)
    assert torch.equal(loss(tensors[0], tensors[1][:, None]), loss(*tensors))
    loss.reduction = "none"
    expected = [brute(name, scores[n : n + 1], labels[n : n + 1], weights) for n in range(len(scores))]
    assert loss(*tensors).tolist() == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("name", LOSSES)
@given(batch=batches())
def test_gradients_exist_and_are_finite(name: str, batch) -> None:
    """Zero for ignored pixels, and everywhere where nothing counts."""
    scores, labels, weight = batch
    tensor = torch.from_numpy(scores).float().requires_grad_()
    loss = LOSSES[name](IGNORED, weight)
    value = loss(tensor, torch.from_numpy(labels))
    value.backward()
    assert value.ndim == 0 and tensor.grad.isfinite().all()
    ignored = torch.from_numpy(labels == IGNORED)[:, None].expand(tensor.shape)
    assert not tensor.grad[ignored].any()
    if not float(loss.counted(torch.from_numpy(labels))):
        assert float(value.detach()) == 0 and not tensor.grad.any()


@pytest.mark.parametrize("weight", [None, [0.5, 2.0, 1.0]])
def test_focal_with_gamma_0_is_the_cross_entropy_of_torch(weight: list[float] | None) -> None:
    scores, labels = torch.randn(2, 3, 5, 4), torch.randint(0, 3, (2, 5, 4))
    labels[:, 0] = IGNORED
    weights = None if weight is None else torch.tensor(weight)
    expected = cross_entropy(scores, labels, weights, ignore_index=IGNORED)
    torch.testing.assert_close(SlideFocalLoss(IGNORED, weight, gamma=0)(scores, labels), expected)


@pytest.mark.parametrize("name", LOSSES)
def test_certain_answers_and_half_precision(name: str) -> None:
    """A perfect answer has loss 0 and no gradient; scores of 16 bits are summed in 32."""
    labels = torch.randint(0, 3, (2, 64, 64))
    scores = torch.nn.functional.one_hot(labels, 3).movedim(3, 1) * 200.0
    loss = LOSSES[name]()
    wrong = scores.roll(1, 1).requires_grad_()
    value = loss(wrong, labels)
    value.backward()
    assert float(loss(scores, labels)) == 0 and float(value.detach()) > 0.9 and wrong.grad.isfinite().all()
    noise = torch.randn(2, 3, 64, 64)
    assert loss(noise.bfloat16(), labels).dtype == torch.float32
    torch.testing.assert_close(loss(noise.half(), labels), loss(noise.half().float(), labels))
    again = pickle.loads(pickle.dumps(loss))
    assert torch.equal(again(noise, labels), loss(noise, labels))
    assert torch.equal(loss.decodes(noise), noise.argmax(1))
    assert torch.equal(loss.activation(noise), noise.softmax(1))


def test_wrong_values_are_one_error() -> None:
    with pytest.raises(OptionError, match="gamma must be at least 0, got -1"):
        SlideFocalLoss(gamma=-1)
    with pytest.raises(OptionError, match="dice must be at least 0, got nan"):
        SlideCombinedLoss(dice=float("nan"))
    with pytest.raises(OptionError, match="weight has 2 numbers, and the model gives 3 classes"):
        SlideDiceLoss(weight=[1, 2])(torch.zeros(1, 3, 2, 2), torch.zeros(1, 2, 2))
    with pytest.raises(OptionError, match="reduction must be 'mean' or 'none', got 'sum'"):
        SlideDiceLoss()(torch.zeros(1, 3, 2, 2), torch.zeros(1, 2, 2), reduction="sum")
