"""Coordinate-coded images: each pixel encodes its position."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from patchaug.testing import coordinate_image, coordinate_mask, decode_coordinates, mask_at


@given(st.integers(1, 70), st.integers(1, 70), st.integers(1, 40))
def test_pixels_encode_their_position(width, height, downsample):
    """Decoding gives the centre of each pixel in level-0 coordinates, and the mask depends on those alone."""
    x0, y0 = decode_coordinates(coordinate_image(width, height, downsample))
    assert np.array_equal(x0, np.tile(np.arange(width) * downsample + downsample // 2, (height, 1)))
    assert np.array_equal(y0.T, np.tile(np.arange(height) * downsample + downsample // 2, (width, 1)))
    assert np.array_equal(coordinate_mask(width, height, downsample), mask_at(x0, y0))


def test_no_two_places_look_alike():
    """12 bits an axis: all 4096 columns and rows differ."""
    wide, tall = coordinate_image(4096, 1), coordinate_image(1, 4096)
    assert len(np.unique(wide.reshape(-1, 3), axis=0)) == len(np.unique(tall.reshape(-1, 3), axis=0)) == 4096


def test_a_shifted_mask_is_another_mask():
    """A shift, a flip or a swap of axes agrees in one pixel of five, as chance has it."""
    mask = coordinate_mask(500, 500)
    for other in (np.roll(mask, 1, 0), np.roll(mask, 1, 1), mask[::-1], mask[:, ::-1], mask.T):
        assert abs((mask == other).mean() - 0.2) < 0.01
    assert np.bincount(mask.ravel(), minlength=5).min() > 0.19 * mask.size
