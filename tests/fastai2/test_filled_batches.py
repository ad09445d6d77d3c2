"""Batches whose items are written to their places are those of fastai's own way, and never change while held."""

from __future__ import annotations

import sys
import threading

import numpy as np
import pytest
import torch
from fastai.data.load import DataLoader
from fasttransform import Transform

from patchaug import PatchOptions
from patchaug.data.batch_filling import BatchFilling
from patchaug.data.batch_memory import BatchBuffers
from patchaug.fastai import SlideDataLoaders
from patchaug.fastai2.filled_batches import FilledBatches
from patchaug.testing import coordinate_image, coordinate_mask


class Keeping(Transform):
    """Keep the items of all batches, before they are stacked."""

    def __init__(self):
        self.kept = []

    def encodes(self, items: list):
        self.kept += [(*item, *(element.clone() for element in item)) for item in items]
        return items


def loaders(workers=0, channels=3, size=64, windows=10, bs=4, **more):
    image, mask = coordinate_image(600, 500), coordinate_mask(600, 500)
    image = np.concatenate([image, image[..., ::-1]], -1)[..., :channels]
    options = PatchOptions(size=size, per_slide=windows, channels=None, scale=None if channels < 4 else (0, 255))
    return SlideDataLoaders.from_lists(
        [(image, mask)], [(image, mask)], codes=list("abcde"), options=options, bs=bs, num_workers=workers, **more
    )


def plain(batch):
    return [element.as_subclass(torch.Tensor) for element in batch]


def same(one, other):
    return len(one) == len(other) and all(
        type(a) is type(b)
        and (a.dtype, a.stride(), a.__dict__) == (b.dtype, b.stride(), b.__dict__)
        and torch.equal(a.as_subclass(torch.Tensor), b.as_subclass(torch.Tensor))
        for a, b in zip(one, other, strict=True)
    )


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("floats", [True, False])
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_batches_are_those_of_fastai(monkeypatch, workers, floats, channels):
    """Also the last one, which is smaller: types, strides, attributes and each bit."""
    found = loaders(workers, channels, bs=7).valid
    wanted = loaders(0, channels, bs=7).valid
    if not floats:
        found.after_batch.fs.clear()
        wanted.after_batch.fs.clear()
    batches = list(found)
    monkeypatch.setattr(FilledBatches, "chunkify", lambda self, items: super(FilledBatches, self).chunkify(items))
    monkeypatch.setattr(FilledBatches, "create_batch", lambda self, items: DataLoader.create_batch(self, items))
    expected = list(wanted)
    assert len(batches) == len(expected) > 2
    assert len(batches[-1][0]) == 3
    assert all(same(one, other) for one, other in zip(batches, expected, strict=True))


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_that_are_held_never_change(workers):
    """Also those of earlier passes, and parts of them."""
    train, held = loaders(workers, size=256, windows=40).train, []
    for epoch in range(2):
        for number, batch in enumerate(train):
            image, mask = plain(batch)
            kept = (image, mask) if number % 3 else (image[2:, 1], mask.float()[1])
            held.append((kept, [element.clone() for element in kept]))
            if number % 4 == epoch:
                held.pop(0)
            del batch, image, mask, kept
    assert all(torch.equal(a, b) for kept, copies in held for a, b in zip(kept, copies, strict=True))


def test_items_that_others_see_have_memory_of_their_own():
    keeping = Keeping()
    train = loaders(size=256, windows=16, before_batch=keeping).train
    keeping.kept.clear()  # fastai looks at one item
    for _ in range(2):
        list(train)
    assert len(keeping.kept) == 32
    for image, mask, image_before, mask_before in keeping.kept:
        assert torch.equal(image, image_before)
        assert torch.equal(mask, mask_before)


def test_items_are_placed_where_nobody_sees_them(monkeypatch):
    placed, place = [], BatchFilling.place
    monkeypatch.setattr(BatchFilling, "place", lambda self, item: placed.append(place(self, item)) or placed[-1])

    class Own(type(loaders().train)):
        def create_batch(self, b):
            return super().create_batch(b)

    for loader, expected in [
        (loaders().train, 10), (loaders().train.new(cls=Own), 0), (loaders(before_batch=Keeping()).train, 0),
        (loaders(create_batch=torch.utils.data.default_collate).train, 0),
        (loaders().train.new(bs=None, drop_last=False), 0),
    ]:  # fmt: skip
        placed.clear()
        list(loader)
        assert len(placed) == expected


def test_an_epoch_uses_the_memory_of_few_batches(monkeypatch):
    """With 0 workers, too: the next batch lies where an earlier one was."""
    addresses = {batch[0].data_ptr() for batch in loaders(size=256, windows=80).train}
    assert len(addresses) <= 3


@pytest.mark.skipif(sys.platform != "linux", reason="memory is used again on Linux alone")
def test_passes_of_several_threads_have_memory_of_their_own(monkeypatch):
    """Workers of one pass never write where those of another do."""
    train = loaders(2, windows=40).train
    train.after_batch.fs.clear()
    found: dict[int, set] = {}
    opened, both = BatchBuffers.opened, threading.Barrier(2)

    def recorded(buffers, *more):
        found.setdefault(threading.get_ident(), set()).add(buffers.token)
        return opened(buffers, *more)

    monkeypatch.setattr(BatchBuffers, "opened", recorded)

    def run():
        both.wait()
        assert len(list(train)) == 10

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(tokens) for tokens in found.values()] == [1, 1]
    assert len(set.union(*found.values())) == 2


@pytest.mark.parametrize("method", ["create_batch", "retain", "do_batch"])
def test_workers_may_keep_batches_that_the_user_makes(method):
    """A batch that a worker kept is the same when it has made others."""
    train = loaders(2, windows=60, bs=2).train
    train.after_batch.fs.clear()
    own, kept = getattr(train, method), []

    def keeping(*arguments):
        batch = own(*arguments)
        kept.append((batch[0], batch[0].clone()))
        changed = any(not torch.equal(held, copy) for held, copy in kept)
        return (*batch[:2], torch.tensor(changed))

    setattr(train, method, keeping)
    assert [bool(batch[2]) for batch in train] == [False] * 30
