"""Laws of the prediction of whole slides, for models that are functions of the windows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch")

import torch

from patchaug import Grid, Window, open_slide
from patchaug.predict.bands import Prediction
from patchaug.predict.options import PredictOptions
from patchaug.testing import coordinate_image

from .models import CODES, FunctionModel, joined, predicted

BLENDS = st.sampled_from(["hann", "gaussian", "crop"])


@st.composite
def grids(draw: st.DrawFn) -> tuple[np.ndarray, Grid]:
    """A picture of any size, and a grid over it of up to six rows and columns, of any overlap."""
    lengths = draw(st.integers(1, 60)), draw(st.integers(1, 60))
    sides = [draw(st.integers(-(-length // 5), length)) for length in lengths]
    most = min(side - max(-(-(length - side) // 5), 1) for side, length in zip(sides, lengths, strict=True))
    pixels = np.random.default_rng(lengths).integers(0, 256, (*lengths, 3), np.uint8)
    return pixels, Grid((sides[0], sides[1]), overlap=draw(st.integers(0, max(most, 0))))


def pointwise(images: torch.Tensor) -> torch.Tensor:
    """Three scores of each pixel, from that pixel alone."""
    return (images - 100) / torch.tensor([20.0, 31.0, 47.0])[:, None, None]


def softmax(scores: torch.Tensor) -> np.ndarray:
    """The probabilities of a whole picture."""
    return torch.softmax(scores, dim=1)[0].numpy()


def as_batch(pixels: np.ndarray) -> torch.Tensor:
    """A picture as a batch of one window."""
    return torch.from_numpy(pixels.astype(np.float32)).permute(2, 0, 1)[None]


@given(grids(), BLENDS, st.integers(1, 9), st.sampled_from([None, "d4"]))
def test_a_pointwise_model_gives_its_own_answer(drawn: tuple, blend: str, batch: int, tta: str | None) -> None:
    """For any size, overlap, blend and batch; to 1e-6."""
    pixels, grid = drawn
    model = FunctionModel(pointwise, grid, batch_size=batch)
    classes, probabilities, spread = predicted(model, pixels, blend=blend, tta=tta, spread=True)
    expected = softmax(pointwise(as_batch(pixels)))
    assert np.abs(probabilities - expected).max() <= 1e-6 and np.abs(spread).max() <= 1e-6
    assert (classes == probabilities.argmax(0)).all()
    alone = predicted(model, pixels, blend=blend, tta=tta, what="classes")
    assert alone[1] is None and alone[2] is None
    clear = np.sort(expected, axis=0)[-1] - np.sort(expected, axis=0)[-2] > 2e-6
    assert (alone[0] == expected.argmax(0))[clear].all()


@given(grids(), BLENDS, st.data())
def test_any_band_starts_anew_with_the_same_bytes(drawn: tuple, blend: str, data: st.DataObject) -> None:
    """A model whose answer depends on the whole batch, so that other batches would be other bytes."""
    pixels, grid = drawn

    def mixing(images: torch.Tensor) -> torch.Tensor:
        return pointwise(images) * images.mean() / 100 + images.sum((1, 2, 3), keepdim=True) / 1e6

    prediction = Prediction(
        [FunctionModel(mixing, grid)], open_slide(pixels),
        PredictOptions(blend=blend, what=data.draw(st.sampled_from(["classes", "probabilities"])), spread=True),
    )  # fmt: skip
    first = data.draw(st.integers(0, len(prediction.starts) - 1))
    stop = data.draw(st.integers(first, len(prediction.starts)))
    whole = list(prediction.bands())[first:stop]
    for one, other in zip(whole, prediction.bands(first, stop), strict=True):
        assert one.top == other.top
        for a, b in zip(one[1:], other[1:], strict=True):
            assert (a is None and b is None) or a.tobytes() == b.tobytes()
    assert list(prediction.bands(len(prediction.starts))) == []
    left, number = 0, first  # pieces follow each other from left to right, and are the bands
    for piece in prediction.run(lambda piece: piece, first, stop):
        rows, width = piece.classes.shape
        band = whole[number - first]
        assert (piece.number, piece.top, piece.left, rows) == (number, band.top, left, len(band.classes))
        assert (piece.classes == band.classes[:, left : left + width]).all()
        left, number = (0, number + 1) if piece.last else (left + width, number)
    assert (left, number) == (0, stop)


def test_a_rectangle_is_part_of_the_whole() -> None:
    """The same windows answer, and the frame says where it lies."""
    pixels = coordinate_image(90, 70)
    model = FunctionModel(
        lambda images: pointwise(images) + images.mean((2, 3), keepdim=True) / 50, Grid(32, overlap=9)
    )
    for blend in ("hann", "crop"):
        whole = predicted(model, pixels, blend=blend)
        options = PredictOptions(what="probabilities", blend=blend, region=Window(17, 25, 40, 31))
        prediction = Prediction([model], open_slide(pixels, mpp=0.5), options)
        classes, probabilities, _ = joined(prediction)
        assert (classes == whole[0][25:56, 17:57]).all() and (probabilities == whole[1][:, 25:56, 17:57]).all()
        frame = prediction.frame
        assert (frame.width, frame.height, frame.l0_x, frame.l0_y, frame.mpp) == (40, 31, 17, 25, (0.5, 0.5))
        assert frame.codes == CODES
