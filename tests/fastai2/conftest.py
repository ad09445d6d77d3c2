"""Slides and loaders for the fastai tests: coordinate-coded, small, on disk."""

from pathlib import Path

import pytest
import torch
from fastai.vision.all import DataBlock, DataLoaders, IndexSplitter, Learner, TensorMask, nn

from patchaug.fastai import RandomPatch, SlideBlock, SlideMaskBlock
from patchaug.testing import coordinate_image, coordinate_mask, write_pyramid

CODES = list("abcde")
SIDE = 256


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """images/s0..s3.tiff and masks/s0..s3.tiff, coordinate-coded pyramids of 256 px and levels 1 and 4."""
    root = tmp_path_factory.mktemp("slides")
    for number in range(4):
        for kind, make in (("images", coordinate_image), ("masks", coordinate_mask)):
            (root / kind).mkdir(exist_ok=True)
            write_pyramid(root / kind / f"s{number}.tiff", [make(SIDE // f, SIDE // f, f) for f in (1, 4)])
    return root


def mask_of(path: Path) -> Path:
    """The mask of an image."""
    return path.parent.parent / "masks" / path.name


def images_of(root: Path) -> list[Path]:
    """The images of the folder."""
    return sorted((root / "images").iterdir())


def loaders(root: Path, random_patch: RandomPatch | None = None, *, codes: list[str] = CODES, **kwargs) -> DataLoaders:
    """Three slides for training, the last for validation."""
    block = DataBlock(
        blocks=(SlideBlock, SlideMaskBlock(codes)),
        get_items=images_of,
        get_y=mask_of,
        splitter=IndexSplitter([3]),
        item_tfms=[random_patch or RandomPatch(32, per_slide=8, foreground=0.5, seed=7), *kwargs.pop("item_tfms", [])],
        batch_tfms=kwargs.pop("batch_tfms", None),
    )
    return block.dataloaders(root, **{"bs": 4, "num_workers": 0, **kwargs})


class Places(nn.Module):
    """A "model" that knows the class of every coordinate-coded pixel, plus a weight to train."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits (n, 5, height, width): certain, and right where the pixels are."""
        from patchaug.testing import mask_at, places

        pixels = (images.detach() * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        classes = torch.from_numpy(mask_at(*places(pixels)).astype("int64")).to(images.device)
        logits = nn.functional.one_hot(classes, 5).permute(0, 3, 1, 2).float() * 8
        return TensorMask(logits).as_subclass(torch.Tensor) * self.scale


@pytest.fixture
def dls(folder: Path) -> DataLoaders:
    """The usual loaders."""
    return loaders(folder)


@pytest.fixture
def learn(dls: DataLoaders, tmp_path: Path) -> Learner:
    """A learner whose predictions are right from the start."""
    return Learner(dls, Places(), path=tmp_path)
