"""Scores streamed by bands equal those that brute force finds on the whole maps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchaug import LabelError
from patchaug.predict.bootstrap import bootstrap_intervals
from patchaug.predict.boundary import BoundaryCounter
from patchaug.predict.objects import ObjectCounter
from patchaug.predict.scores import ScoreCounts, as_report, count_pixels, scores_of, sum_counts

ndimage = pytest.importorskip("scipy.ndimage")


@st.composite
def maps(draw, classes: int = 3):
    """Two maps of blobs of several sizes, of 0..classes - 1, and unlabelled pixels (9) in the first; where to cut."""
    height, width = draw(st.integers(1, 24)), draw(st.integers(1, 24))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    grain = draw(st.sampled_from([1, 2, 5]))

    def blobs():
        small = random.integers(0, classes, (height // grain + 1, width // grain + 1))
        return np.kron(small, np.ones((grain, grain), int))[:height, :width].astype(np.uint8)

    truth, guess = blobs(), blobs()
    same = random.random(truth.shape) < draw(st.sampled_from([0, 0.5, 0.9]))
    guess[same] = truth[same]
    truth[random.random(truth.shape) < draw(st.sampled_from([0, 0.05]))] = 9
    cuts = sorted(draw(st.sets(st.integers(1, max(height - 1, 1)), max_size=5)))
    return truth, guess, [0, *(cut for cut in cuts if cut < height), height]


def streamed(counter, truth, guess, cuts):
    """Add the maps to a counter band by band."""
    for top, bottom in zip(cuts, cuts[1:], strict=False):
        counter.add(truth[top:bottom], guess[top:bottom], 9)
    return counter


def edge_of(values, number):
    """Boundary pixels of a class, pixel by pixel; -1 is no class."""
    edge = np.zeros(values.shape, bool)
    for y, x in np.argwhere(values == number):
        for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0)):
            inside = 0 <= y + dy < values.shape[0] and 0 <= x + dx < values.shape[1]
            edge[y, x] |= inside and values[y + dy, x + dx] not in (-1, number)
    return edge


@given(
    maps(), st.sampled_from([0.5, 1.0, 2.0, 2.5, 2**0.5, 7.0]), st.sampled_from([(1.0, 1.0), (0.5, 0.5), (1.0, 0.4)])
)
def test_boundaries_are_those_of_the_distance_transform(both, tolerance, pixel):
    """Counts of boundary pixels within the tolerance, by scipy's exact distance transform, wherever bands are cut."""
    truth, guess, cuts = both
    counter = streamed(BoundaryCounter(3, tolerance, pixel), truth, guess, cuts)
    counter.end()
    labelled, predicted = (np.where(truth == 9, -1, values.astype(int)) for values in (truth, guess))
    for number in range(3):
        ours, theirs = edge_of(predicted, number), edge_of(labelled, number)
        expected = []
        for one, other in ((ours, theirs), (theirs, ours)):
            if other.any():
                distance = ndimage.distance_transform_edt(~other, sampling=pixel[::-1])
                expected += [one.sum(), (one & (distance <= tolerance * (1 + 1e-10))).sum()]
            else:
                expected += [one.sum(), 0]
        assert counter.counts[number].tolist() == expected


@given(maps(), st.integers(0, 2))
def test_objects_are_those_of_connected_components(both, number):
    """Numbers of objects, matches and IoU, by scipy's labels of the whole maps, wherever bands are cut."""
    truth, guess, cuts = both
    counted = streamed(ObjectCounter(number), truth, guess, cuts).counts()
    ours, labelled = ndimage.label((truth == number) & (truth != 9))
    theirs, predicted = ndimage.label((guess == number) & (truth != 9))
    ious = []
    for one in range(1, labelled + 1):
        for other in range(1, predicted + 1):
            both_ = ((ours == one) & (theirs == other)).sum()
            ious.append(both_ / ((ours == one) | (theirs == other)).sum())
    matched = [iou for iou in ious if iou > 0.5]
    assert counted[:3].tolist() == [labelled, predicted, len(matched)]
    assert counted[3] == pytest.approx(sum(matched), abs=1e-12)


def test_a_spiral_is_one_object():
    """Runs that are joined only by rows far away, in both directions."""
    spiral = np.zeros((9, 9), np.uint8)
    spiral[0, :] = spiral[:, 8] = spiral[8, :] = spiral[2:, 0] = spiral[2, :7] = spiral[2:7, 6] = spiral[6, 2:7] = 1
    spiral[4, 4] = 1  # on its own
    for step in (1, 2, 9):
        counter = ObjectCounter(1)
        for top in range(0, 9, step):
            counter.add(spiral[top : top + step], spiral[top : top + step])
        assert counter.counts().tolist() == [2, 2, 2, 2]


@given(maps(), st.integers(1, 3))
def test_scores_of_sums_are_those_of_the_whole(both, seed):
    """Counts of bands add up; scores are those of their definitions, and None without pixels."""
    truth, guess, cuts = both
    bands = [
        ScoreCounts(count_pixels(truth[a:b], guess[a:b], 4, 9)) for a, b in zip(cuts, cuts[1:], strict=False)
    ]  # fmt: skip
    counts = sum_counts(bands)
    scores = scores_of(counts)
    known = truth != 9
    for number in range(4):
        ours, theirs = (truth == number) & known, (guess == number) & known
        for name, part, whole in (
            ("dice", 2 * (ours & theirs).sum(), ours.sum() + theirs.sum()),
            ("iou", (ours & theirs).sum(), (ours | theirs).sum()),
            ("precision", (ours & theirs).sum(), theirs.sum()),
            ("recall", (ours & theirs).sum(), ours.sum()),
        ):
            value = as_report(scores[name], "abcd")["abcd"[number]]
            assert value is None if whole == 0 else value == pytest.approx(part / whole)
    accuracy = float(counts.accuracy())
    assert np.isnan(accuracy) if not known.any() else accuracy == pytest.approx((truth == guess)[known].mean())


def test_boundary_f1_without_boundaries():
    """Neither has one: no score. One of them has: 0."""
    boundary = np.array([[0, 0, 0, 0], [5, 0, 0, 0], [4, 2, 2, 2], [3, 0, 2, 0]])
    scores = scores_of(ScoreCounts(np.eye(4, dtype=int), boundary))["boundary_f1"]
    assert np.isnan(scores[0]) and scores[1:].tolist() == [0, pytest.approx(2 / 3), 0]


@pytest.mark.parametrize(
    ("truth", "guess", "text"), [([3], [0], "mask holds class 3"), ([0], [-1], "map holds class -1")]
)
def test_unknown_classes_are_an_error(truth, guess, text):
    with pytest.raises(LabelError, match=text):
        count_pixels(np.array(truth), np.array(guess), 3, None)


def test_intervals_are_those_of_a_bootstrap_over_slides():
    """Against numbers that a loop finds; seeded; equal slides have no width; one slide has none."""
    random = np.random.default_rng(1)
    slides = [ScoreCounts(random.integers(1, 50, (2, 2))) for _ in range(6)]
    found = bootstrap_intervals(slides, samples=4000)
    scores = []
    for _ in range(4000):
        drawn = [slides[number] for number in random.integers(0, 6, 6)]
        scores.append(scores_of(sum_counts(drawn))["iou"])
    expected = np.percentile(scores, [2.5, 97.5], axis=0)
    assert np.abs(found["iou"] - expected).max() < 0.03
    assert np.array_equal(found["iou"], bootstrap_intervals(slides, samples=4000)["iou"])
    assert not np.array_equal(found["iou"], bootstrap_intervals(slides, samples=4000, seed=7)["iou"])
    same = bootstrap_intervals([slides[0]] * 3)["dice"]
    assert np.array_equal(same[0], same[1]) and np.allclose(same[0], scores_of(slides[0])["dice"])
    assert np.isnan(bootstrap_intervals(slides[:1])["dice"]).all()
