"""fastai's loaders and predictions read slides in stores."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch

from patchaug.fastai import RandomPatch, SlideDataLoaders
from patchaug.readers.remote.client import disconnect
from tests.readers.range_server import serving

if importlib.util.find_spec("obstore") is None:
    pytest.skip("obstore is not installed", allow_module_level=True)


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_those_of_local_slides(tmp_path: Path, workers: int) -> None:
    """Training and validation, with read-ahead in the workers."""
    numbers = np.random.default_rng(0)
    with serving() as server:
        for name in ("a", "b"):
            image = numbers.integers(0, 256, (192, 256, 3), np.uint8)
            for file, pixels in ((f"{name}.tiff", image), (f"{name}_mask.tiff", image[..., 0] // 128)):
                tifffile.imwrite(tmp_path / file, pixels, tile=(32, 32), compression="deflate")
                server.files[file] = (tmp_path / file).read_bytes()
        found = []
        for place in (tmp_path, server.url):
            train, valid = ([(f"{place}/{name}.tiff", f"{place}/{name}_mask.tiff")] for name in "ab")
            dls = SlideDataLoaders.from_lists(
                train, valid, codes=["a", "b"], item_tfms=RandomPatch(64, per_slide=16, seed=3), bs=4,
                num_workers=workers,
            )  # fmt: skip
            if place == server.url:  # no range is answered until two are asked for
                server.open.clear()
            found.append([batch for loader in (dls.train, dls.train, dls.valid) for batch in loader])
        assert server.most_at_once > 1
    disconnect()
    for local, remote in zip(*found, strict=True):
        assert all(torch.equal(one, other) for one, other in zip(local, remote, strict=True))
