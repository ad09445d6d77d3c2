"""Augmentation in workers: each draw differs, and none depends on who made it."""

import hashlib
import multiprocessing

import numpy as np
import pytest
from torch.utils.data import DataLoader

pytest.importorskip("albumentations", reason="the extra `augment` is not installed")

import albumentations as alb

from patchaug import PatchDataset, Uniform, open_slide
from patchaug.testing import coordinate_image, coordinate_mask


def epochs(dataset: PatchDataset, **kwargs) -> list[list[str]]:
    """Hashes of three epochs of 12 items."""
    found = []
    for epoch in range(3):
        indices = range(epoch * len(dataset), (epoch + 1) * len(dataset))
        loader = DataLoader(dataset, batch_size=2, sampler=indices, **kwargs)
        found.append(
            [
                hashlib.sha256(image.numpy().tobytes() + mask.numpy().tobytes()).hexdigest()
                for images, masks in loader
                for image, mask in zip(images, masks, strict=True)
            ]
        )
    return found


@pytest.fixture(scope="module")
def one_place() -> PatchDataset:
    """12 items, all of one window: what differs is the augmentation alone. Its own generators are seeded, too."""
    pipeline = alb.Compose([alb.Rotate((-180, 180), p=1), alb.ElasticTransform(alpha=5, sigma=3, p=0.5)], seed=137)
    slide = open_slide(coordinate_image(64, 64), coordinate_mask(64, 64))
    dataset = PatchDataset([slide], Uniform(30, per_slide=12), augment=pipeline, seed=1)
    halo = dataset.plan.halo[0]
    one = open_slide(coordinate_image(30 + 2 * halo, 30 + 2 * halo), coordinate_mask(30 + 2 * halo, 30 + 2 * halo))
    return PatchDataset([one], Uniform(30, per_slide=12), augment=pipeline, seed=1)


@pytest.mark.parametrize(("method", "workers"), [("fork", 1), ("fork", 2), ("fork", 4), ("spawn", 2)])
def test_36_distinct_augmentations_for_any_number_of_workers(one_place, method: str, workers: int) -> None:
    """albumentations 2.0.8 by itself makes 8 of 12 in two workers, and the same ones in each epoch."""
    assert len({(d.window.x, d.window.y) for d in one_place.plan}) == 1
    alone = epochs(one_place)
    assert len({h for epoch in alone for h in epoch}) == 36
    context = multiprocessing.get_context(method)
    assert epochs(one_place, num_workers=workers, multiprocessing_context=context) == alone


def test_forked_workers_do_not_wait_for_threads_of_their_parent() -> None:
    """OpenCV has used its pool in the parent, on pictures large enough for it, and workers augment all the same."""
    import cv2

    cv2.setNumThreads(4)
    cv2.GaussianBlur(np.zeros((3000, 3000, 3), np.uint8), (31, 31), 5)
    cv2.warpAffine(np.zeros((3000, 3000, 3), np.uint8), np.eye(2, 3), (3000, 3000))
    pipeline = alb.Compose([alb.Rotate((-180, 180), p=1), alb.ElasticTransform(alpha=9, p=1)])
    slide = open_slide(coordinate_image(1500, 1500), coordinate_mask(1500, 1500))
    dataset = PatchDataset([slide], Uniform(700, per_slide=4), augment=pipeline)
    dataset[0]
    assert epochs(dataset, num_workers=2, multiprocessing_context="fork") == epochs(dataset)


def test_the_users_pipeline_is_not_touched() -> None:
    """Its generators are its own."""
    pipeline = alb.Compose([alb.Rotate((-180, 180), p=1)], seed=3)
    before = pipeline.py_random.getstate()
    dataset = PatchDataset([open_slide(np.zeros((90, 90, 3), np.uint8))], Uniform(30, per_slide=3), augment=pipeline)
    assert len({patch.image.shape for patch in dataset}) == 1
    assert pipeline.py_random.getstate() == before
