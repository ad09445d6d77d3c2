"""The short ways of the loader give what fastai's own ways give."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fastai.data.transforms import IntToFloatTensor, ToTensor
from fastai.torch_core import TensorImage, TensorMask
from fastai.vision.core import PILImage
from fasttransform import Transform

from patchaug import PatchOptions
from patchaug.fastai import SlideDataLoaders
from patchaug.fastai2.blocks import PatchToFloat
from patchaug.testing import coordinate_image, coordinate_mask


class AsPillow(Transform):
    """An item transform that changes nothing, and wants a Pillow image."""

    seen = 0

    def encodes(self, picture: PILImage):
        type(self).seen += 1
        return picture


def loaders(channels: int, dtype: type):
    image, mask = coordinate_image(300, 200), coordinate_mask(300, 200).astype(dtype)
    image = image if channels == 3 else image[..., :1]
    return SlideDataLoaders.from_lists(
        [(image, mask)], [(image, mask)], codes=list("abcde"), options=PatchOptions(size=64, per_slide=12), bs=4,
        num_workers=0,
    )  # fmt: skip


@pytest.mark.parametrize(("channels", "dtype"), [(3, np.uint8), (1, np.uint8), (3, np.int32)])
def test_without_item_transforms_pixels_skip_pillow(channels, dtype):
    """The same types and bytes as through Pillow and ToTensor; transforms that are added later get their images."""
    straight, around = loaders(channels, dtype).train, loaders(channels, dtype).train
    around.after_item.add(AsPillow())
    assert straight.only_reads()
    assert not around.only_reads()
    before = AsPillow.seen
    for one, other in zip(straight, around, strict=True):
        for mine, theirs in zip(one, other, strict=True):
            assert type(mine) is type(theirs)
            assert mine.dtype == theirs.dtype
            assert mine.is_contiguous()
            assert torch.equal(mine.as_subclass(torch.Tensor), theirs.as_subclass(torch.Tensor))
    assert AsPillow.seen - before == 12


@pytest.mark.parametrize("div_mask", [1, 255])
@pytest.mark.parametrize("div", [255.0, 7, 1.1])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.float32])
def test_floats_are_those_of_fastai(div, div_mask, dtype):
    """Images, masks, and back: type, dtype, layout, what fastai keeps beside the numbers, and each bit."""
    image = TensorImage(torch.arange(256, dtype=dtype).reshape(1, 1, 16, 16).repeat(2, 3, 1, 1))
    image = image.permute(0, 1, 3, 2)
    mask = TensorMask(torch.arange(256, dtype=dtype).reshape(1, 16, 16))
    mask.codes = ["a"]
    ours, theirs = PatchToFloat(div=div, div_mask=div_mask), IntToFloatTensor(div=div, div_mask=div_mask)
    for element in (image, mask):
        got, wanted = ours(element.clone()), theirs(element.clone())
        for one, other in ((got, wanted), (ours.decode(got), theirs.decode(wanted))):
            assert type(one) is type(other)
            assert (one.dtype, one.stride()) == (other.dtype, other.stride())
            assert torch.equal(one.as_subclass(torch.Tensor), other.as_subclass(torch.Tensor))
            assert getattr(one, "codes", None) == getattr(other, "codes", None)


def test_a_totensor_of_ones_own_is_asked():
    """Only fastai's own transforms are known to be idle."""

    class Mine(ToTensor):
        pass

    train = loaders(3, np.uint8).train
    train.after_item.add(Mine())
    assert not train.only_reads()
