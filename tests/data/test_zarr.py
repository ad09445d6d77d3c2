"""zarr in workers of every kind: the trap of a reader with threads, whose forked workers hang or read other places."""

import pickle

import numpy as np
import pytest
from torch.utils.data import DataLoader

from patchaug import Foreground, PatchDataset, Window, open_slide
from patchaug.testing import coordinate_image, coordinate_mask, mask_at, places

zarr = pytest.importorskip("zarr")


@pytest.fixture(scope="module")
def slides(tmp_path_factory):
    """Shards, and an array that zarr itself has opened and read from, so that its threads are there."""
    folder = tmp_path_factory.mktemp("zarr")
    for name, options in (("a", {"shards": (128, 128)}), ("b", {"zarr_format": 2}), ("m", {})):
        pixels = coordinate_mask(300, 260) if name == "m" else coordinate_image(300, 260)
        options = {key: (*value, 3) if isinstance(value, tuple) else value for key, value in options.items()}
        array = zarr.create_array(folder / f"{name}.zarr", shape=pixels.shape, dtype="u1",
                                  chunks=(32, 32, *pixels.shape[2:]), **options)  # fmt: skip
        array[...] = pixels
    theirs = zarr.open_array(folder / "b.zarr", mode="r")
    assert np.array_equal(theirs[:50, :60], coordinate_image(300, 260)[:50, :60])
    return [
        open_slide(folder / "a.zarr", folder / "m.zarr"),
        open_slide(theirs, zarr.open_array(folder / "m.zarr", mode="r"), ram=0),
    ]


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_every_patch_is_from_its_window(slides, method):
    """Read by workers, after the parent has read: each pixel says where it is, and the mask is that of the place."""
    for slide in slides:
        slide.read(Window(3, 5, 200, 200))
    dataset = PatchDataset(slides, Foreground(40, per_slide=30, foreground=0.5), seed=2)
    workers = 2 if method == "fork" else 1  # another one takes seconds to start
    patches = list(DataLoader(dataset, batch_size=5, num_workers=workers, multiprocessing_context=method))
    images, masks = (np.concatenate([batch[part].numpy() for batch in patches]) for part in (0, 1))
    assert len(images) == 60
    images = images if images.shape[-1] == 3 else images.transpose(0, 2, 3, 1)
    for draw, image, mask in zip(dataset.plan, images, masks, strict=True):
        x0, y0 = places(image)
        assert (x0[0, 0], y0[0, 0]) == (draw.window.x, draw.window.y)
        assert np.array_equal(mask, mask_at(x0, y0))


def test_slides_have_names_of_their_own(slides):
    """An array knows the folder it lies in, and pickles as no more than that."""
    assert [slide.name for slide in slides] == ["a.zarr", "b.zarr"]
    assert slides[1].path.endswith("b.zarr") and len(pickle.dumps(slides[1])) < 3000
    inside = zarr.open_group(slides[1].path.replace("b.zarr", "g.zarr"), mode="w")
    inside.create_array("deep/0", data=coordinate_image(64, 64))
    path = slides[1].path.replace("b.zarr", "g.zarr/deep/0")
    assert [open_slide(one).name for one in (path, inside["deep/0"])] == ["g.zarr/deep/0"] * 2
