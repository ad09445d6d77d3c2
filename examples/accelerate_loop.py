"""Train with accelerate on windows of slides.

    accelerate launch examples/accelerate_loop.py image.tiff mask.tiff

`EpochSampler` draws other windows in each epoch; the loader that accelerate prepares calls its `set_epoch`. With
several processes accelerate shares the batches out, so the sampler keeps its defaults.
"""

import sys

import torch
from accelerate import Accelerator
from torch import nn
from torch.utils.data import DataLoader

from patchaug import EpochSampler, Foreground, PatchDataset, open_slide


def train(patches: PatchDataset, model: nn.Module, *, epochs: int = 3, num_workers: int = 0) -> None:
    """Train for some epochs, each on windows of its own."""
    accelerator = Accelerator()
    loader = DataLoader(patches, batch_size=4, sampler=EpochSampler(patches), num_workers=num_workers)
    model, optimizer, loader = accelerator.prepare(model, torch.optim.Adam(model.parameters()), loader)
    for _ in range(epochs):
        for batch in loader:
            images = batch.image.permute(0, 3, 1, 2) / 255
            loss = nn.functional.cross_entropy(model(images), batch.mask.long())
            accelerator.backward(loss)
            optimizer.step()
            optimizer.zero_grad()


if __name__ == "__main__":
    slide = open_slide(sys.argv[1], sys.argv[2])
    train(PatchDataset([slide], Foreground(256, per_slide=100)), nn.Conv2d(3, 2, 3, padding=1))
