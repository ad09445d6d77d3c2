"""Items written to their places are the batch that torch's collate makes of them, or are left as they are."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import default_collate

from patchaug.data import channel_planes
from patchaug.data.batch_filling import BatchFilling
from patchaug.data.channel_planes import copy_pixels

DTYPES = [torch.uint8, torch.int16, torch.int64, torch.float32, torch.float64, torch.bool, torch.bfloat16, torch.uint16]


class Kind(torch.Tensor):
    """A kind of tensor, as fastai's are."""


def claim(size):
    return np.full(size, 205, np.uint8)


def pattern(shape, dtype, seed):
    numbers = torch.randint(0, 250, shape, generator=torch.Generator().manual_seed(seed), dtype=torch.int32)
    return numbers.to(dtype)


def layouts(tensor):
    """The same values with other strides."""
    yield tensor
    if tensor.ndim == 3:
        yield tensor.permute(1, 2, 0).contiguous().permute(2, 0, 1)
        yield tensor.permute(2, 1, 0).contiguous().permute(2, 1, 0)
        wide = torch.zeros((*tensor.shape[:2], 2 * tensor.shape[2]), dtype=tensor.dtype)
        wide[..., ::2] = tensor
        yield wide[..., ::2]


@pytest.mark.parametrize("opencv", [True, False])
@given(
    shape=st.lists(st.integers(1, 9), min_size=0, max_size=4), dtype=st.sampled_from(DTYPES), seed=st.integers(0, 99)
)
def test_pixels_are_copied(opencv, shape, dtype, seed):
    """Any shape, type and strides; with OpenCV and without."""
    if opencv:
        pytest.importorskip("cv2")
    found, before = torch.empty(shape, dtype=dtype), channel_planes.cv2
    channel_planes.cv2 = before if opencv else None
    try:
        for pixels in layouts(pattern(shape, dtype, seed)):
            found.zero_()
            copy_pixels(pixels, found)
            assert torch.equal(found, pixels)
    finally:
        channel_planes.cv2 = before


def test_planes_that_another_opencv_allocates_are_copied(monkeypatch):
    """A release that does not write into the planes that it is given gives no wrong pixels."""

    class Other:
        @staticmethod
        def split(pixels, planes):
            return [pixels[..., number].copy() for number in range(len(planes))]

    monkeypatch.setattr(channel_planes, "cv2", Other)
    pixels, found = pattern((5, 6, 3), torch.uint8, 1).permute(2, 0, 1), torch.zeros((3, 5, 6), dtype=torch.uint8)
    copy_pixels(pixels, found)
    assert torch.equal(found, pixels)


@given(
    counts=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    channels=st.integers(1, 5),
    dtype=st.sampled_from(DTYPES),
)
def test_batches_are_those_of_collate(counts, channels, dtype):
    filling, made = BatchFilling(5, claim), []
    for number, count in enumerate(counts):
        items = []
        for k in range(count):
            image = pattern((6, 7, channels), torch.uint8, 10 * number + k).permute(2, 0, 1).as_subclass(Kind)
            image.place = k
            items.append((image, pattern((6, 7), dtype, number - k % 3 + 50)))
        placed = [filling.place(item) for item in items]
        for item, there in zip(items, placed, strict=True):
            assert type(there) is tuple and type(there[0]) is Kind and there[0].place == item[0].place
            assert all(torch.equal(a, b) for a, b in zip(item, there, strict=True))
        made.append((filling.batch(placed), default_collate(items)))
        filling.clear()
    for found, wanted in made:
        for one, other in zip(found, wanted, strict=True):
            assert type(one) is torch.Tensor
            assert (one.dtype, one.stride()) == (other.dtype, other.stride())
            assert one.untyped_storage().nbytes() == one.nbytes  # nothing else is saved with it
            assert torch.equal(one, other)


def items(*numbers):
    return [(torch.full((2, 3), number),) for number in numbers]


@pytest.mark.parametrize("change", ["order", "fewer", "other", "more"])
def test_items_that_were_changed_are_no_batch(change):
    filling = BatchFilling(3, claim)
    placed = [filling.place(item) for item in items(1, 2, 3)]
    changed = {
        "order": placed[::-1], "fewer": placed[:2], "other": [*placed[:2], (placed[2][0].clone(),)],
        "more": [*placed, filling.place(items(4)[0])],
    }[change]  # fmt: skip
    assert filling.batch(changed) is None
    placed = [filling.place(item) for item in items(5, 6)]  # the next one begins anew
    assert filling.batch(placed)[0].tolist() == torch.stack([placed[0][0], placed[1][0]]).tolist()


@pytest.mark.parametrize(
    "item",
    [
        (torch.zeros(2, 3), "a"), (torch.zeros(3, 3),), (torch.zeros(2, 3, dtype=torch.uint8),), torch.zeros(2, 3), (),
        (torch.zeros(2, 3, requires_grad=True),), [torch.zeros(2, 3)], None, (torch.zeros(2, 3).to_sparse(),),
    ],
    ids=["text", "shape", "dtype", "no tuple", "empty", "gradient", "list", "none", "sparse"],
)  # fmt: skip
@pytest.mark.parametrize("place", [0, 1])
def test_other_items_stay_as_they_are(item, place):
    filling, sequence = BatchFilling(3, claim), items(1.0, 2.0)
    sequence.insert(place, item)
    placed = [filling.place(one) for one in sequence]
    assert not place or placed[place] is item
    assert filling.batch(placed) is None


def test_without_memory_items_stay_as_they_are():
    filling = BatchFilling(3, lambda size: None)
    sequence = items(1, 2)
    assert all(filling.place(one) is one for one in sequence)
    assert filling.batch(sequence) is None
