"""Test cases of MONAI and TorchIO that have a counterpart here: the numbers that they expect.

Both join windows of any values; here they are probabilities. So a value v is sent as the score of one channel whose
sigmoid is v / scale. Cases are named after theirs:

- MONAI: tests/inferers/test_sliding_window_inference.py, test_sliding_window_splitter.py and test_avg_merger.py of
  Project-MONAI/MONAI (Apache-2.0). Its windows may leave the image, which is padded; here they must fit, so cases with
  larger windows are errors, as are its shares of overlap outside 0 to 1. Volumes are cut to their first plane.
- TorchIO: tests/data/inference/test_aggregator.py and test_grid_sampler.py of TorchIO-project/torchio (Apache-2.0).
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from patchaug import Grid, OptionError, Plan, Window, WindowError, open_slide
from patchaug.predict import layout
from patchaug.predict.bands import Prediction
from patchaug.predict.options import PredictOptions
from patchaug.readers import ArrayRaster

from .models import FunctionModel, joined, predicted


def places(height: int, width: int) -> np.ndarray:
    """A picture whose pixels hold their column and row."""
    rows, columns = np.indices((height, width), np.uint16)
    return np.stack([columns, rows, columns], axis=-1)


def joined_values(
    pixels: np.ndarray, grid: Grid, blend: str, value: Callable[[torch.Tensor], torch.Tensor], scale: float
) -> np.ndarray:
    """The map of the values (n, 1, height, width) that a function gives for windows."""
    model = FunctionModel(lambda images: torch.logit(value(images).double() / scale), grid, codes=("no", "yes"))
    return predicted(model, pixels, blend=blend)[1][1] * scale


# MONAI: TEST_CASES of test_sliding_window_default: data + 1 is data + 1, for shapes (height, width), windows, batch.
DEFAULT = [
    ((16, 15), (4, 4), 3, "gaussian"),  # 4D small roi
    ((16, 15), (4, 15), 3, "gaussian"),  # 3D small roi (4, -1, 7)
    ((15, 7), (15, 7), 3, "gaussian"),  # 3D small roi (4, -1, 7), a plane of the other axes
    ((16, 15), (4, 10), 3, "gaussian"),  # 3D small roi (4, 10, 7)
    ((15, 7), (10, 7), 3, "hann"),  # its plane
    ((15, 7), (2, 6), 1000, "gaussian"),  # 2D small roi, large batch
    ((16, 15), (4, 1), 3, "gaussian"),  # 3D small roi (4, 1, 7)
    ((16, 15), (4, 10), 3, "crop"),  # 3D small roi, gaussian
    ((16, 1), (4, 1), 3, "hann"),  # 1D small roi
]


@pytest.mark.parametrize(("shape", "size", "batch", "blend"), DEFAULT)
def test_monai_sliding_window_default(shape: tuple, size: tuple, batch: int, blend: str) -> None:
    """A model that adds 1."""
    pixels = np.zeros((*shape, 3), np.float32)
    pixels[..., 0] = np.arange(np.prod(shape)).reshape(shape)
    scale = float(np.prod(shape) + 2)
    model = FunctionModel(
        lambda images: torch.logit((images[:, :1].double() + 1) / scale), Grid(size), batch_size=batch, codes=("n", "y")
    )
    found = predicted(model, pixels, blend=blend, overlap=0.25)[1][1] * scale
    assert np.allclose(found, pixels[..., 0] + 1, rtol=1e-5)
    assert len(model.batches[0]) == min(batch, len(joined_columns(shape[1], size[1], min(size))))


def joined_columns(width: int, size: int, side: int) -> list[int]:
    """First columns of windows that share a quarter of their shorter side."""
    return sorted({min(x, width - size) for x in range(0, width, size - round(side / 4))})


@pytest.mark.parametrize("size", [(20, 22), (80, 50)])
def test_monai_large_roi(size: tuple) -> None:
    """MONAI pads the image; here the window must fit."""
    with pytest.raises(WindowError, match="does not fit into level 0"):
        predicted(FunctionModel(lambda images: images, Grid(size)), np.zeros((16, 15, 3), np.uint8))


# MONAI: _windows of test_buffers: twice the image is twice the image, whatever the buffers.
BUFFERS = [
    ((10, 11), (7, 10), 0.8, 5),
    ((10, 11), (10, 11), 0.0, 3),
    ((511, 237), (96, 80), 0.4, 5),
    ((512, 245), (96, 80), 0.0, 5),
    ((512, 245), (512, 80), 0.125, 5),
]


@pytest.mark.parametrize(("shape", "size", "overlap", "batch"), BUFFERS)
@pytest.mark.parametrize("blend", ["hann", "gaussian", "crop"])
def test_monai_buffers(shape: tuple, size: tuple, overlap: float, batch: int, blend: str) -> None:
    """MONAI's bound is 0.001 of 255."""
    pixels = np.random.default_rng(0).integers(0, 255, (*shape, 3), np.uint8)
    model = FunctionModel(
        lambda images: torch.logit(2 * images[:, :1].double() / 512), Grid(size), batch_size=batch, codes=("n", "y")
    )
    found = predicted(model, pixels, blend=blend, overlap=overlap)[1][1] * 512
    assert np.abs(pixels[..., 0] - 0.5 * found).max() < 0.001


SIGMA = [3.0, 3.0, 3.3271625, 3.6728377, 4.3271623, 4.513757, 5.0]
CONSTANT = [3.0, 3.0, 3.3333, 3.6667, 4.3333, 4.5, 5.0]


@pytest.mark.parametrize(("sigma", "expected"), [(1.0, SIGMA), (1e6, CONSTANT)], ids=["gaussian", "constant"])
def test_monai_sigma(monkeypatch: pytest.MonkeyPatch, sigma: float, expected: list[float]) -> None:
    """25 windows in batches of ten, of which the n-th answers n + 2; its mode "constant" is a sigma without end."""
    monkeypatch.setattr(layout, "SIGMA", sigma)

    def value(images: torch.Tensor) -> torch.Tensor:
        number = images[:, 1:2, :1, :1] * 5 + images[:, :1, :1, :1]
        return (number // 10 + 3).expand(-1, -1, *images.shape[-2:])

    found = joined_values(places(7, 7), Grid(3, overlap=2), "gaussian", value, 8)
    assert np.allclose(found, np.array(expected)[:, None], rtol=1e-4)


@pytest.mark.parametrize(("size", "overlap"), [(2, 0), (2, 1), (3, 2), (2, 0.5), (3, 2 / 3)])
@pytest.mark.parametrize("blend", ["hann", "gaussian", "crop"])
def test_monai_avg_merger(size: int, overlap: float, blend: str) -> None:
    """TEST_CASE_0 to 2 of the merger, TENSOR_0 and 2 to 5 of the splitter: patches of the image merge to the image."""
    pixels = np.random.default_rng(1).integers(0, 255, (4, 4, 3), np.uint8)
    found = joined_values(pixels, Grid(size, overlap=0), blend, lambda images: images[:, :1], 256)
    assert np.allclose(found, pixels[..., 0], atol=1e-3)
    windows = [draw.window for draw in Plan([open_slide(pixels)], PredictOptions(overlap=overlap).grid(Grid(size)))]
    step = size - round(overlap * size if isinstance(overlap, float) else overlap)
    at = range(0, 4 - size + 1, step)
    assert sorted((w.y, w.x) for w in windows) == [(y, x) for y in at for x in at]


def test_monai_splitter_leaves_patches_out() -> None:
    """FILTER_FN_0 and _1: patches of an artifact are left out, or are the only ones; here by a mask."""
    pixels = places(4, 4)
    for mask, expected in ((np.ones((4, 4), np.uint8), [0, 2, 3]), (np.zeros((4, 4), np.uint8), [1])):
        mask[:2, 2:] = 1 - mask[0, 0]
        model = FunctionModel(lambda images: images, Grid(2))
        predicted(model, pixels, region=mask)
        assert [number for batch in model.batches for number in batch] == expected


@pytest.mark.parametrize("overlap", [1.0, -0.1, -1, 3])
def test_monai_splitter_errors(overlap: float) -> None:
    """ERROR_0 to 3."""
    with pytest.raises(OptionError, match="overlap must be"):
        PredictOptions(overlap=overlap).grid(Grid(2))


def test_monai_merger_with_nan() -> None:
    """TEST_CASE_3 merges NaN; here a model that gives NaN is an error."""
    model = FunctionModel(lambda images: images * float("nan"), Grid(2, overlap=1))
    for what in ("classes", "probabilities"):
        for blend in ("crop", "hann"):
            with pytest.raises(OptionError, match="the model gives NaN for 3 of the 3 windows"):
                predicted(model, np.zeros((4, 4, 3), np.uint8), what=what, blend=blend)


def test_monai_multioutput() -> None:
    """MONAI merges each output; here a map needs one, which is chosen by number or name."""

    class Heads(NamedTuple):
        classes: torch.Tensor
        small: torch.Tensor

    pixels = np.random.default_rng(0).integers(0, 256, (20, 20, 3), np.uint8)
    expected = predicted(FunctionModel(lambda images: images + 1, Grid(8, overlap=4)), pixels)
    for kind, keys in (
        (lambda *both: both, [0]), (lambda *both: list(both), [0]), (Heads, [0, "classes"]),
        (lambda a, b: {"classes": a, "small": b, "loss": 3.0}, ["classes"]),
    ):  # fmt: skip
        model = FunctionModel(lambda images, kind=kind: kind(images + 1, images[:, ::3, ::2, ::2]), Grid(8, overlap=4))
        with pytest.raises(
            OptionError, match=r"\(3, 3, 8, 8\).* one tensor of scores; say which, such as output="
        ) as one:
            predicted(model, pixels)
        assert f"output={keys[-1]!r} (--model-output {keys[-1]})" in str(one.value)
        for key in keys:
            found = predicted(model, pixels, output=key)
            assert (found[0] == expected[0]).all() and (found[1] == expected[1]).all()
        for key in (2, "logits"):
            with pytest.raises(OptionError, match=f"output={key!r}: the model gives a .* of "):
                predicted(model, pixels, output=key)
        with pytest.raises(OptionError, match=r"gives \(3, 1, 4, 4\)"):
            predicted(model, pixels, output="small" if "classes" in keys else 1)
    with pytest.raises(OptionError, match="gives one tensor; leave output out"):
        predicted(FunctionModel(lambda images: images, Grid(8)), pixels, output=0)
    with pytest.raises(OptionError, match="the model gives a NoneType, and a class map needs a tensor"):
        predicted(FunctionModel(lambda images: None, Grid(8)), pixels)


def torchio_windows(images: torch.Tensor) -> torch.Tensor:
    """0, 2, 4 and 6 for the four windows of 3 px in 4 x 4 px."""
    value = images[:, 1:2, :1, :1] * 4 + images[:, :1, :1, :1] * 2
    return value.expand(-1, -1, *images.shape[-2:]) + 1e-9


TORCHIO = {
    "crop": [[0, 0, 2, 2], [0, 0, 2, 2], [4, 4, 6, 6], [4, 4, 6, 6]],
    "hann": np.array([[0, 2, 4, 6], [4, 6, 8, 10], [8, 10, 12, 14], [12, 14, 16, 18]]) / 3,
}


@pytest.mark.parametrize("blend", TORCHIO)
def test_torchio_overlap(blend: str) -> None:
    """test_overlap_crop, test_overlap_hann."""
    found = joined_values(places(4, 4), Grid(3, overlap=2), blend, torchio_windows, 8)
    assert np.allclose(found, TORCHIO[blend], atol=1e-5)


def test_torchio_overlap_average(monkeypatch: pytest.MonkeyPatch) -> None:
    """test_overlap_average: a gaussian without end."""
    monkeypatch.setattr(layout, "SIGMA", 1e6)
    found = joined_values(places(4, 4), Grid(3, overlap=2), "gaussian", torchio_windows, 8)
    assert np.allclose(found, [[0, 1, 1, 2], [2, 3, 3, 4], [2, 3, 3, 4], [4, 5, 5, 6]], atol=1e-5)


def test_torchio_bad_overlap_mode() -> None:
    """test_bad_overlap_mode."""
    with pytest.raises(OptionError, match="blend must be one of 'hann', 'gaussian', 'crop' or None, got 'bad'"):
        PredictOptions(blend="bad")


def test_torchio_patch_crop_issue() -> None:
    """Issue 813: a bar of 20 px between windows of 102 px that share 4."""
    pixels = np.zeros((320, 1, 3), np.uint8)
    pixels[100:120] = 1
    for blend in ("crop", "hann"):
        model = FunctionModel(lambda images: images[:, :1] * 9 - 4, Grid((102, 1)), codes=("no", "bar"))
        prediction = Prediction([model], open_slide(pixels), PredictOptions(blend=blend, what="probabilities"))
        assert (joined(prediction)[0] == pixels[..., 0]).all()
    rows = layout.Axis.of(320, 102, 4, "crop")
    assert rows.origins == (0, 98, 196, 218)


def test_torchio_bad_aggregator_shape() -> None:
    """Answers of another size than the window have no place."""
    model = FunctionModel(lambda images: images[..., 14:26, 14:26], Grid(40))
    with pytest.raises(OptionError, match=r"windows of shape \(1, 3, 40, 40\) the model gives \(1, 3, 12, 12\)"):
        predicted(model, np.zeros((40, 40, 3), np.uint8))


def test_torchio_locations() -> None:
    """test_locations and test_single_location of the grid sampler, without the first axis."""
    slide = open_slide(np.zeros((20, 30, 3), np.uint8))
    windows = [draw.window for draw in Plan([slide], Grid((20, 20), overlap=6), shuffle=False)]
    assert windows == [Window(0, 0, 20, 20), Window(10, 0, 20, 20)]
    assert [draw.window for draw in Plan([slide], Grid((20, 30)))] == [Window(0, 0, 30, 20)]


@pytest.mark.parametrize(("size", "overlap"), [((21, 5), 2), ((20, 5), 6)])
def test_torchio_errors(size: tuple, overlap: int) -> None:
    """test_large_patch, test_large_overlap."""
    with pytest.raises((OptionError, WindowError), match="overlap must be in 0..4|does not fit into level 0"):
        Plan([open_slide(ArrayRaster(np.zeros((20, 30, 3), np.uint8)))], Grid(size, overlap=overlap))
