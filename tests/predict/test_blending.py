"""Laws of the joining of windows, against brute force."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch")

import torch

from patchaug import Grid, Window, open_slide
from patchaug.predict.bands import Prediction
from patchaug.predict.layout import Axis, window_weights
from patchaug.predict.options import PredictOptions
from patchaug.predict.symmetries import RECTANGLE, SQUARE

from .models import FunctionModel, joined, predicted
from .test_bands import BLENDS, as_batch, grids, pointwise, softmax

WEIGHED = st.sampled_from(["hann", "gaussian"])


@st.composite
def axes(draw: st.DrawFn, blend: str | None = None) -> Axis:
    """Windows along an axis."""
    length = draw(st.integers(1, 300))
    size = draw(st.integers(1, length))
    return Axis.of(length, size, draw(st.integers(0, size - 1)), blend or draw(BLENDS))


@given(axes())
def test_weights_are_positive_symmetric_and_sum_to_one(axis: Axis) -> None:
    """At each pixel, also those of the border, where one window has all the weight that there is."""
    total = np.zeros(axis.length)
    for (start, stop), weights in zip(axis.spans, axis.weights, strict=True):
        assert weights is None or ((weights > 0).all() and len(weights) == stop - start)
        total[start:stop] += 1 if weights is None else weights
    assert np.abs(total - 1).max() <= 3e-7
    assert list(axis.edges) == sorted(set(axis.edges)) and axis.edges[0] == 0 and axis.edges[-1] == axis.length
    for blend in ("hann", "gaussian"):
        own = window_weights(blend, axis.size)
        assert (own == own[::-1]).all() and (own > 0).all() and own.argmax() in ((axis.size - 1) // 2, axis.size // 2)


@given(axes("crop"))
def test_a_crop_takes_the_window_in_which_a_pixel_lies_deepest(axis: Axis) -> None:
    """The slide's own borders are no edges of windows."""

    def depth(pixel: int, origin: int) -> float:
        left = np.inf if origin == 0 else pixel - origin
        right = np.inf if origin + axis.size == axis.length else origin + axis.size - 1 - pixel
        return min(left, right)

    for origin, (start, stop) in zip(axis.origins, axis.spans, strict=True):
        assert origin <= start < stop <= origin + axis.size
        for pixel in {start, (start + stop) // 2, stop - 1}:
            held = [other for other in axis.origins if other <= pixel < other + axis.size]
            assert depth(pixel, origin) + 1 >= max(depth(pixel, other) for other in held)
    assert all(before[1] == after[0] for before, after in pairwise(axis.spans))


@given(grids(), BLENDS, st.sampled_from([None, "d4"]), st.integers(-3, 3))
def test_a_constant_model_gives_its_constant_everywhere(drawn: tuple, blend: str, tta: str | None, high: int) -> None:
    """To 1e-6, for one channel too."""
    pixels, grid = drawn
    p = 1 / (1 + np.exp(-high))
    one = FunctionModel(lambda images: torch.full_like(images[:, :1], high), grid, codes=("a", "b"))
    classes, probabilities, _ = predicted(one, pixels, blend=blend, tta=tta)
    assert np.abs(probabilities[1] - p).max() <= 1e-6 and np.abs(probabilities.sum(0) - 1).max() <= 1e-6
    assert (classes == (high > 0)).all() and (predicted(one, pixels, blend=blend, what="classes")[0] == classes).all()


@st.composite
def symmetric(draw: st.DrawFn) -> tuple[np.ndarray, Grid]:
    """A picture whose grid is its own image under the eight symmetries; windows overlap by less than half."""
    size, number = draw(st.integers(4, 12)), draw(st.integers(1, 3))
    overlap = draw(st.integers(0, size // 2))
    side = size + (number - 1) * (size - overlap)
    pixels = np.random.default_rng(side).integers(0, 256, (side, side, 3), np.uint8)
    return pixels, Grid(size, overlap=overlap)


def turned(symmetry, array: np.ndarray) -> np.ndarray:
    """An array (..., height, width) under a symmetry."""
    return symmetry.of(torch.from_numpy(np.ascontiguousarray(array))).numpy()


@given(symmetric(), WEIGHED, st.sampled_from(SQUARE[1:]))
def test_blending_is_symmetric(drawn: tuple, blend: str, symmetry) -> None:
    """A model without a sense of direction answers for the turned slide as for the slide; with "d4" any model does."""
    pixels, grid = drawn
    there = turned(symmetry, pixels.transpose(2, 0, 1)).transpose(1, 2, 0)

    def undirected(images: torch.Tensor) -> torch.Tensor:
        distance = torch.hypot(*torch.meshgrid(*[torch.linspace(-1, 1, grid.size)] * 2, indexing="ij"))
        return pointwise(images) * distance + images.std((2, 3), keepdim=True) / 20

    def directed(images: torch.Tensor) -> torch.Tensor:
        return pointwise(images) + images.cumsum(-1) / 2000 - images.cumsum(-2) / 900

    for model, tta in ((undirected, None), (directed, "d4")):
        here = predicted(FunctionModel(model, grid), pixels, blend=blend, tta=tta, spread=True)
        turned_there = predicted(FunctionModel(model, grid), there, blend=blend, tta=tta, spread=True)
        for one, other, most in zip(here[1:], turned_there[1:], (1e-5, 1e-4), strict=True):
            assert np.abs(turned(symmetry, one) - other).max() <= most
    assert np.abs(here[2]).max() > 1e-3  # the symmetries differ


@pytest.mark.parametrize("shape", [(5, 5), (4, 6)])
def test_symmetries_are_undone(shape: tuple[int, int]) -> None:
    """All differ, and keep the windows' shape."""
    pixels = torch.arange(shape[0] * shape[1]).view(1, 1, *shape)
    group = SQUARE if shape[0] == shape[1] else RECTANGLE
    images = [one.of_batch((pixels, torch.zeros(1)))[0] for one in group]
    assert len({tuple(image.flatten().tolist()) for image in images}) == len(group)
    for one, image in zip(group, images, strict=True):
        assert image.shape == pixels.shape and (one.undone(image) == pixels).all()


@settings(max_examples=settings.default.max_examples // 4)
@given(grids(), BLENDS, st.booleans())
def test_means_and_spreads_by_definition(drawn: tuple, blend: str, ensemble: bool) -> None:
    """Over symmetries and models: the blended mean is the mean of the blended; the spread is that of each window."""
    pixels, grid = drawn

    def directed(images: torch.Tensor) -> torch.Tensor:
        return pointwise(images) + images.cumsum(-1) / 2000

    models = [FunctionModel(directed, grid), FunctionModel(lambda images: pointwise(images) * 2, grid)]
    models = models if ensemble else models[:1]
    options = PredictOptions(what="probabilities", blend=blend, tta="d4", spread=True)
    _, mean, spread = joined(Prediction(models, open_slide(pixels), options))
    if ensemble:
        assert models[0].batches and not models[1].batches  # one pass through the pixels
    height, width = grid.size
    group = SQUARE if height == width else RECTANGLE

    def each(images: torch.Tensor) -> torch.Tensor:
        return torch.stack([torch.softmax(s.undone(m.function(s.of(images))), 1) for m in models for s in group])

    def of_windows(statistic) -> np.ndarray:
        """Blend a statistic of the answers by a model that gives it as its probabilities."""
        total = np.zeros((3, *pixels.shape[:2]))
        prediction = Prediction(models, open_slide(pixels), options)
        layout = prediction.layout
        for draw in prediction.plan:
            row, column = divmod(draw.draw, len(layout.columns.origins))
            w = draw.window
            value = statistic(each(as_batch(pixels[w.y : w.bottom, w.x : w.right])))[0].numpy()
            (top, bottom), (left, right) = layout.rows.spans[row], layout.columns.spans[column]
            down, across = layout.rows.weights[row], layout.columns.weights[column]
            weights = np.outer(1 if down is None else down, 1 if across is None else across)
            part = value[:, top - w.y : bottom - w.y, left - w.x : right - w.x]
            total[:, top:bottom, left:right] += part * weights
        return total

    assert np.abs(mean - of_windows(lambda answers: answers.mean(0))).max() <= 1e-6
    assert np.abs(spread - of_windows(lambda answers: answers.std(0, unbiased=False))).max() <= 1e-5


@given(grids(), BLENDS, st.data())
def test_the_union_of_regions_predicts_like_the_whole(drawn: tuple, blend: str, data: st.DataObject) -> None:
    """Within a mask or a rectangle the map is that of the whole slide, outside of a mask it is background."""
    pixels, grid = drawn
    height, width = pixels.shape[:2]
    model = FunctionModel(lambda images: pointwise(images) + images.mean((2, 3), keepdim=True) / 50, grid)
    classes, probabilities, _ = predicted(model, pixels, blend=blend)
    seed, share = data.draw(st.integers(0, 99)), data.draw(st.sampled_from([0.0, 0.01, 0.5]))
    mask = (np.random.default_rng(seed).random((height, width)) < share).astype(np.uint8)
    background = np.zeros_like(probabilities)
    background[0] = 1
    for region in (mask, 1 - mask):
        there = predicted(model, pixels, blend=blend, region=region)
        assert np.abs(there[1] - np.where(region, probabilities, background)).max() <= 1e-6
        assert (there[0] == there[1].argmax(0)).all()
        fast = predicted(model, pixels, blend="crop", region=region, what="classes")[0]
        assert (fast[region == 0] == 0).all()
    x, y = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    rectangle = Window(x, y, data.draw(st.integers(1, width - x)), data.draw(st.integers(1, height - y)))
    place = np.s_[..., y : rectangle.bottom, x : rectangle.right]
    part = predicted(model, pixels, blend=blend, region=rectangle)
    assert (part[0] == classes[place]).all() and np.abs(part[1] - probabilities[place]).max() <= 1e-6


@given(st.integers(1, 3), st.integers(12, 40), st.integers(12, 40), st.data())
def test_a_receptive_field_below_the_overlap_is_never_cut(r: int, height: int, width: int, data: st.DataObject) -> None:
    """By "crop": each pixel's surroundings are in its window wherever windows overlap by 2 r or more."""
    size = data.draw(st.integers(2 * r + 1, 12))
    overlap = data.draw(st.integers(2 * r, size - 1))
    pixels = np.random.default_rng(height * width).integers(0, 256, (height, width, 3), np.uint8)
    torch.manual_seed(r)
    convolution = torch.nn.Conv2d(3, 3, 2 * r + 1, padding=r).requires_grad_(False)
    expected = softmax(convolution(as_batch(pixels) / 255))
    model = FunctionModel(lambda images: convolution(images / 255), Grid(size, overlap=overlap))
    assert np.abs(predicted(model, pixels, blend="crop")[1] - expected).max() <= 1e-5
