"""Slides and learners for the fastai 1 tests: coordinate-coded, so that a model can know every pixel's class."""

import os
from pathlib import Path

import fastprogress
import pytest
import torch
from fastai.basic_train import Learner
from fastai.vision import ImageDataBunch

from patchaug import PatchOptions
from patchaug.fastai import SlideItemList
from patchaug.testing import coordinate_image, coordinate_mask, mask_at, places, write_pyramid

# fastai 1 loads whole objects, which torch refuses by default since 2.6.
os.environ.setdefault("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")

CODES = list("abcde")


@pytest.fixture(autouse=True)
def no_progress_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the test log."""
    monkeypatch.setattr(fastprogress.fastprogress, "NO_BAR", True)
    monkeypatch.setattr(fastprogress.fastprogress.ConsoleProgressBar, "fill", "")  # printed by each bar all the same
    monkeypatch.setattr(fastprogress.fastprogress, "WRITER_FN", lambda *args, **kwargs: None)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """images/s0..s3.tiff and masks/s0..s3.tiff, coordinate-coded, 256 px."""
    root = tmp_path_factory.mktemp("slides")
    for kind, make in (("images", coordinate_image), ("masks", coordinate_mask)):
        (root / kind).mkdir()
        for number in range(4):
            write_pyramid(root / kind / f"s{number}.tiff", [make(256, 256)])
    return root


def mask_of(path: Path) -> Path:
    """The mask of an image."""
    return path.parent.parent / "masks" / path.name


def bunch(root: Path, patch: PatchOptions | None = None, *, tfms=None, ignore_index=None, **kwargs) -> ImageDataBunch:
    """Three slides for training, the last for validation."""
    labelled = (
        SlideItemList.from_folder(root / "images", patch=patch or PatchOptions(32, per_slide=8, foreground=0.5, seed=7))
        .split_by_files(["s3.tiff"])
        .label_from_func(mask_of, classes=CODES if ignore_index is None else CODES[:4], ignore_index=ignore_index)
    )
    if tfms is not None:
        labelled = labelled.transform(tfms, tfm_y=True)
    return labelled.databunch(**{"bs": 4, "num_workers": 0, **kwargs})


class Places(torch.nn.Module):
    """A "model" that knows the class of every coordinate-coded pixel, plus a weight to train."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits (n, 5, height, width): certain, and right where the pixels are."""
        pixels = (images.detach() * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        classes = torch.from_numpy(mask_at(*places(pixels)).astype("int64"))
        return torch.nn.functional.one_hot(classes, 5).permute(0, 3, 1, 2).float() * 8 * self.scale


@pytest.fixture
def learn(folder: Path, tmp_path: Path) -> Learner:
    """A learner whose predictions are right from the start."""
    return Learner(bunch(folder), Places(), path=tmp_path)
