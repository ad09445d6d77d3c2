"""How the engine ends, what it holds, and how it groups windows."""

import threading
import tracemalloc
from itertools import islice

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from patchaug import Grid, OptionError, ReadError, open_slide
from patchaug.predict.bands import Prediction
from patchaug.predict.carried_rows import CarriedRows
from patchaug.predict.options import PredictOptions
from patchaug.predict.probabilities import classes_of, highest
from patchaug.predict.read_ahead import read_ahead
from patchaug.testing import coordinate_image
from tests.torn import Torn

from .models import CODES, FunctionModel, predicted
from .test_bands import pointwise

PIXELS = np.random.default_rng(0).integers(0, 256, (100, 90, 3), np.uint8)


def threads() -> set[str]:
    """Names of the engine's threads that are alive."""
    return {one.name for one in threading.enumerate() if one.name.startswith("patchaug")}


def test_batches_hold_windows_of_one_row() -> None:
    """But for the class map of predict_slide, which fills them."""
    model = FunctionModel(pointwise, Grid(20), batch_size=3)
    predicted(model, PIXELS)
    rows = [[5 * row + k for k in range(5)] for row in range(5)]
    assert model.batches == [part for row in rows for part in (row[:3], row[3:])]
    model.batches.clear()
    list(Prediction([model], open_slide(PIXELS), PredictOptions(blend="crop"), plain=True).bands())
    assert model.batches == [list(range(at, min(at + 3, 25))) for at in range(0, 25, 3)]


def test_bands_may_be_left_early() -> None:
    """Threads and the model's evaluation end; nothing more is read."""
    model = FunctionModel(pointwise, Grid(20, overlap=5), batch_size=1)
    bands = Prediction([model], open_slide(PIXELS), PredictOptions()).bands()
    assert len(list(islice(bands, 2))) == 2 and threads()
    bands.close()
    assert not threads() and len(model.batches) < 30


@pytest.mark.parametrize("reads_only", [True, False])
def test_errors_arrive_from_all_threads(reads_only: bool) -> None:
    """Of reading, of the model, and of joining; each once, and no thread is left."""
    torn = FunctionModel(pointwise, Grid(32))
    torn.reads_only = reads_only
    with pytest.raises(ReadError, match="torn"):
        list(Prediction([torn], open_slide(Torn([coordinate_image(256, 256)])), PredictOptions()).bands())

    def broken(images: torch.Tensor) -> torch.Tensor:
        raise ArithmeticError("the model")

    with pytest.raises(ArithmeticError, match="the model"):
        predicted(FunctionModel(broken, Grid(32)), PIXELS)
    pixels = np.full((90, 90, 3), 100, np.uint8)
    pixels[40, 40] = 3
    diverged = FunctionModel(lambda images: torch.where(images == 3, float("nan"), images), Grid(30))
    with pytest.raises(OptionError, match="gives NaN for 1 of the 3 windows"):
        predicted(diverged, pixels)
    assert not threads()


def test_reading_is_one_batch_ahead() -> None:
    """While the model works on a batch, the next one is read, and no more."""
    model = FunctionModel(pointwise, Grid(20), batch_size=1)
    prediction = Prediction([model], open_slide(PIXELS), PredictOptions())
    model.over(prediction.slide, prediction.plan, [[k] for k in range(10)], None)
    read = read_ahead([model])
    for number in range(5):
        next(read)
        assert len(model.batches) in (number + 1, number + 2)
    read.close()


@pytest.mark.parametrize("classes", [2, 3, 300])
def test_the_highest_score_is_that_of_argmax(classes: int) -> None:
    """Ties go to the first, as in torch."""
    scores = torch.randint(-2, 3, (2, classes, 70, 9), generator=torch.Generator().manual_seed(0)).float()
    for one in (scores, scores.half(), scores.bfloat16()):
        found = classes_of(one)
        assert (found == scores.argmax(1).numpy()).all() and found.dtype == (np.uint8 if classes < 257 else np.uint16)
    assert (highest(scores[0].numpy()) == scores[0].argmax(0).numpy()).all()


def test_memory_does_not_grow_with_the_slide(monkeypatch) -> None:
    """NumPy's part of it, for probabilities that are taken piece by piece; what windows share waits in a file."""
    monkeypatch.setattr("patchaug.predict.carried_rows._HELD", 2**18)

    def peak(height: int, width: int) -> int:
        slide = open_slide(np.broadcast_to(np.uint8(7), (height, width, 3)))
        model = FunctionModel(pointwise, Grid(128, overlap=64), codes=CODES)
        pieces = Prediction([model], slide, PredictOptions(what="probabilities")).run(lambda piece: None)
        tracemalloc.start()
        assert list(pieces) == []
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(256, 1024)  # what is imported late
    small = peak(256, 2048)
    assert peak(1024, 2048) < small + 2**20 and peak(256, 16384) < small + 2**20
    assert small < 12 * 3 * 4 * 128**2 * 3  # bytes of the batches that are on their way


@settings(max_examples=settings.default.max_examples // 4)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 40)), max_size=40), st.sampled_from([0, 100, 2**24]))
def test_carried_rows_come_back(steps: list[tuple[int, int]], held: int) -> None:
    """From memory or from the file, whatever size they had before."""
    expected: dict[int, np.ndarray] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("patchaug.predict.carried_rows._HELD", held)
        carried = CarriedRows()
        for count, (number, size) in enumerate(steps):
            back, known = carried.pop(number), expected.pop(number, None)
            assert (back is None and known is None) or np.array_equal(back, known)
            if size:
                expected[number] = np.arange(count, count + 2 * size, dtype=np.float32).reshape(2, size)
                carried.put(number, expected[number])
