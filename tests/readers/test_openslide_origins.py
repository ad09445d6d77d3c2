"""Where OpenSlide is asked to begin: whole level-0 pixels that are as good as on the level's grid."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from patchaug.readers.openslide_origins import LONGEST, LOOK_BACK, SIDE, pieces

odd = st.builds(lambda whole, part: whole + part, st.integers(1, 64), st.floats(1e-5, 1 - 1e-5))
downsamples = st.one_of(odd, st.integers(1, 64).map(float), st.sampled_from([4.0001, 16.0056, 2.0005, 2.5, 300.7]))


@example(downsample=4.0001, offset=0, start=0, length=9000, truncates=False, by_block=False)
@example(downsample=4.0001, offset=0, start=0, length=9000, truncates=True, by_block=False)
@example(downsample=64.9, offset=1248, start=22233, length=9000, truncates=True, by_block=False)  # 32480 * 64.9
@given(
    downsample=downsamples,
    offset=st.integers(0, 10_000),
    start=st.integers(0, 300_000),
    length=st.integers(1, 9000),
    truncates=st.booleans(),
    by_block=st.booleans(),
)
def test_the_pieces_of_an_axis(
    downsample: float, offset: int, start: int, length: int, truncates: bool, by_block: bool
) -> None:
    """They follow on each other, read no more than stated, and are as near to the grid as stated."""
    found = pieces(downsample, offset, start, start + length, truncates=truncates, by_block=by_block)
    assert [piece.start for piece in found] == [start, *(piece.stop for piece in found[:-1])]
    assert found[-1].stop == start + length
    for piece in found:
        assert 0 <= piece.before < SIDE + LOOK_BACK and piece.stop > piece.start
        assert downsample.is_integer() or piece.before + piece.stop - piece.start <= LONGEST
        first = offset + piece.start - piece.before
        off = piece.l0_origin / downsample - first
        if truncates:  # the least origin that OpenSlide divides to the pixel
            assert (piece.l0_origin - 1) / downsample < first <= piece.l0_origin / downsample
        else:
            assert abs(off) <= 0.5 / downsample + 1e-9
        assert piece.exact == (abs(off) < (1e-15 if truncates else 1 / 512))
        if not truncates and abs(off) >= 1 / 512:  # then no nearer one was within reach of the block
            block = offset + piece.start // SIDE * SIDE
            assert first == block
            for pixel in range(max(block - LOOK_BACK, 0), block + 1):
                assert abs(round(pixel * downsample) / downsample - pixel) > 1 / 512 - 2e-9


@given(downsample=odd, start=st.integers(0, 5000), length=st.integers(1, 900), truncates=st.booleans())
def test_where_a_pixel_lies_does_not_depend_on_the_window(
    downsample: float, start: int, length: int, truncates: bool
) -> None:
    """Its place in OpenSlide's plane is the same in any window, or nearer to the grid than OpenSlide can tell."""

    def places(a: int, b: int) -> dict[int, float]:
        off = {}
        for piece in pieces(downsample, 3, a, b, truncates=truncates):
            there = piece.l0_origin / downsample - 3 - (piece.start - piece.before)
            off |= dict.fromkeys(
                range(piece.start, piece.stop), 0.0 if abs(there) < (0 if truncates else 1 / 512) else there
            )
        return off

    whole = places(0, start + length)
    for pixel, off in places(start, start + length).items():
        assert off == pytest.approx(whole[pixel])


@pytest.mark.parametrize("downsample", [16.0056, 2.71828, 7.123, 2.5])
def test_common_ratios_are_exact_everywhere(downsample: float) -> None:
    """Of the ratios that scanners write, those that are not next to a small fraction always find an origin."""
    for piece in pieces(downsample, 0, 0, 40_000):
        off = piece.l0_origin / downsample - (piece.start - piece.before)
        assert abs(off) < 1 / 512


@given(downsample=odd, start=st.integers(0, 5000), length=st.integers(1, 900))
def test_a_block_has_one_origin(downsample: float, start: int, length: int) -> None:
    """Whatever the window."""

    def origins(a: int, b: int) -> dict[int, tuple[int, int]]:
        found = pieces(downsample, 3, a, b, by_block=True)
        return {piece.start // SIDE: (piece.l0_origin, piece.start - piece.before) for piece in found}

    assert origins(start, start + length).items() <= origins(0, start + length).items()
