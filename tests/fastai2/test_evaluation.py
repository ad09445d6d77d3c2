"""Evaluation of whole slides: the scores are those of the predicted map and the mask, counted at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fastai.vision.all import Learner

from patchaug import FrameError, OptionError, Window, open_slide
from patchaug.fastai import RandomPatch, SlideDataLoaders
from patchaug.predict.boundary import BoundaryCounter
from patchaug.predict.evaluation import evaluate_slide
from patchaug.predict.objects import ObjectCounter
from patchaug.predict.scores import count_pixels

CODES = ["rest", "cell", "wall"]


@pytest.fixture(scope="module")
def learn():
    image, mask = np.zeros((150, 170, 3), np.uint8), np.zeros((150, 170), np.uint8)
    dls = SlideDataLoaders.from_lists(
        [(image, mask)], [(image.copy(), mask)], codes=CODES, item_tfms=RandomPatch(64, overlap=16), bs=1,
        num_workers=0,
    )  # fmt: skip
    torch.manual_seed(1)
    return Learner(dls, torch.nn.Sequential(torch.nn.InstanceNorm2d(3), torch.nn.Conv2d(3, 3, 5, padding=2)))


@pytest.fixture(scope="module")
def slide():
    """Noise in blocks, and a mask in other blocks with unlabelled pixels."""
    random = np.random.default_rng(0)
    image = np.kron(random.integers(0, 256, (15, 17, 3), np.uint8), np.ones((10, 10, 1), np.uint8))
    mask = np.kron(random.integers(0, 3, (10, 10)).astype(np.uint8), np.ones((15, 17), np.uint8))
    mask[20:40, 30:90] = 255
    return open_slide(image, mask, name="made", codes=CODES, ignore_index=255, mpp=(0.5, 0.25))


@pytest.mark.parametrize("options", [{}, {"overlap": 0, "blend": "crop"}, {"region": Window(20, 10, 100, 120)}])
def test_scores_are_those_of_the_whole_map(learn, slide, options):
    """Confusion, boundaries, objects and the worst windows, from the map and the mask in memory."""
    found = evaluate_slide(learn, slide, tolerance=1.1, objects=["cell", "wall"], worst=3, **options)
    region = options.get("region", Window(0, 0, 170, 150))
    from patchaug.predict.bands import open_prediction
    from patchaug.predict.options import PredictOptions

    predicted = np.concatenate([b.classes for b in open_prediction(learn, slide, PredictOptions(**options)).bands()])
    truth = slide.read_mask(region)
    assert len(np.unique(predicted)) == 3 and predicted.shape == truth.shape
    assert np.array_equal(found.counts.confusion, count_pixels(truth, predicted, 3, 255))
    boundary = BoundaryCounter(3, 1.1, (0.5, 0.25))
    boundary.add(truth, predicted, 255)
    boundary.end()
    assert np.array_equal(found.counts.boundary, boundary.counts)
    for number in (1, 2):
        objects = ObjectCounter(number)
        objects.add(truth, predicted, 255)
        assert np.allclose(found.counts.objects[number], objects.counts())
    assert found.counts.objects[0].tolist() == [0, 0, 0, 0]
    wrong = (truth != predicted) & (truth != 255)
    cells = {
        (y, x): int(wrong[y : y + 64, x : x + 64].sum())
        for y in range(0, region.height, 64)
        for x in range(0, region.width, 64)
    }
    assert [one.wrong for one in found.worst] == sorted(cells.values(), reverse=True)[:3]
    for one in found.worst:
        assert one.window.inside(170, 150) and (one.window.width, one.window.height) == (64, 64)
        assert one.wrong <= one.labelled <= 64 * 64


def test_what_does_not_fit_is_an_error(learn, slide):
    """Other classes, no mask, no micrometres, an unknown object."""
    image = slide.read(Window(0, 0, 170, 150)).image
    mask = np.zeros((150, 170), np.uint8)
    with pytest.raises(FrameError, match="no mask"):
        evaluate_slide(learn, slide.without_mask())
    with pytest.raises(OptionError, match="the model has the classes rest, cell, wall, and the mask a, b"):
        evaluate_slide(learn, open_slide(image, mask, name="x", codes=["a", "b"]))
    with pytest.raises(OptionError, match="states no micrometres per pixel; set mpp"):
        evaluate_slide(learn, open_slide(image, mask, name="x", codes=CODES), tolerance=2)
    with pytest.raises(OptionError, match="objects are of the classes rest, cell, wall, got 'nucleus'"):
        evaluate_slide(learn, slide, objects=["nucleus"])
    # Labels that are all right: no window is the worst.
    good = evaluate_slide(learn, open_slide(image, learn.predict_slide(image), name="y", codes=CODES), blend="crop")
    assert good.worst == () and good.counts.accuracy() == 1
