"""Windows that cannot be read: told with where they are, or replaced by others, purely and counted."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from patchaug import Foreground, Grid, MissingError, OptionError, Plan, ReadError, Slide, Uniform, open_slide
from patchaug.sampling.plan import TRIES
from patchaug.testing import coordinate_image, coordinate_mask, mask_at, places, write_pyramid

SIDE, TILE = 256, 64


def spoil(path: Path, *tiles: int) -> None:
    """Overwrite some tiles of level 0."""
    with tifffile.TiffFile(path) as tiff:
        spans = [(tiff.pages[0].dataoffsets[k], tiff.pages[0].databytecounts[k]) for k in tiles]
    with path.open("r+b") as file:
        for offset, count in spans:
            file.seek(offset)
            file.write(b"\xaa" * count)


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> list[Slide]:
    """Two coordinate-coded slides; tiles 5 and 6 of the first, row 1, columns 1 and 2, are damaged."""
    folder = tmp_path_factory.mktemp("slides")
    for name in ("a", "b"):
        write_pyramid(folder / f"{name}.tiff", [coordinate_image(SIDE, SIDE)], tile=TILE)
        write_pyramid(folder / f"{name}_mask.tiff", [coordinate_mask(SIDE, SIDE)], tile=TILE)
    spoil(folder / "a.tiff", 5, 6)
    return [open_slide(folder / f"{name}.tiff", folder / f"{name}_mask.tiff", ram=0) for name in "ab"]


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> list[Slide]:
    """The same, larger: windows in place of a bad one are bad themselves in 1 of 13 cases, so TRIES never are in a row.

    (On the small ones, one example in 1500 met 8 bad ones in a row, which is the error that it should be.)
    """
    folder = tmp_path_factory.mktemp("large")
    for name in ("a", "b"):
        write_pyramid(folder / f"{name}.tiff", [coordinate_image(2 * SIDE, 2 * SIDE)], tile=TILE)
        write_pyramid(folder / f"{name}_mask.tiff", [coordinate_mask(2 * SIDE, 2 * SIDE)], tile=TILE)
    spoil(folder / "a.tiff", 9, 10)
    return [open_slide(folder / f"{name}.tiff", folder / f"{name}_mask.tiff", ram=0) for name in "ab"]


def is_bad(draw) -> bool:
    """Whether a window of the first slide touches the damaged tiles."""
    w = draw.window
    return draw.slide == 0 and w.x < 3 * TILE and w.right > TILE and w.y < 2 * TILE and w.bottom > TILE


SAMPLERS = [
    Uniform(40, per_slide=50),
    Foreground(32, per_slide=40, foreground=0.5),
    Grid(64, overlap=9),
    Grid(60, offset="random"),
]


@pytest.mark.filterwarnings("ignore:.*was replaced")
@pytest.mark.parametrize("sampler", SAMPLERS, ids=str)
@settings(max_examples=15)
@given(seed=st.integers(0, 2**32 - 1), epoch=st.integers(0, 2**31))
def test_replacements_are_pure_paired_and_counted(large: list[Slide], sampler, seed: int, epoch: int) -> None:
    """A second plan gives the same bytes in any order; readable windows stay; the count is that of the bad ones."""
    plan, other = (Plan(large, sampler, seed=seed, on_error="resample") for _ in "ab")
    n = len(plan)
    draws = [plan[epoch * n + place] for place in range(n)]
    patches = [plan.read(draw) for draw in draws]
    again = [other.read(draw) for draw in reversed(draws)][::-1]
    bad = sum(map(is_bad, draws))
    assert plan.replaced == other.replaced == ({"a.tiff": bad} if bad else {})
    for draw, one, two in zip(draws, patches, again, strict=True):
        assert np.array_equal(one.image, two.image) and np.array_equal(one.mask, two.mask)
        x0, y0 = places(one.image)
        assert np.array_equal(one.mask, mask_at(x0, y0))
        corner = (int(x0[0, 0]), int(y0[0, 0]))
        assert (corner == (draw.window.x, draw.window.y)) != is_bad(draw)
        if is_bad(draw) and isinstance(sampler, Grid):  # another window of the same epoch's grid
            assert corner in {(d.window.x, d.window.y) for d in draws if d.slide == 0}


@pytest.mark.filterwarnings("ignore:.*was replaced")
def test_replacements_differ_between_draws_and_epochs(slides: list[Slide]) -> None:
    """Their key is that of the draw: no two bad windows share their replacement, but by chance."""
    plan = Plan(slides[:1], Uniform(40, per_slide=200), on_error="resample")
    found = []
    for index in range(2 * len(plan)):
        if is_bad(plan[index]):
            image = plan.read(plan[index]).image
            found.append(tuple(int(v[0, 0]) for v in places(image)))
    assert len(found) > 100 and len(set(found)) > 0.98 * len(found)


def test_the_default_is_to_raise_with_where_it_was(slides: list[Slide]) -> None:
    """The last line is short, and holds slide, level, window, seed and index."""
    plan = Plan(slides, Grid(64), seed=7, shuffle=False)
    place = r"slide a\.tiff, level 0, window x=64 y=64 64 x 64; seed 7, index 5$"
    with pytest.raises(ReadError, match=place) as caught:
        plan.read(plan[5])
    assert len(str(caught.value).splitlines()[-1]) <= 300
    assert type(pickle.loads(pickle.dumps(caught.value))) is ReadError


def test_the_last_line_stays_short(tmp_path: Path) -> None:
    """However long the path is."""
    folder = tmp_path / ("long" * 50) / ("longer" * 30)
    folder.mkdir(parents=True)
    write_pyramid(folder / "a.tiff", [coordinate_image(SIDE, SIDE)], tile=TILE)
    spoil(folder / "a.tiff", 0)
    plan = Plan([open_slide(folder / "a.tiff", ram=0)], Grid(64), seed=2**32 - 1, shuffle=False)
    with pytest.raises(ReadError) as caught:
        plan.read(plan[16 * (2**32 - 1)])
    last = str(caught.value).splitlines()[-1]
    assert (
        len(last) <= 300 and last.startswith("slide a.tiff, level 0, window x=0 y=0") and "seed 4294967295, ind" in last
    )


def test_a_file_that_goes_away_is_told_with_where_it_was(tmp_path: Path) -> None:
    """Missing by then, or another file by then."""
    write_pyramid(tmp_path / "a.tiff", [coordinate_image(SIDE, SIDE)])
    for on_error, told in (("raise", "^"), ("resample", f"^{TRIES} windows drawn in place of this one could not be")):
        slide = open_slide(tmp_path / "a.tiff", ram=0)
        plan = Plan([slide], Uniform(20), seed=3, on_error=on_error)
        draw = plan[0]
        fresh = pickle.loads(pickle.dumps(plan))  # as a worker has it, that opens the slide itself
        (tmp_path / "a.tiff").rename(tmp_path / "b.tiff")
        where = r"(.|\n)*slide a.tiff, level 0, window x=.*; seed 3, index 0$"
        with pytest.raises((MissingError, ReadError), match=rf"{told}.*no such file{where}"):
            plan.read(draw)
        with pytest.raises(MissingError, match="no such file; seed 3, index 4$"):
            fresh[4]
        write_pyramid(tmp_path / "a.tiff", [coordinate_image(SIDE, SIDE + 16)])
        with pytest.raises(ReadError, match=r"file changed(.|\n)*; seed 3, index 0$"):
            plan.read(draw)
        (tmp_path / "b.tiff").rename(tmp_path / "a.tiff")


def test_never_silent(slides: list[Slide]) -> None:
    """The first window of a slide is told at once, the sum when a loader asks for it, and then only what is new."""
    plan = Plan(slides, Grid(64), shuffle=False, on_error="resample")
    with pytest.warns(UserWarning, match=r"a.tiff: a window was replaced by another: (.|\n)*seed 42, index 5"):
        plan.read(plan[5])
    plan.read(plan[6])
    with pytest.warns(UserWarning, match="2 windows could not be read and were replaced: a.tiff 2"):
        plan.tell_replaced()
    plan.tell_replaced()
    plan.read(plan[6])
    with pytest.warns(UserWarning, match="1 windows could not be read and were replaced: a.tiff 1"):
        plan.tell_replaced()
    assert plan.replaced == {"a.tiff": 3}
    assert pickle.loads(pickle.dumps(plan)).replaced == {}
    with pytest.raises(
        OptionError, match='on_error must be "raise" or "resample", got "skip"'.replace('"skip"', "'skip'")
    ):
        Plan(slides, Grid(64), on_error="skip")
