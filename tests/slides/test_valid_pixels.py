"""Labels of transparent pixels are `ignore_index`, on tiled and whole files, in any dtype of the mask."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from patchaug import Window, open_slide
from patchaug.slides.valid_pixels import ignore_invalid


@pytest.mark.parametrize("kind", ["tiles", "strips", "png"])
@pytest.mark.parametrize("ignore_index", [255, 300, None])
def test_labels_of_transparent_pixels(tmp_path: Path, kind: str, ignore_index: int | None) -> None:
    """Elsewhere labels stay; without ignore_index all do."""
    rgba = np.random.default_rng(0).integers(0, 255, (90, 120, 4), np.uint8)
    rgba[..., 3] = np.where(rgba[..., 0] > 100, 255, 0)
    mask = np.random.default_rng(1).integers(0, 3, (90, 120), np.uint8)
    path = tmp_path / ("a.png" if kind == "png" else "a.tif")
    if kind == "png":
        Image.fromarray(rgba).save(path)
    else:
        tile = {"tile": (32, 32)} if kind == "tiles" else {"rowsperstrip": 8}
        tifffile.imwrite(path, rgba, photometric="rgb", extrasamples=[2], **tile)
    slide = open_slide(path, mask, ignore_index=ignore_index, ram="64MB")
    patch = slide.read(Window(10, 20, 70, 50))
    part = (slice(20, 70), slice(10, 80))
    opaque = rgba[part][..., 3] == 255
    assert np.array_equal(patch.image, np.where(opaque[..., None], rgba[part][..., :3], 255))
    labels = mask[part].astype(int)
    assert np.array_equal(patch.mask, labels if ignore_index is None else np.where(opaque, labels, ignore_index))


def test_valid_masks_are_not_copied() -> None:
    """Where every pixel is valid the same array comes back."""
    mask = np.ones((4, 5), np.int8)
    for valid in (None, np.ones((4, 5), bool)):
        assert ignore_invalid(mask, valid, 255) is mask
    assert ignore_invalid(mask, np.zeros((4, 5), bool), 255).tolist() == [[255] * 5] * 4
