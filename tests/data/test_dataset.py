"""PatchDataset in plain torch loaders."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from patchaug import Foreground, Grid, PatchDataset, Slide, open_slide
from patchaug.testing import coordinate_image, coordinate_mask, mask_at, places, write_pyramid


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> list[Slide]:
    """Two coordinate-coded pyramids on disk."""
    folder = tmp_path_factory.mktemp("slides")
    for name, side in (("a", 320), ("b", 448)):
        for kind, make in (("", coordinate_image), ("_mask", coordinate_mask)):
            write_pyramid(folder / f"{name}{kind}.tiff", [make(side // f, side // f, f) for f in (1, 4)])
    return [open_slide(folder / f"{name}.tiff", folder / f"{name}_mask.tiff") for name in "ab"]


def hashes(dataset: PatchDataset, epoch: int, **kwargs) -> list[str]:
    """One hash for each batch of an epoch; image and mask are checked against each other on the way."""
    n = len(dataset)
    found = []
    for image, mask in DataLoader(dataset, batch_size=4, sampler=range(epoch * n, (epoch + 1) * n), **kwargs):
        assert image.dtype == torch.uint8 and mask.shape == image.shape[:3]
        for one, labels in zip(image.numpy(), mask.numpy(), strict=True):
            assert (labels == mask_at(*places(one))).all()
        found.append(hashlib.sha256(image.numpy().tobytes() + mask.numpy().tobytes()).hexdigest())
    return found


@pytest.mark.parametrize("sampler", [Foreground(32, per_slide=10, foreground=0.5), Grid(20, level=1, offset="random")])
def test_epochs_and_seeds_differ(slides: list[Slide], sampler) -> None:
    """Image and mask belong together in each; the next epoch, and another seed, have other patches."""
    dataset = PatchDataset(slides, sampler, seed=3)
    first, second = hashes(dataset, 0), hashes(dataset, 1, num_workers=2)
    assert not set(first) & set(second)
    assert hashes(dataset, 0, num_workers=2) == first and hashes(dataset, 1) == second
    assert not set(first) & set(hashes(PatchDataset(slides, sampler, seed=4), 0))


def test_arrays_in_memory_are_sources_like_any_other(slides: list[Slide]) -> None:
    """The same windows from RAM, under the same name: the same bytes."""
    arrays = [
        open_slide(coordinate_image(side, side), coordinate_mask(side, side), name=name)
        for name, side in (("a.tiff", 320), ("b.tiff", 448))
    ]
    sampler = Foreground(32, per_slide=5)
    for one, other in zip(PatchDataset(arrays, sampler), PatchDataset(slides, sampler), strict=True):
        assert np.array_equal(one.image, other.image) and np.array_equal(one.mask, other.mask)


def test_iteration_ends(slides: list[Slide]) -> None:
    """A dataset that answers every index would otherwise be an endless loop."""
    assert len(list(PatchDataset(slides, Foreground(32, per_slide=3)))) == 6


def test_a_real_slide_trains_a_plain_torch_model(data: Path) -> None:
    """One step on CMU-1-Small-Region with a threshold as its mask: the loss falls."""
    path = data / "slides" / "CMU-1-Small-Region.svs"
    width, height = open_slide(path).dimensions
    from patchaug import Window

    whole = open_slide(path).read(Window(0, 0, width, height)).image
    slide = open_slide(path, (whole.mean(axis=2) < 180).astype(np.uint8))
    loader = DataLoader(PatchDataset([slide], Foreground(64, per_slide=64)), batch_size=16, num_workers=2)
    torch.manual_seed(0)
    model = torch.nn.Conv2d(3, 2, 1)
    optimiser = torch.optim.Adam(model.parameters(), 0.05)
    losses = []
    for _ in range(8):
        for image, mask in loader:
            loss = torch.nn.functional.cross_entropy(model(image.permute(0, 3, 1, 2) / 255), mask.long())
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
