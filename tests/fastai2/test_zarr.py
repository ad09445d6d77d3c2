"""zarr slides in fastai, from folders and as arrays that zarr has opened."""

from pathlib import Path

import numpy as np
import pytest

from patchaug import PatchOptions
from patchaug.fastai import SlideDataLoaders
from patchaug.testing import coordinate_image, coordinate_mask, mask_at, places

zarr = pytest.importorskip("zarr")
CODES = list("abcde")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three slides and their masks."""
    for kind, make in (("images", coordinate_image), ("masks", coordinate_mask)):
        (tmp_path / kind).mkdir()
        for number in range(3):
            pixels = make(160, 130)
            array = zarr.create_array(tmp_path / kind / f"{number}.zarr", shape=pixels.shape, dtype="u1",
                                      chunks=(32, 32, *pixels.shape[2:]))  # fmt: skip
            array[...] = pixels
    return tmp_path


@pytest.mark.parametrize("opened", [False, True], ids=["folder", "arrays"])
def test_batches_are_of_their_places(folder: Path, opened: bool) -> None:
    """With a worker; each label is that of the place that its pixel says it is from."""
    common = {"codes": CODES, "options": PatchOptions(32, per_slide=4, foreground=0.5), "bs": 4, "num_workers": 1}
    if opened:
        pairs = [tuple(zarr.open_array(folder / kind / f"{n}.zarr", mode="r") for kind in ("images", "masks"))
                 for n in range(3)]  # fmt: skip
        dls = SlideDataLoaders.from_lists(pairs[:2], pairs[2:], **common)
    else:
        dls = SlideDataLoaders.from_folder(folder, valid_pct=0.34, seed=1, **common)
    seen = 0
    for images, masks in dls.train:
        pixels = (images.permute(0, 2, 3, 1).cpu().numpy() * 255).round().astype(np.uint8)
        for image, mask in zip(pixels, masks.cpu().numpy(), strict=True):
            assert np.array_equal(mask, mask_at(*places(image)))
            seen += 1
    assert seen == 8
