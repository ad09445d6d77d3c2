"""The purity matrix: workers, start methods, persistence and batch sizes change nothing but the time it takes."""

import hashlib
import multiprocessing
import os

import pytest
from torch.utils.data import DataLoader

from patchaug import Foreground, Grid, PatchDataset, Slide, open_slide
from patchaug.testing import coordinate_image, coordinate_mask, write_pyramid

LONG = os.environ.get("HYPOTHESIS_PROFILE") == "long"
EPOCHS = (0, 3)
# Processes that start from nothing take seconds each: in the quick profile the pairs of settings are covered, not all.
SPAWNED = [(w, p, b) for w in (1, 2, 4) for p in (False, True) for b in (1, 5, 8)]
MATRIX = [("fork", w, p, b) for w, p, b in SPAWNED] + [
    (method, w, p, b)
    for method in ("forkserver", "spawn")
    for w, p, b in (SPAWNED if LONG else [(1, False, 5), (2, True, 1), (4, False, 8)])
]


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> list[PatchDataset]:
    """A file, an array and a mask that is indexed for each of two samplers."""
    folder = tmp_path_factory.mktemp("slides")
    for kind, make in (("", coordinate_image), ("_mask", coordinate_mask)):
        write_pyramid(folder / f"a{kind}.tiff", [make(320 // f, 320 // f, f) for f in (1, 4)])
    slides: list[Slide] = [
        open_slide(folder / "a.tiff", folder / "a_mask.tiff"),
        open_slide(coordinate_image(200, 260), coordinate_mask(200, 260), name="b"),
    ]
    return [
        PatchDataset(slides, Foreground(32, per_slide=11, foreground=0.5), seed=3),
        PatchDataset(slides, Grid(100, offset="random"), seed=4),
    ]


def hashes(datasets: list[PatchDataset], batch_size: int, **kwargs) -> list[str]:
    """A hash for each patch of two epochs of each data set."""
    found = []
    for dataset in datasets:
        indices = [epoch * len(dataset) + place for epoch in EPOCHS for place in range(len(dataset))]
        for images, masks in DataLoader(dataset, batch_size=batch_size, sampler=indices, **kwargs):
            for image, mask in zip(images.numpy(), masks.numpy(), strict=True):
                found.append(hashlib.sha256(image.tobytes() + mask.tobytes()).hexdigest())
    return found


@pytest.fixture(scope="module")
def alone(datasets: list[PatchDataset]) -> list[str]:
    """Without workers, patch by patch; all random ones differ (a grid's corners stay where they are)."""
    found = hashes(datasets, 1)
    assert len(found) == 2 * (22 + len(datasets[1])) and len(set(found[:44])) == 44
    return found


@pytest.mark.parametrize(("method", "workers", "persistent", "batch_size"), MATRIX)
def test_one_set_of_hashes(
    datasets: list[PatchDataset], alone: list[str], method: str, workers: int, persistent: bool, batch_size: int
) -> None:
    """In the same order, too."""
    context = multiprocessing.get_context(method)
    if method == "forkserver":
        context.set_forkserver_preload(["torch"])  # once, rather than in each worker
    found = hashes(
        datasets, batch_size, num_workers=workers, persistent_workers=persistent, multiprocessing_context=context
    )
    assert found == alone


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_ranks_share_an_epoch(datasets: list[PatchDataset], alone: list[str], ranks: int) -> None:
    """Plain index sharding over workers of each rank: the union is the single-process epoch, nothing twice."""
    dataset = datasets[0]
    parts = []
    for rank in range(ranks):
        for image, mask in DataLoader(
            dataset, batch_size=None, sampler=range(rank, len(dataset), ranks), num_workers=2
        ):
            parts.append(hashlib.sha256(image.numpy().tobytes() + mask.numpy().tobytes()).hexdigest())
    assert sorted(parts) == sorted(alone[: len(dataset)])
