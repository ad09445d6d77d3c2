"""The thread's plain torch route under fastai 2: a dataset of patches in DataLoaders, without our blocks."""

import numpy as np
import torch
from fastai.vision.all import DataLoaders, Learner

from patchaug import Foreground, Grid, PatchDataset, open_slide


class Floats(torch.utils.data.Dataset):
    """Patches as a model wants them: a float tensor (3, height, width) and class numbers."""

    def __init__(self, patches: PatchDataset) -> None:
        self.patches = patches

    def __len__(self) -> int:
        return len(self.patches)

    def __getitem__(self, index: int):
        image, mask = self.patches[index]
        return torch.from_numpy(image.transpose(2, 0, 1) / np.float32(255)), torch.from_numpy(mask.astype(np.int64))


def test_a_patch_dataset_trains_in_data_loaders() -> None:
    """Image and mask belong together, every window of the grid comes once, the loss falls."""
    image = np.random.default_rng(0).integers(0, 256, (160, 200, 3), np.uint8)
    slide = open_slide(image, (image[..., 0] > 128).astype(np.uint8))
    train = Floats(PatchDataset([slide], Foreground(32, per_slide=64), seed=1))
    valid = Floats(PatchDataset([slide], Grid(32), shuffle=False))
    dls = DataLoaders.from_dsets(train, valid, bs=8, num_workers=0)
    for x, y in dls.train:
        pixels = (x * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        assert ((pixels[..., 0] > 128) == y.cpu().numpy()).all()
    assert sum(len(x) for x, _ in dls.valid) == 5 * 7
    torch.manual_seed(0)
    learn = Learner(dls, torch.nn.Conv2d(3, 2, 1), loss_func=torch.nn.CrossEntropyLoss(), lr=0.3)
    with learn.no_bar(), learn.no_logging():
        learn.fit(4, 0.3)
    assert float(learn.recorder.losses[-1]) < 0.8 * float(learn.recorder.losses[0])
