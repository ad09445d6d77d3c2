"""Batches of a `PatchLoader` with workers are those of torch's loader, and never change while they are held."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, default_collate

from patchaug import Grid, PatchDataset, Uniform, open_slide
from patchaug.data.buffered_collate import patches_as_tensors, unpack_of
from patchaug.data.patch_loader import PatchLoader
from patchaug.testing import coordinate_image, coordinate_mask


class Own(NamedTuple):
    pixels: torch.Tensor
    number: torch.Tensor


class Kind(torch.Tensor):
    """A kind of tensor, with attributes."""


def kinds(patches):
    first = torch.stack([torch.from_numpy(patch.image) for patch in patches]).as_subclass(Kind)
    first.names = ["a"]
    return first, torch.zeros(2, 3).t()


def patches(size=40, mask=True, windows=22, **more):
    slide = open_slide(coordinate_image(300, 200), coordinate_mask(300, 200) if mask else None, name="made")
    return PatchDataset([slide], Uniform(size, per_slide=windows), **more)


@dataclass
class Unhashable:
    """A collate function that equals others, so that it has no hash."""

    side: int = 2

    def __call__(self, items):
        return torch.from_numpy(items[0].image)[: self.side], torch.zeros(2, 2).to_sparse()


def shared(items):
    pixels = torch.from_numpy(items[0].image)
    return pixels, pixels[1:]


COLLATES = {
    "torch's": default_collate,
    "tuple": lambda items: (torch.from_numpy(np.stack([item.image for item in items])), torch.arange(len(items))),
    "list": lambda items: [torch.from_numpy(np.stack([item.mask for item in items]))],
    "named": lambda items: Own(torch.from_numpy(items[0].image).permute(2, 0, 1), torch.tensor(7)),
    "dictionary": lambda items: {"image": torch.from_numpy(items[0].image)},
    "with text": lambda items: (torch.from_numpy(items[0].image), "text"),
    "one tensor": lambda items: torch.from_numpy(items[0].image),
    "kinds": kinds,
    "unhashable": Unhashable(),
    "shared": shared,
}


def flat(batch):
    return list(batch.items()) if isinstance(batch, dict) else list(batch)


def same(one, other):
    if isinstance(one, (tuple, list, dict)):
        return type(one) is type(other) and all(same(a, b) for a, b in zip(flat(one), flat(other), strict=True))
    if not isinstance(one, torch.Tensor):
        return one == other
    if one.is_sparse:
        one, other = one.to_dense(), other.to_dense()
    return type(one) is type(other) and one.dtype == other.dtype and one.__dict__ == other.__dict__ and bool(
        one.stride() == other.stride() and torch.equal(one.as_subclass(torch.Tensor), other.as_subclass(torch.Tensor))
    )  # fmt: skip


@pytest.mark.parametrize("name", COLLATES)
def test_batches_are_those_of_the_collate_function(name):
    dataset, collate = patches(), COLLATES[name]
    found = list(PatchLoader(dataset, batch_size=4, num_workers=2, collate_fn=collate))
    wanted = list(DataLoader(dataset, batch_size=4, collate_fn=collate))
    assert len(found) == 6
    assert all(same(one, other) for one, other in zip(found, wanted, strict=True))


def test_weighted_patches_are_collated():
    dataset = patches(weights=True)
    found, wanted = (list(PatchLoader(dataset, batch_size=4, num_workers=workers)) for workers in (1, 0))
    assert all(same(one, other) for one, other in zip(found, wanted, strict=True))
    assert found[0].weight.dtype == torch.float64


def test_patches_without_mask_are_left_to_torch():
    assert patches_as_tensors([patches(mask=False)[0]])[1] == []
    assert len(patches_as_tensors([patches()[0]])[1][0]) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="memory is used again on Linux alone")
@pytest.mark.parametrize("persistent", [True, False])
def test_batches_that_are_held_never_change(persistent):
    """Passes side by side, too; and their memory is used again."""
    loader = PatchLoader(patches(windows=60), batch_size=2, num_workers=2, persistent_workers=persistent)
    wanted, held, addresses = list(DataLoader(patches(windows=60), batch_size=2)), [], set()
    for _ in range(2):
        passes = [iter(loader)] if persistent else [iter(loader), iter(loader)]
        for number, batches in enumerate(zip(*passes, strict=True)):
            held += [(number, batch) for batch in batches]
            addresses |= {batch.image.data_ptr() for batch in batches}
            del batches
            held = held[number % 3 :]
            assert all(same(batch, wanted[place]) for place, batch in held)
    assert len(addresses) < len(passes) * 60


def test_collate_functions_of_the_user_are_left_to_torch():
    """Tensors that share memory share it in the main process, too."""
    assert unpack_of(default_collate) is not None
    assert all(unpack_of(collate) is None for name, collate in COLLATES.items() if name != "torch's")
    pixels, part = next(iter(PatchLoader(patches(), batch_size=4, num_workers=1, collate_fn=shared)))
    pixels[1] = 77
    assert (part[0] == 77).all()


@pytest.mark.skipif(sys.platform != "linux", reason="memory is used again on Linux alone")
def test_a_forked_child_keeps_its_batch():
    """The parent deletes its own, and goes on to the end of the pass."""
    read, write = os.pipe()
    for number, batch in enumerate(PatchLoader(patches(windows=120), batch_size=2, num_workers=2)):
        if number == 3:
            go, tell = os.pipe()
            before = batch.image.clone()
            child = os.fork()
            if not child:
                os.read(go, 1)
                os.write(write, b"y" if torch.equal(batch.image, before) else b"n")
                os._exit(0)
        del batch
    os.write(tell, b"g")
    os.waitpid(child, 0)
    assert os.read(read, 1) == b"y"
    for descriptor in (read, write, go, tell):
        os.close(descriptor)


def test_the_collate_function_of_the_loader_stays():
    loader = PatchLoader(patches(), batch_size=4, num_workers=1)
    list(loader)
    assert loader.collate_fn is default_collate
    grid = PatchDataset(patches().plan.slides, Grid(100))
    assert len(list(PatchLoader(grid, batch_size=None, num_workers=1))) == 6
