"""The thread's plain torch route under fastai 1.0.61: a dataset of patches in a DataBunch."""

import numpy as np
import torch
from fastai.basic_data import DataBunch
from fastai.basic_train import Learner

from patchaug import Foreground, Patch, PatchDataset, open_slide
from patchaug.testing import coordinate_image, mask_at, places


class Floats(torch.utils.data.Dataset):
    """Patches as fastai 1 wants them: a float tensor (3, height, width) and class numbers."""

    def __init__(self, patches: PatchDataset) -> None:
        self.patches = patches

    def __len__(self) -> int:
        return len(self.patches)

    def __getitem__(self, index: int):
        image, mask = self.patches[index]
        return torch.from_numpy(image.transpose(2, 0, 1) / np.float32(255)), torch.from_numpy(mask.astype(np.int64))


def test_a_patch_dataset_trains_in_a_data_bunch() -> None:
    """The thread's plain torch route: image and mask belong together, the loss falls."""
    image = np.random.default_rng(0).integers(0, 256, (160, 200, 3), np.uint8)
    slide = open_slide(image, (image[..., 0] > 128).astype(np.uint8))
    train, valid = (PatchDataset([slide], Foreground(32, per_slide=n), seed=n) for n in (64, 16))
    assert isinstance(train[0], Patch)
    data = DataBunch.create(Floats(train), Floats(valid), bs=8, num_workers=0)
    for x, y in data.train_dl:
        pixels = (x * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        assert ((pixels[..., 0] > 128) == y.cpu().numpy()).all()
    torch.manual_seed(0)
    learn = Learner(data, torch.nn.Conv2d(3, 2, 1), loss_func=torch.nn.CrossEntropyLoss())
    learn.fit(4, 0.3)
    losses = [float(loss) for loss in learn.recorder.losses]
    assert losses[-1] < 0.8 * losses[0]


def test_pairs_are_right_in_workers() -> None:
    """fastai 1 patches torch's DataLoader; the patches are the same with and without workers."""
    image = coordinate_image(200, 160)
    slide = open_slide(image, mask_at(*places(image)))
    dataset = PatchDataset([slide], Foreground(32, per_slide=12))
    loader = torch.utils.data.DataLoader(dataset, batch_size=4, num_workers=2)
    alone = [dataset[i] for i in range(12)]
    for number, (images, masks) in enumerate(loader):
        for k in range(4):
            assert np.array_equal(images[k].numpy(), alone[4 * number + k].image)
            assert np.array_equal(masks[k].numpy(), mask_at(*places(images[k].numpy())))
