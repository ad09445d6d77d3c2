"""Pixels as 8-bit pictures: uint8 as it is, all other types stretched."""

import numpy as np
import pytest

from patchaug.core.display import displayed


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7])
def test_uint8_is_shown_as_it_is(channels: int) -> None:
    """Its first three channels; of two the third is 0."""
    image = np.random.default_rng(channels).integers(90, 120, (9, 11, channels), np.uint8)
    shown = displayed(image)
    assert shown.dtype == np.uint8 and shown.shape == (9, 11, 1 if channels == 1 else 3)
    assert (shown[..., :channels] == image[..., :3]).all()
    assert channels != 2 or not shown[..., 2].any()


@pytest.mark.parametrize("dtype", ["u2", "i2", "f2", "f4"])
def test_other_types_are_stretched(dtype: str) -> None:
    """Each channel from black to white, whatever its range."""
    ramp = np.arange(101, dtype=np.float64).reshape(1, 101, 1)
    shown = displayed((ramp * (1, 2, 5) + 300).astype(dtype))
    expected = np.clip((ramp - 2) / 96, 0, 1) * 255
    assert np.abs(shown - expected).max() <= 0.5


@pytest.mark.parametrize("dtype", ["u2", "i2", "f2", "f4"])
def test_a_constant_picture_is_grey(dtype: str) -> None:
    """A range of 0 makes no value black; 0 itself and missing values are."""
    image = np.zeros((6, 8, 3), dtype)
    image[..., 0], image[..., 1] = 700, 0
    image[..., 2] = np.nan if image.dtype.kind == "f" else 0
    assert (displayed(image) == (128, 0, 0)).all()


@pytest.mark.parametrize("dtype", ["u2", "f4"])
def test_few_bright_pixels_are_in_order(dtype: str) -> None:
    """Where both percentiles are one value, the least and the largest take their place."""
    image = np.full((20, 20, 1), 100, dtype)
    image[3, 4], image[5, 6] = 200, 300
    shown = displayed(image)
    assert (shown[0, 0, 0], shown[3, 4, 0], shown[5, 6, 0]) == (0, 128, 255)
