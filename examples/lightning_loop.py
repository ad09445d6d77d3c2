"""Train with Lightning on windows of slides.

    python examples/lightning_loop.py image.tiff mask.tiff

`EpochSampler` draws other windows in each epoch; Lightning calls its `set_epoch`. With several devices pass
`rank=` and `world_size=`, and `Trainer(use_distributed_sampler=False)`: Lightning's own sampler repeats epoch 0.
"""

import sys
from typing import Any

import lightning
import torch
from torch import nn
from torch.utils.data import DataLoader

from patchaug import EpochSampler, Foreground, PatchDataset, open_slide


class Segmentation(lightning.LightningModule):
    """Train a model that gives (n, classes, height, width) for images of (n, channels, height, width)."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def training_step(self, batch: Any, number: int) -> torch.Tensor:
        """Return the loss of a batch of patches."""
        images = batch.image.permute(0, 3, 1, 2) / 255
        return nn.functional.cross_entropy(self.model(images), batch.mask.long())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Make the optimizer."""
        return torch.optim.Adam(self.parameters())


def train(patches: PatchDataset, model: nn.Module, *, epochs: int = 3, num_workers: int = 0) -> None:
    """Train for some epochs, each on windows of its own."""
    loader = DataLoader(patches, batch_size=4, sampler=EpochSampler(patches), num_workers=num_workers)
    quiet: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = lightning.Trainer(max_epochs=epochs, accelerator="auto", devices=1, enable_model_summary=False, **quiet)
    trainer.fit(Segmentation(model), loader)


if __name__ == "__main__":
    slide = open_slide(sys.argv[1], sys.argv[2])
    train(PatchDataset([slide], Foreground(256, per_slide=100)), nn.Conv2d(3, 2, 3, padding=1))
