"""Batches in slots: what was stacked, for as long as anybody holds it; and torch's own way for the rest."""

from __future__ import annotations

import gc
import os
import pickle
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from patchaug.data.batch_memory import EACH, batch_buffers_for

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="slots are made on Linux alone")


class Labelled(torch.Tensor):
    """A kind of tensor with something beside its numbers, as fastai's are."""


def items(number, count=3):
    """Tuples of an image and a mask that say their number."""
    found = []
    for k in range(count):
        mask = torch.full((5, 7), number + k, dtype=torch.int16).as_subclass(Labelled)
        mask.codes = ["a", "b"]
        found.append((torch.full((7, 5, 3), number % 251, dtype=torch.uint8).permute(2, 0, 1), mask))
    return found


def sent(slots, tuples, worker=0):
    """What the main process gets; None if torch has to send it."""
    stacked = slots.stacked(tuples, worker)
    if stacked is None:
        return None
    batch = tuple(each.as_subclass(type(first)) for each, first in zip(stacked, tuples[0], strict=True))
    batch[1].__dict__.update(tuples[0][1].__dict__)
    del stacked
    parcel = pickle.dumps(slots.packed(batch))
    assert len(parcel) < 2000  # no pixels in it
    del batch
    return pickle.loads(parcel)


def same(batch, tuples):
    return all(
        torch.equal(found.as_subclass(torch.Tensor), torch.stack([t[k].as_subclass(torch.Tensor) for t in tuples]))
        for k, found in enumerate(batch)
    )


def test_a_batch_arrives_as_it_was():
    slots, tuples = batch_buffers_for(2), items(3)
    image, mask = sent(slots, tuples, worker=1)
    assert same((image, mask), tuples)
    assert type(image) is torch.Tensor and type(mask) is Labelled
    assert mask.codes == ["a", "b"] and mask.dtype == torch.int16
    assert image.is_contiguous() and image.stride() == torch.stack([t[0] for t in tuples]).stride()


@settings(max_examples=40)
@given(actions=st.lists(st.tuples(st.integers(0, 1), st.integers(0, 9), st.booleans()), max_size=60))
def test_batches_that_are_held_never_change(actions):
    """Whatever order batches come and go in, and when all slots are taken, torch sends the next."""
    slots, held = batch_buffers_for(2), {}
    for number, (worker, drop, whole) in enumerate(actions):
        tuples = items(7 * number)
        batch = sent(slots, tuples, worker)
        taken = sum(w == worker for w, _, _ in held.values())
        assert (batch is None) == (taken == EACH)
        if batch is not None:
            held[number] = worker, (batch if whole else batch[1:]), (tuples if whole else [t[1:] for t in tuples])
        del batch
        held.pop(drop, None)
        if len(held) > 3 and drop > 4:
            del held[min(held)]
        assert all(same(batch, tuples) for _, batch, tuples in held.values())


def test_views_keep_their_slot():
    slots = batch_buffers_for(1)
    view = sent(slots, items(1))[0][1:, 0, 2:4]
    for number in range(3 * EACH):
        sent(slots, items(50 + number))
    assert (view == 1).all()


def test_a_slot_outlives_its_pass():
    slots = batch_buffers_for(1)
    batch = sent(slots, items(4))
    del slots
    gc.collect()
    assert same(batch, items(4))


def test_a_forked_child_frees_nothing():
    slots = batch_buffers_for(1)
    batches = [sent(slots, items(k)) for k in range(EACH)]
    pid = os.fork()
    if pid == 0:
        batches.clear()
        gc.collect()
        os._exit(0)
    os.waitpid(pid, 0)
    assert sent(slots, items(9)) is None
    assert all(same(batch, items(k)) for k, batch in enumerate(batches))


@pytest.mark.parametrize(
    "tuples",
    [
        [(torch.zeros(2), "a")],
        [(torch.zeros(2),), (torch.zeros(3),)],
        [(torch.zeros(2),), (torch.zeros(2, dtype=torch.uint8),)],
        [torch.zeros(2)],
        [()],
        [(torch.zeros(0),)],
        [(torch.zeros(2, requires_grad=True),)],
        [(torch.zeros(1).expand(1 << 27),)],
    ],
    ids=["text", "shapes", "dtypes", "no tuple", "empty", "no numbers", "gradient", "too large"],
)
def test_other_things_travel_as_torch_sends_them(tuples):
    slots = batch_buffers_for(1)
    assert slots.stacked(tuples, 0) is None
    assert slots.packed(tuples) is tuples


def test_there_are_none_without_workers():
    assert batch_buffers_for(0) is None
    assert pickle.loads(pickle.dumps(batch_buffers_for(1))) is None  # a kept copy has no pass
