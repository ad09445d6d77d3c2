"""How often places are seen: counted by hand, and drawn as the law states."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patchaug import Foreground, Grid, OptionError, Uniform, Window, open_slide
from patchaug.viz import show_coverage, show_density, show_windows
from patchaug.viz.coverage_maps import count_coverage, expected_coverage, pixel_centres
from patchaug.viz.windows import epoch_windows

MASK = np.zeros((30, 41), np.uint8)
MASK[3:9, 30:38], MASK[20:, :4] = 1, 2
SLIDE = open_slide(np.full((30, 41, 3), 200, np.uint8), MASK, name="s")

BOXES = st.tuples(st.integers(0, 30), st.integers(0, 20), st.integers(1, 11), st.integers(1, 10))


@given(st.lists(BOXES, max_size=9), st.integers(1, 41), st.integers(1, 30))
def test_times_seen_counts_the_windows_around_each_place(boxes: list, columns: int, rows: int) -> None:
    """Places need not be pixels."""
    windows = [Window(*box) for box in boxes]
    across, down = (np.arange(columns) + 0.5) * 41 / columns, (np.arange(rows) + 0.5) * 30 / rows
    got = count_coverage(windows, across, down)
    assert got.shape == (rows, columns)
    for row, y in enumerate(down):
        for column, x in enumerate(across):
            assert got[row, column] == sum(w.x <= x < w.right and w.y <= y < w.bottom for w in windows)


@settings(max_examples=15)
@given(st.sampled_from([Uniform, Foreground]), st.integers(1, 20), st.integers(1, 20))
def test_the_chance_of_being_seen_is_that_of_all_windows_around_a_place(kind, height: int, width: int) -> None:
    """Few origins are all looked at, so the sum is exact, and the map adds up to a window's pixels."""
    sampler = kind((height, width))
    law = sampler.distribution(SLIDE)
    across, down = pixel_centres(law.domain, (30, 41), 1.0)
    chance = expected_coverage(law, across, down)
    assert chance is not None and chance.sum() == pytest.approx(height * width)
    x, y = 33, 5
    around = [
        law.probability(a, b)
        for a in range(max(x - width + 1, 0), min(x, 41 - width) + 1)
        for b in range(max(y - height + 1, 0), min(y, 30 - height) + 1)
    ]
    assert chance[y, x] == pytest.approx(sum(around))


def test_drawn_windows_see_places_as_often_as_stated() -> None:
    """20,000 windows: no place is off by more than five standard deviations."""
    sampler = Foreground(8, per_slide=20_000, foreground=0.5, classes={1: 3.0, 2: 1.0})
    law = sampler.distribution(SLIDE)
    across, down = pixel_centres(law.domain, (30, 41), 1.0)
    seen = count_coverage(next(iter(epoch_windows(SLIDE, sampler, 5, 1))), across, down)
    chance = expected_coverage(law, across, down)
    assert chance is not None
    assert (np.abs(seen - 20_000 * chance) <= 5 * np.sqrt(20_000 * chance * (1 - chance)) + 1e-6).all()


def test_no_chance_is_stated_where_none_is_known() -> None:
    """Grids hold every place; a least fraction has no closed form."""
    for sampler in (Grid(8), Foreground(8, min_fraction=0.2)):
        law = sampler.distribution(SLIDE)
        assert expected_coverage(law, *pixel_centres(law.domain, (30, 41), 1.0)) is None
        assert len(show_density(SLIDE, sampler, epochs=1).axes) == 2  # one map and its bar


def test_coverage_ends_where_the_windows_do() -> None:
    """The curve is the share of pixels in any window so far; a grid sees all in one epoch."""
    sampler = Uniform(8, per_slide=5)
    figure = show_coverage(SLIDE, sampler, epochs=3, seed=2)
    line = figure.axes[1].lines[0].get_ydata()
    seen = np.zeros((30, 41), bool)
    for number, windows in enumerate(epoch_windows(SLIDE, sampler, 2, 3), 1):
        for w in windows:
            seen[w.y : w.bottom, w.x : w.right] = True
        assert line[number] == pytest.approx(seen.mean())
    assert show_coverage(SLIDE, Grid(8), epochs=1).axes[1].lines[0].get_ydata()[-1] == 1


def test_windows_of_epochs_are_those_of_a_plan_and_have_colours_of_their_own() -> None:
    """Three epochs of four windows."""
    figure = show_windows(SLIDE, Uniform(8, per_slide=4), epochs=3)
    assert len({patch.get_edgecolor() for patch in figure.axes[0].patches}) == 3
    assert len(figure.axes[0].patches) == 12
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts[:3] == [f"windows of epoch {k}: 4" for k in (1, 2, 3)]
    with pytest.raises(OptionError, match="epochs must be in 1"):
        show_windows(SLIDE, Uniform(8), epochs=0)
