"""Torch tensors as sources."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from patchaug import Window, open_slide
from patchaug.errors import OptionError
from patchaug.readers import open_raster
from patchaug.testing import coordinate_image, coordinate_mask
from patchaug.testing.raster_contract import RasterTests


@pytest.mark.parametrize("first", [True, False], ids=["CHW", "HWC"])
class TestTensors(RasterTests):
    """Channels first or last: the same pixels."""

    pickles_small = False

    @pytest.fixture
    def expected(self):
        return [coordinate_image(301, 203)]

    @pytest.fixture
    def raster(self, expected, first):
        tensor = torch.from_numpy(expected[0].copy())
        return open_raster(tensor.permute(2, 0, 1).contiguous() if first else tensor)


def test_a_tensor_is_not_copied_and_stands_beside_a_mask():
    """The raster looks at the tensor's own memory; masks are (height, width)."""
    image, mask = torch.zeros(3, 50, 60, dtype=torch.uint8), torch.from_numpy(coordinate_mask(60, 50).astype(np.int64))
    slide = open_slide(image, mask)
    image[1, 20, 30] = 7
    patch = slide.read(Window(30, 20, 2, 2))
    assert patch.image[0, 0].tolist() == [0, 7, 0]
    assert np.array_equal(patch.mask, mask[20:22, 30:32])


@pytest.mark.parametrize("shape", [(3, 40, 3), (1, 40, 3), (3, 1, 1)])
def test_an_order_that_could_be_either_is_not_guessed(shape):
    """The error says how to say it."""
    with pytest.raises(OptionError, match="may be .channels, height, width. or .*permute"):
        open_raster(torch.zeros(*shape, dtype=torch.uint8))


@pytest.mark.parametrize("tensor", [torch.zeros(2, 3, 40, 50), torch.zeros(3, 40, 50, dtype=torch.int64)])
def test_what_is_no_image_is_refused(tensor):
    """Several images, or integers of 64 bits."""
    with pytest.raises(OptionError, match="an image must be|got int64"):
        open_raster(tensor)
