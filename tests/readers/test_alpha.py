"""Pixels whose last channel is transparency, against the plainest way to split them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchaug.errors import ReadError
from patchaug.readers.channels import split_alpha


@given(
    dtype=st.sampled_from([np.uint8, np.uint16, np.int16, np.float32]), channels=st.integers(1, 5),
    kind=st.sampled_from(["opaque", "transparent", "both", "data"]), seed=st.integers(0, 99), whole=st.booleans(),
)  # fmt: skip
def test_alpha_is_split_as_pixel_by_pixel(dtype, channels, kind, seed, whole):
    """Valid pixels keep their colours, invalid ones of 8 bits are white; strict refuses values between 0 and full."""
    rng = np.random.default_rng(seed)
    stored = rng.integers(0, 100, (7, 9, channels + 1)).astype(dtype)
    full = 1 if np.dtype(dtype).kind == "f" else np.iinfo(dtype).max
    values = {"opaque": [full], "transparent": [0], "both": [0, full], "data": [0, 3, full]}[kind]
    stored[..., -1] = rng.choice(values, (7, 9))
    stored = stored if whole else stored[1:, 2:]  # also a part of a larger array
    before = stored.copy()
    expected = stored[..., :-1].copy()
    valid = stored[..., -1] == full
    if dtype == np.uint8:
        expected[~valid] = 255
    expected = expected[..., 0] if channels == 1 else expected
    pixels, known = split_alpha("a.tif", stored, strict=False)
    assert pixels.dtype == dtype
    assert np.array_equal(pixels, expected)
    assert np.array_equal(known, valid)
    assert np.array_equal(stored, before)
    if (stored[..., -1] == 3).any():
        y, x = np.argwhere(stored[..., -1] == 3)[0]
        text = f"channel {channels} is tagged as alpha and holds {stored[y, x, -1]} here, where alpha is 0 or {full}"
        with pytest.raises(ReadError, match=text):
            split_alpha("a.tif", stored, strict=True, place=" here")
    else:
        assert np.array_equal(split_alpha("a.tif", stored, strict=True)[0], expected)
