"""Loops of one's own in several processes: torch's DistributedDataParallel, and accelerate."""

import hashlib
from pathlib import Path
from typing import Any

import torch
from fastai.vision.all import set_seed
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from patchaug import EpochSampler, PatchDataset, Uniform, open_slide
from patchaug.core.ranks import read_ranks
from patchaug.data.patch_loader import PatchLoader

from .conftest import images_of, mask_of
from .ranked import Tiny


def train_loop(way: str, folder: Path, workers: int, batch: int = 12, epochs: int = 2) -> dict[str, Any]:
    """Train in a loop of "torch" or "accelerate", and return the windows of each step and the weights.

    Args:
        way: Who divides and averages.
        folder: Folder of the slides.
        workers: Workers of each rank.
        batch: Windows in a step of all ranks.
        epochs: Number of epochs.
    """
    ranks = read_ranks()
    slides = [open_slide(path, mask_of(path)) for path in images_of(folder)[:3]]
    data = PatchDataset(slides, Uniform(32, per_slide=8), seed=5)
    set_seed(3)
    model: Any = Tiny()
    optimizer: Any = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    size, backward = batch // ranks.world_size, torch.Tensor.backward
    if way == "accelerate":
        from accelerate import Accelerator

        accelerator = Accelerator(cpu=True)
        plain: Any = DataLoader(data, batch_size=size, sampler=EpochSampler(data), num_workers=workers)
        model, optimizer, loader = accelerator.prepare(model, optimizer, plain)
        backward = accelerator.backward
    else:
        if ranks.world_size > 1 and not torch.distributed.is_initialized():
            torch.distributed.init_process_group("gloo")
        sampler = EpochSampler(data, rank=ranks.rank, world_size=ranks.world_size)
        loader = PatchLoader(data, batch_size=size, sampler=sampler, num_workers=workers)
        if ranks.world_size > 1:
            model = DistributedDataParallel(model)
    steps = []
    for _ in range(epochs):
        for patch in loader:
            images = patch.image.permute(0, 3, 1, 2)
            steps.append([hashlib.sha256(one.numpy().tobytes()).hexdigest()[:8] for one in images.contiguous()])
            loss = torch.nn.functional.cross_entropy(model(images / 255), patch.mask.long())
            backward(loss)
            optimizer.step()
            optimizer.zero_grad()
    weights = torch.cat([p.detach().flatten() for p in model.parameters()]).numpy()
    return {"steps": steps, "weights": weights}
